package bearer_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
)

const (
	reads  = "reads-0123456789abcdef"
	writes = "writes-0123456789abcdef"
	both   = "both-0123456789abcdef=="
	scrape = "scrape-0123456789abcdef"
)

const file = "# tokens\n\nread " + reads + "\nwrite\t" + writes + "\n  read,write " + both + "\n"

// TestTokens: without the right token nothing passes, and the handler is not called.
func TestTokens(t *testing.T) {
	tokens, err := bearer.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method string
		header []string
		want   int
	}{
		{"GET", nil, 401},
		{"GET", []string{"Bearer " + reads}, 200},
		{"HEAD", []string{"bearer " + reads}, 200},
		{"GET", []string{"Bearer " + both}, 200},
		{"GET", []string{"Bearer " + writes}, 403},
		{"GET", []string{"Bearer " + reads + "x"}, 401},
		{"GET", []string{"Bearer " + reads[:len(reads)-1]}, 401},
		{"GET", []string{"Bearer  " + reads}, 401},
		{"GET", []string{"Bearer"}, 401},
		{"GET", []string{"Bearer "}, 401},
		{"GET", []string{reads}, 401},
		{"GET", []string{"Basic " + reads}, 401},
		{"GET", []string{"Bearer " + reads, "Bearer " + reads}, 401},
		{"POST", nil, 401},
		{"POST", []string{"Bearer " + reads}, 403},
		{"POST", []string{"Bearer " + writes}, 200},
		{"PUT", []string{"Bearer " + reads}, 403},
		{"OPTIONS", nil, 401},
		{"GREET", []string{"Bearer " + reads}, 403},
	} {
		called := false
		h := tokens.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
		r := httptest.NewRequest(c.method, "/tables", nil)
		r.Header["Authorization"] = c.header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || called != (c.want == 200) {
			t.Errorf("%s with %q: %d, want %d, handled %t", c.method, c.header, w.Code, c.want, called)
		}
		if w.Code == 200 {
			continue
		}
		e := new(api.Error)
		if err := json.Unmarshal(w.Body.Bytes(), e); err != nil || e.Code != c.want || strings.Contains(e.Message, reads) {
			t.Errorf("%s with %q: body %s", c.method, c.header, w.Body)
		}
		if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (c.want == 401) {
			t.Errorf("%s with %q: asks for a token is %t", c.method, c.header, asks)
		}
	}
}

// TestMetricsTokens: a scrape needs a token only where there is one for it.
func TestMetricsTokens(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for text, want := range map[string][3]int{ // without a token, with one for reads, with one for metrics
		"":                                {200, 200, 200},
		file:                              {200, 200, 200},
		file + "metrics " + scrape + "\n": {401, 403, 200},
	} {
		var tokens *bearer.Tokens
		if text != "" {
			var err error
			if tokens, err = bearer.Parse(text); err != nil {
				t.Fatal(err)
			}
		}
		for i, token := range []string{"", reads, scrape} {
			r := httptest.NewRequest("GET", "/metrics", nil)
			bearer.Set(r, token)
			w := httptest.NewRecorder()
			tokens.RequireMetrics(ok).ServeHTTP(w, r)
			if w.Code != want[i] {
				t.Errorf("token %q of %q: %d, want %d", token, text, w.Code, want[i])
			}
		}
	}
}

// TestTokensFile: a file that makes no sense is an error that names the line, and no token.
func TestTokensFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "no tokens",
		"# read " + reads:                        "no tokens",
		reads:                                    "line 1",
		"read " + reads + "\nall " + writes:      "line 2",
		"read short":                             "at least",
		"read " + reads + "!":                    "at least",
		"read " + reads + " write " + writes:     "line 1",
		"read,  " + reads:                        "scopes",
		"read " + reads + " # for the dashboard": "line 1",
	} {
		_, err := bearer.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), reads) || strings.Contains(err.Error(), writes)) {
			t.Errorf("the error tells a token: %v", err)
		}
	}
}
