package objstore

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// page words a page of a listing. next is the token of the one behind it.
func page(next string, keys ...string) string {
	var b bytes.Buffer
	b.WriteString("<ListBucketResult>")
	for _, key := range keys {
		fmt.Fprintf(&b, "<Contents><Key>%s</Key><Size>7</Size></Contents>", key)
	}
	fmt.Fprintf(&b, "<IsTruncated>%t</IsTruncated>", next != "")
	if next != "" {
		fmt.Fprintf(&b, "<NextContinuationToken>%s</NextContinuationToken>", next)
	}
	b.WriteString("</ListBucketResult>")
	return b.String()
}

func TestListings(t *testing.T) {
	for _, test := range []struct {
		name  string
		pages []string
		keys  []string
		fails string
	}{
		{"pages", []string{page("1", "a", "b"), page("2"), page("", "c/d")}, []string{"a", "b", "c/d"}, ""},
		{"what is no object's key", []string{page("", ".probe/X", "a", "b/", "b//c", "d")}, []string{"a", "d"}, ""},
		{"a page that does not come", []string{page("1", "a"), ""}, []string{"a"}, "InternalError"},
		{"not in order", []string{page("1", "a", "c"), page("", "b")}, []string{"a", "c"}, `"b" after "c"`},
		{"a key twice", []string{page("1", "a", "b"), page("", "b")}, []string{"a", "b"}, `"b" after "b"`},
		{"a page that is cut", []string{page("", "a", "b")[:60]}, nil, "deserialization failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := dictated(t, testLimits, func(w http.ResponseWriter, r *http.Request) {
				n := 0
				fmt.Sscan(r.URL.Query().Get("continuation-token"), &n)
				if test.pages[n] == "" {
					refuse(w, 500, "InternalError")
					return
				}
				io.WriteString(w, test.pages[n])
			})
			var keys []string
			var last error
			for info, err := range s.List(t.Context(), "") {
				if last = err; err == nil {
					keys = append(keys, info.Key)
				}
			}
			if !slices.Equal(keys, test.keys) || (last == nil) != (test.fails == "") ||
				last != nil && !strings.Contains(last.Error(), test.fails) {
				t.Fatalf("%v, then %v; want %v, then %q", keys, last, test.keys, test.fails)
			}
		})
	}
}
