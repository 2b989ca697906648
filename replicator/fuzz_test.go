package replicator

import (
	"net/url"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// FuzzQuery: the query of a read is refused, or means the same when it is spelled out again.
func FuzzQuery(f *testing.F) {
	f.Add("cpu", "from_txid=2&to_txid=9&format=csv&txid=1")
	f.Add("cpu", "from_txid=-1")
	f.Add("cpu", "to_txid=18446744073709551615;txid=%zz")
	f.Fuzz(func(t *testing.T, table, query string) {
		q, err := parseRowsQuery(table, query)
		if err != nil {
			if e := api.AsError(err); e.Code != 400 || len(e.Message) > api.MessageBytesMax+10 {
				t.Fatalf("told %v", e)
			}
			return
		}
		if q.table != table || q.from < 1 || contentTypes[q.format] == "" {
			t.Fatalf("%q is read as %+v", query, q)
		}
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseRowsQuery(table, v.Encode()); err != nil || again != q {
			t.Fatalf("%q is read as %+v, then as %+v, %v", query, q, again, err)
		}
	})
}

// FuzzHint: a hint about a log is one number or two, or nothing.
func FuzzHint(f *testing.F) {
	f.Add([]byte("300"))
	f.Add([]byte("0 12"))
	f.Add([]byte("-1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHint(data)
		if err != nil && (h != Hint{} || len(err.Error()) > api.MessageBytesMax+100) {
			t.Fatalf("%q hints at %+v, %v", data, h, err)
		}
		for _, c := range data {
			if (c < '0' || c > '9') && c != ' ' && err == nil {
				t.Fatalf("%q hints at %+v", data, h)
			}
		}
	})
}
