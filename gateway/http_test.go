package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
)

func (r *running) serve() *httptest.Server {
	s := httptest.NewServer(r.gateway.Handler())
	r.t.Cleanup(s.Close)
	return s
}

func post(t *testing.T, url string, header map[string]string, body io.Reader) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp, data
}

// TestHTTPWrite: every rule of POST /write.
func TestHTTPWrite(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{RequestBytesMax: 10_000})
	s := r.serve()
	h := func(name, value string) map[string]string { return map[string]string{name: value} }
	for i, c := range []struct {
		query  string
		header map[string]string
		body   string
		code   int
		want   string // in the body, or the TxID
	}{
		{"", nil, "cpu usage=1i 1\n", 204, "1"},
		{"", h("Content-Type", "application/x-www-form-urlencoded"), row, 204, "2"},
		{"?db=x&bucket=y", h("Content-Encoding", "gzip"), zipped(row), 204, "3"},
		{"", h("Braid-Expected-TxID", "3"), row, 204, "4"},
		{"", h("Braid-Expected-TxID", "3"), row, 409, `"expected":3,"current":4`},
		{"", h("Braid-Expected-TxID", "x"), row, 400, "Braid-Expected-T"},
		{"", h("Nats-Msg-Id", "k"), row, 204, "5"},
		{"", h("Nats-Msg-Id", "k"), row, 204, "5"},
		{"", nil, "", 204, ""},
		{"", nil, "# nothing\n\n", 204, ""},
		{"", nil, "cpu usage=1i\ncpu usage=\n", 400, `"line":2`},
		{"", nil, "cpu usage=1i 1\nmem x=1i 1\n", 204, ""},
		{"", nil, "cpu usage=1i 1\nmem x=1.5 1\n", 400, `{"results":[{"table":"cpu","txid":7,"rows":1},{"table":"mem","error":`},
		{"", nil, strings.Repeat("x", 10_001), 413, "10000 bytes"},
		{"?precision=fortnight", nil, row, 400, "precision"},
		{"?precision=", nil, row, 400, "precision"},
		{"?precision=ns&precision=s", nil, row, 400, "precision"},
		{"?precision=n", nil, "p ns=1i 1", 204, "1"},
		{"?precision=ns", nil, "p ns=1i 1", 204, "2"},
		{"?precision=u", nil, "p ns=1000i 1", 204, "3"},
		{"?precision=us", nil, "p ns=1000i 1", 204, "4"},
		{"?precision=ms", nil, "p ns=1000000i 1", 204, "5"},
		{"?precision=s", nil, "p ns=1000000000i 1", 204, "6"},
		{"?precision=m", nil, "p ns=60000000000i 1", 204, "7"},
		{"?precision=h", nil, "p ns=3600000000000i 1", 204, "8"},
	} {
		name := fmt.Sprintf("%d %s %v %.20q", i, c.query, c.header, c.body)
		resp, body := post(t, s.URL+"/write"+c.query, c.header, strings.NewReader(c.body))
		switch txid := resp.Header.Get(api.HeaderTxID); {
		case resp.StatusCode != c.code:
			t.Errorf("%s: code %d, not %d: %s", name, resp.StatusCode, c.code, body)
		case c.code == 204 && (len(body) > 0 || txid != c.want):
			t.Errorf("%s: TxID %q, body %q", name, txid, body)
		case c.code != 204 && !strings.Contains(string(body), c.want):
			t.Errorf("%s: body %s", name, body)
		}
	}
	for i, w := range c.writes("p") {
		var row struct{ NS, Timestamp int64 }
		if err := json.Unmarshal([]byte(w), &row); err != nil || row.NS != row.Timestamp {
			t.Errorf("write %d: %s: %v", i, w, err)
		}
	}
	// A body of unknown length is cut off at the limit, too.
	half := make([]byte, 6000)
	resp, _ := post(t, s.URL+"/write", nil, io.MultiReader(bytes.NewReader(half), bytes.NewReader(half)))
	if resp.StatusCode != 413 {
		t.Errorf("chunked: code %d", resp.StatusCode)
	}
}

// TestHTTPReadsArePassedOn: to the node asked for, else to the one furthest ahead.
func TestHTTPReadsArePassedOn(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	node := func(id string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/tables/broken" {
				w.Write([]byte("some rows"))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Header().Set(api.HeaderTxID, "7")
			fmt.Fprintf(w, "%s %s", id, r.URL.RequestURI())
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	c.mu.Lock()
	for id, lag := range map[string]uint64{"p1": 9, "p2": 3} {
		h := c.beats[id]
		h.HTTP, h.Lag = node(id), lag
		c.beats[id] = h
	}
	c.mu.Unlock()
	r := c.start(gateway.Config{})
	s := r.serve()
	get := func(path string) (int, string, error) {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode == 200 && resp.Header.Get(api.HeaderTxID) != "7" {
			t.Errorf("%s: the header got lost", path)
		}
		return resp.StatusCode, string(body), err
	}
	for path, want := range map[string]string{
		"/tables":                      "p2 /tables",
		"/tables?node=p1":              "p1 /tables?node=p1",
		"/tables/a.b?from_txid=1&to=3": "p2 /tables/a.b?from_txid=1&to=3",
		"/tables/%C3%BC?format=csv":    "p2 /tables/%C3%BC?format=csv",
	} {
		if code, body, err := get(path); err != nil || code != 200 || body != want {
			t.Errorf("%s: %d %q %v", path, code, body, err)
		}
	}
	if code, body, _ := get("/tables?node=p9"); code != 404 || !strings.Contains(body, `"not_found"`) {
		t.Errorf("an unknown node: %d %s", code, body)
	}
	if code, body, _ := get("/tables/cpu?from_txid=%zz"); code != 400 || !strings.Contains(body, `"invalid"`) {
		t.Errorf("a query that cannot be read: %d %s", code, body)
	}
	if code, _, _ := get("/nothing"); code != 404 {
		t.Errorf("an unknown path: %d", code)
	}
	if code, body, err := get("/tables/broken"); err == nil {
		t.Errorf("a stream that broke off ended cleanly: %d %q", code, body)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
