package conformance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/nats-io/nats.go"
)

// TestI8_ErrorsStaySmall: megabytes that cannot be read do not come back in the error, which must fit
// into an answer; whoever sent them is told all the same.
func TestI8_ErrorsStaySmall(t *testing.T) {
	t.Parallel()
	big := func(s string) string { return strings.Repeat(s, 7<<20/len(s)) }
	for name, payload := range map[string]string{
		"number": "T a=1" + big("1") + "x", "boolean": "T a=t" + big("r"), "timestamp": "T a=1i 1" + big("x"),
		"not UTF-8": "T,t=" + big("\xff") + " a=1i", "name not UTF-8": "T " + big("\xff") + "=1i",
		"name": "T " + big("n") + "=1i", "string not UTF-8": "T s=\"" + big("\xff") + `"`,
		"measurement": big("m") + " a=1i", "measurement not UTF-8": big("\xff") + " a=1i",
		"measurement of controls": big("\u0085") + " a=1i",
		"open string":             `T s="` + big("x"), "JSON name": `{"` + big("n") + `":1}`,
		"JSON number": `{"a":1` + big("1") + `}`, "JSON timestamp": `{"timestamp":"` + big("1") + `"}`,
		"JSON value": `{"a":` + big("y") + `}`, "JSON controls": `{"a":"` + big("\x01") + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := fresh()
			h := headers()
			if strings.HasPrefix(name, "JSON") {
				h = headers("Content-Type", typeNDJSON)
			}
			payload := strings.Replace(payload, "T", table, 1)
			a := send(t, "ingest."+table, h, []byte(payload))
			refused(t, a, 400, "invalid")
			if len(a.raw) > 4096 || len(a.text) > 4096 || a.Line != 1 {
				t.Errorf("an error of %d bytes, a header of %d, line %d", len(a.raw), len(a.text), a.Line)
			}
			if len(h) > 0 {
				return
			}
			if a := send(t, "ingest", nil, []byte(payload)); a.code != 400 || len(a.raw) > 4096 || a.Line != 1 {
				t.Errorf("on ingest %d, %d bytes", a.code, len(a.raw))
			}
			if a := post(t, "", []byte(payload)); a.status != 400 || len(a.raw) > 4096 || a.Line != 1 {
				t.Errorf("over HTTP %d, %d bytes", a.status, len(a.raw))
			}
		})
	}
	table := fresh()
	for _, name := range []string{"Content-Type", "Content-Encoding", "Braid-Table", "Braid-Expected-TxID",
		"Braid-Durability", "Braid-X" + strings.Repeat("x", 10_000)} {
		a := write(t, table, table+" a=1i", name, strings.Repeat("z", 100_000))
		if refused(t, a, 400, "invalid"); len(a.raw) > 4096 || len(a.text) > 4096 {
			t.Errorf("%.20s: an error of %d bytes", name, len(a.raw))
		}
	}
	absent(t, table)
	// Nor does an answer of ten thousand tables that are refused for long reasons.
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "%s%05d a=\"%s\n", strings.Repeat("&", 122), i, strings.Repeat("\xff", 500)+`"`)
	}
	packed := gzipped([]byte(many.String()))
	if a := send(t, "ingest", headers("Content-Encoding", "gzip"), packed); len(a.Results) != 10_000 || a.code != 400 ||
		a.Results[9999].Error.Line != 10_000 || a.Results[9999].Error.Name != "invalid" || !strings.HasPrefix(a.text, "invalid: line 1: ") {
		t.Errorf("ten thousand tables: %.500s", a.raw)
	}
}

// TestI8_NamesInURLs: a table's name is the same in a subject, in a payload and in a URL, whatever a
// URL thinks of its characters.
func TestI8_NamesInURLs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"100%", "a?b", "a#b", "a&b=c", "a+b", "%2f", "a:b", "a;b", "a|b", "~a", "é", "e\u0301", "a'b"} {
		name += fresh()
		ok(t, send(t, "ingest."+name, nil, []byte(name+" a=1i 1")), name, 1, 1)
		for _, n := range append(up.Nodes, up.Nodes[0]) {
			if got := readFrom(t, "http://"+n.HTTP, name, 1, ""); got.body != "{\"timestamp\":1,\"a\":1}\n" {
				t.Errorf("%q on %s: %d %s", name, n.ID, got.status, got.body)
			}
		}
		if got := read(t, name, 1, ""); got.body != "{\"timestamp\":1,\"a\":1}\n" {
			t.Errorf("%q: %d %s", name, got.status, got.body)
		}
	}
	for _, path := range []string{"/tables/", "/tables/a%2Fb", "/tables/..", "/tables/%00", "/tables/%ff"} {
		if r := fetch(t, up.HTTP, path); r.status != 404 && r.status != 400 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// TestI8_ColumnNames: whatever a column's name has in it comes back from every text format.
func TestI8_ColumnNames(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, `{"timestamp":1,"a\"b":1,"c,d":2,"e\\f":3," ":4,"ü":5,"txid":6,"":null}`, "Content-Type", typeNDJSON),
		table, 1, 1)
	if got := rows(t, table, 1); got[0] != `{"timestamp":1,"a\"b":1,"c,d":2,"e\\f":3," ":4,"ü":5,"txid":6}` {
		t.Errorf("NDJSON %s", got[0])
	}
	if got := read(t, table, 1, "format=csv"); got.body != "timestamp,\"a\"\"b\",\"c,d\",e\\f,\" \",ü,txid\n1,1,2,3,4,5,6\n" {
		t.Errorf("CSV %s", got.body)
	}
	// The TxID's own column would stand beside one of the same name.
	if got := read(t, table, 1, "txid=1"); got.status != 400 || !strings.Contains(got.body, "txid") {
		t.Errorf("two columns of one name: %d %s", got.status, got.body)
	}
}

// TestI7_ManyRequestsAtOnceAreAllAnswered: none of a burst is dropped silently.
func TestI7_ManyRequestsAtOnceAreAllAnswered(t *testing.T) {
	table := fresh()
	const requests = 20_000
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	for i := range requests {
		if err := nc.PublishRequest("ingest."+table, inbox, []byte(fmt.Sprintf("%s a=%di 1", table, i))); err != nil {
			t.Fatal(err)
		}
	}
	stored := uint64(0)
	for i := range requests {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		switch code := msg.Header.Get("Nats-Service-Error-Code"); code {
		case "":
			stored++
		case "429":
		default:
			t.Fatalf("told %s", msg.Data)
		}
	}
	if got := rows(t, table, stored); uint64(len(got)) != stored {
		t.Fatalf("%d accepted, %d rows", stored, len(got))
	}
}

// TestI7_LargeRequestsAtOnceAreAllAnswered: the same with payloads near the limit.
func TestI7_LargeRequestsAtOnceAreAllAnswered(t *testing.T) {
	table := fresh()
	const requests = 40
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	payload := []byte(table + " a=1i 1\n#" + strings.Repeat("x", 7<<20))
	for range requests {
		if err := nc.PublishRequest("ingest."+table, inbox, payload); err != nil {
			t.Fatal(err)
		}
	}
	for i := range requests {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		if code := msg.Header.Get("Nats-Service-Error-Code"); code != "" && code != "429" {
			t.Fatalf("told %s", msg.Data)
		}
	}
}

// TestI7_HTTPBodies: a body without a length, and one far over the limit, are bounded and answered.
func TestI7_HTTPBodies(t *testing.T) {
	t.Parallel()
	table := fresh()
	for name, c := range map[string]struct {
		size, code int
		chunked    bool
	}{
		"chunked": {100, 204, true}, "chunked over the limit": {9 << 20, 413, true},
		"far over the limit": {40 << 20, 413, false}, "chunked, far over": {40 << 20, 413, true},
	} {
		body := strings.NewReader(table + " a=1i 1\n#" + strings.Repeat("x", c.size))
		r, err := http.NewRequest("POST", up.HTTP+"/write", body)
		if err != nil {
			t.Fatal(err)
		}
		if c.chunked {
			r.ContentLength = -1
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.Body.Close()
		if got.StatusCode != c.code {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
	if got := rows(t, table, 1); len(got) != 1 {
		t.Errorf("rows %q", got)
	}
	r, err := http.Post(up.HTTP+"/write?precision="+url.QueryEscape("s\x00"), "", strings.NewReader("a a=1i"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 400 {
		t.Errorf("status %d", r.StatusCode)
	}
}

// TestI8_ArrowOddities: streams that are whole but unusual.
func TestI8_ArrowOddities(t *testing.T) {
	t.Parallel()
	table := fresh()
	arrowType := headers("Content-Type", typeArrow+"; version=1")
	p := arrow.PrimitiveTypes
	empty := stream(t, []arrow.Field{field("a", p.Int64)}, func(*array.RecordBuilder) {})
	refused(t, send(t, "ingest."+table, arrowType, empty), 400, "invalid", "no row")
	one := stream(t, []arrow.Field{field("a", p.Int64)}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 0, 3}, []bool{true, false, true})
	})
	refused(t, send(t, "ingest."+table, arrowType, append(append([]byte{}, one...), one...)), 400, "invalid")
	refused(t, send(t, "ingest", arrowType, one), 400, "invalid", "Braid-Table")
	twice := stream(t, []arrow.Field{field("a", p.Int64), field("a", p.Int64)}, func(b *array.RecordBuilder) {
		b.Field(0).AppendNull()
		b.Field(1).AppendNull()
	})
	refused(t, send(t, "ingest."+table, arrowType, twice), 400, "invalid", `"a"`)
	absent(t, table)
	ok(t, send(t, "ingest."+table, arrowType, one), table, 1, 3)
	clash := stream(t, []arrow.Field{field("new", p.Int64), field("a", p.Float64)}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int64Builder).Append(1)
		b.Field(1).(*array.Float64Builder).Append(1)
	})
	refused(t, send(t, "ingest."+table, arrowType, clash), 400, "invalid", `"a"`, "int64", "float64")
	if got := columns(t, table); len(got) != 2 {
		t.Errorf("columns %q", got)
	}
	for name, n := range map[string]int{"cut": 1, "flipped": 0} {
		for at := 8; at < len(one)-16; at += 7 {
			bad := append([]byte{}, one...)
			if n == 1 {
				bad = bad[:at]
			} else {
				bad[at] ^= 0x55
			}
			a := send(t, "ingest.odd"+table, arrowType, bad)
			if a.code != 0 && a.code != 400 && a.code != 413 {
				t.Errorf("%s at %d: %s", name, at, a.raw)
			}
		}
	}
}
