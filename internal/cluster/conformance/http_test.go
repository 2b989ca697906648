package conformance_test

import (
	"encoding/json"
	"fmt"
	"github.com/seed-551dd829/braid/internal/natstest"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestI8_HTTPWrite: POST /write is line protocol, whatever the Content-Type; 204, or the error.
func TestI8_HTTPWrite(t *testing.T) {
	t.Parallel()
	table, other := fresh(), fresh()
	good := func(query, data string, txid string, nameValue ...string) {
		t.Helper()
		a := post(t, query, []byte(data), nameValue...)
		if a.status != 204 || a.raw != "" || a.txid != txid || a.code != 0 {
			t.Fatalf("%s: %d %q TxID %q", query, a.status, a.raw, a.txid)
		}
	}
	good("", table+" a=1i 5", "1")
	good("", table+" a=1i 5", "2", "Content-Type", "application/json")
	good("", string(gzipped([]byte(table+" a=1i 5"))), "3", "Content-Encoding", "gzip")
	good("", string(zstded([]byte(table+" a=1i 5"))), "4", "Content-Encoding", "zstd")
	good("?db=x&bucket=y", table+" a=1i 5", "5")
	good("", table+" a=1i 5", "6", "Braid-Expected-TxID", "5")
	good("", "", "")
	good("", "# nothing\n\n", "")
	good("", table+" a=1i 5\n"+other+" a=1i 5", "")
	for query, unit := range map[string]int64{
		"": 1, "?precision=n": 1, "?precision=ns": 1, "?precision=u": 1e3, "?precision=us": 1e3, "?precision=ms": 1e6,
		"?precision=s": 1e9, "?precision=m": 60e9, "?precision=h": 3600e9,
	} {
		table := fresh()
		good(query, table+" a=1i 5\n"+table+" a=1i -5", "1")
		want := fmt.Sprintf("{\"timestamp\":%d,\"a\":1}\n{\"timestamp\":%d,\"a\":1}\n", 5*unit, -5*unit)
		if got := read(t, table, 1, ""); got.body != want {
			t.Errorf("%s: read %s", query, got.body)
		}
	}
	for _, c := range []struct {
		query, data string
		header      []string
		code        int
		name        string
	}{
		{"?precision=d", "T a=1i 5", nil, 400, "invalid"},
		{"?precision=", "T a=1i 5", nil, 400, "invalid"},
		{"?precision=s&precision=s", "T a=1i 5", nil, 400, "invalid"},
		{"?precision=h", "T a=1i 9223372036854775807", nil, 400, "invalid"},
		{"", "T a=1i 5", []string{"Content-Encoding", "br"}, 400, "invalid"},
		{"", "T a=1i 5", []string{"Content-Encoding", "gzip"}, 400, "invalid"},
		{"", "T a=1i 5\nT a=x", nil, 400, "invalid"},
		{"", "T a=1i 5", []string{"Braid-Expected-TxID", "4"}, 409, "conflict"},
		{"", "T a=1i 5", []string{"Braid-Expected-TxID", "x"}, 400, "invalid"},
		{"", "T a=1i 5", []string{"Braid-Nonsense", "x"}, 400, "invalid"},
		{"", "T a=1i 5", []string{"Braid-Producer", "x"}, 400, "invalid"},
	} {
		table := fresh()
		a := post(t, c.query, []byte(strings.ReplaceAll(c.data, "T", table)), c.header...)
		if a.status != c.code || a.Code != c.code || a.code != c.code || a.Name != c.name {
			t.Errorf("%s %v: %d %s", c.query, c.header, a.status, a.raw)
		}
		if r := fetch(t, up.HTTP, "/tables/"+table); r.status != 404 {
			t.Errorf("%v left a table", c)
		}
	}
	// A refused table beside a good one: the code, and the body says which is stored.
	a := post(t, "", []byte(table+" a=x\n"+other+" a=1i\n"))
	if a.status != 400 || len(a.Results) != 2 || a.Results[0].Error == nil || a.Results[1].TxID != 2 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		r, err := http.NewRequest(method, up.HTTP+"/write", nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != 405 {
			t.Errorf("%s /write is %d", method, got.StatusCode)
		}
	}
}

// TestI4_Reading: ranges are inclusive, order is that of the TxIDs, and what is asked for wrongly is
// refused; the gateway and the node say the same.
func TestI4_Reading(t *testing.T) {
	t.Parallel()
	table := fresh() + ".x y"
	table = strings.ReplaceAll(table, " ", "·")
	for i := range 5 {
		a := write(t, table, fmt.Sprintf("%s v=%di %d\n%s v=%di %d", table, i, 10-i, table, i, 10-i))
		ok(t, a, table, uint64(i+1), 2)
	}
	for _, base := range []string{up.HTTP, "http://" + up.Nodes[0].HTTP, "http://" + up.Nodes[2].HTTP} {
		for _, c := range []struct {
			query string
			first int // TxIDs, 0: none
			last  int
			txid  string
		}{
			{"", 1, 5, "5"}, {"from_txid=2", 2, 5, "5"}, {"to_txid=2", 1, 2, "2"}, {"from_txid=3&to_txid=3", 3, 3, "3"},
			{"from_txid=0&to_txid=99", 1, 5, "5"}, {"from_txid=5", 5, 5, "5"}, {"from_txid=6", 0, 0, "5"},
			{"from_txid=4&to_txid=3", 0, 0, "3"}, {"to_txid=18446744073709551615", 1, 5, "5"}, {"to_txid=0", 0, 0, "0"},
		} {
			want := ""
			for i := c.first; i <= c.last && i > 0; i++ {
				want += strings.Repeat(fmt.Sprintf("{\"timestamp\":%d,\"v\":%d}\n", 11-i, i-1), 2)
			}
			got := readFrom(t, base, table, 5, c.query)
			if got.status != 200 || got.body != want || got.header.Get("Braid-TxID") != c.txid {
				t.Errorf("%s %s: %d, TxID %s, %q", base, c.query, got.status, got.header.Get("Braid-TxID"), got.body)
			}
			if ct := got.header.Get("Content-Type"); ct != typeNDJSON {
				t.Errorf("Content-Type %q", ct)
			}
		}
		if got := readFrom(t, base, table, 5, "format=csv&txid=1&from_txid=4"); got.body !=
			"timestamp,txid,v\n7,4,3\n7,4,3\n6,5,4\n6,5,4\n" {
			t.Errorf("CSV with TxIDs: %q", got.body)
		}
		if got := readFrom(t, base, table, 5, "format=csv&from_txid=6"); got.body != "timestamp,v\n" {
			t.Errorf("CSV without rows: %q", got.body)
		}
		if got := readFrom(t, base, table, 5, "txid=1&to_txid=1"); !strings.Contains(got.body, `{"timestamp":10,"txid":1,"v":0}`) {
			t.Errorf("NDJSON with TxIDs: %q", got.body)
		}
		for path, code := range map[string]int{
			"/tables/nothing": 404, "/tables/" + url.PathEscape(table) + "?format=xml": 400,
			"/tables/" + url.PathEscape(table) + "?format=":                 400,
			"/tables/" + url.PathEscape(table) + "?from_txid=x":             400,
			"/tables/" + url.PathEscape(table) + "?to_txid=-1":              400,
			"/tables/" + url.PathEscape(table) + "?txid=maybe":              400,
			"/tables/" + url.PathEscape(table) + "?from_txid=1&from_txid=5": 400,
			"/tables/" + url.PathEscape(table) + "?from_txid=%zz":           400,
			"/tables/nothing?format=xml":                                    400,
		} {
			r := fetch(t, base, path)
			var e refusal
			if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != code || e.Code != code {
				t.Errorf("%s%s: %d %s", base, path, r.status, r.body)
			}
			if ct := r.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("%s: Content-Type %q", path, ct)
			}
		}
	}
}

// TestI4_ReadsOfANodeOfChoice: `?node=` reads there, and an unknown one is 404.
func TestI4_ReadsOfANodeOfChoice(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, table+" v=1i 1"), table, 1, 1)
	for _, n := range up.Nodes {
		natstest.Eventually(t, "the row is on "+n.ID, func() bool {
			r := fetch(t, up.HTTP, "/tables/"+table+"?node="+n.ID)
			return r.status == 200 && r.body == "{\"timestamp\":1,\"v\":1}\n"
		})
		var list struct {
			Tables []struct {
				Name    string
				Applied uint64
				Rows    uint64
			}
		}
		r := fetch(t, up.HTTP, "/tables?node="+n.ID)
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		found := false
		for _, entry := range list.Tables {
			found = found || entry.Name == table && entry.Applied == 1 && entry.Rows == 1
		}
		if !found {
			t.Errorf("%s does not list %s", n.ID, table)
		}
	}
	for _, path := range []string{"/tables?node=p9", "/tables/" + table + "?node=p9"} {
		if r := fetch(t, up.HTTP, path); r.status != 404 || !strings.Contains(r.body, `"not_found"`) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	r, err := http.Head(up.HTTP + "/tables/" + table)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if data, err := io.ReadAll(r.Body); err != nil || len(data) > 0 || r.StatusCode != 200 || r.Header.Get("Braid-TxID") != "1" {
		t.Errorf("HEAD: %d %v", r.StatusCode, r.Header)
	}
}

// TestHealth: every process says that it lives and is ready, and has metrics.
func TestHealth(t *testing.T) {
	t.Parallel()
	bases := []string{up.HTTP}
	for _, n := range up.Nodes {
		bases = append(bases, "http://"+n.HTTP)
	}
	for _, base := range bases {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if r := fetch(t, base, path); r.status != 200 {
				t.Errorf("%s%s: %d %s", base, path, r.status, r.body)
			}
		}
	}
}
