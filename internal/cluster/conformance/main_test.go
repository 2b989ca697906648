package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/cluster"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// The cluster under test, and a connection to it as any client has one.
var (
	up cluster.Up
	nc *nats.Conn
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "braid-conformance-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{
			DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0", Primaries: 2, Replicas: 1,
			Sequencers: 1, SealInterval: time.Millisecond, TCP: true,
		}, log, func(u cluster.Up) { ready <- u })
	}()
	select {
	case up = <-ready:
	case err := <-ended:
		cancel()
		return 1, err
	}
	if nc, err = nats.Connect(up.NATS); err != nil {
		cancel()
		return 1, err
	}
	code = m.Run()
	nc.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		return 1, err
	}
	return code, goleak.Find()
}

const patience = 20 * time.Second

var tablesMade atomic.Int64

// fresh returns the name of a table that nobody has written to.
func fresh() string { return "t" + strconv.FormatInt(tablesMade.Add(1), 10) }

// headers makes NATS headers of names and values in turn.
func headers(nameValue ...string) nats.Header {
	h := nats.Header{}
	for i := 0; i < len(nameValue); i += 2 {
		h[nameValue[i]] = append(h[nameValue[i]], nameValue[i+1])
	}
	return h
}

// body is either JSON body of an answer.
type body struct {
	Results []struct {
		Table string   `json:"table"`
		TxID  uint64   `json:"txid"`
		Rows  int      `json:"rows"`
		Error *refusal `json:"error"`
	} `json:"results"`
	refusal
}

type refusal struct {
	Code       int     `json:"code"`
	Name       string  `json:"name"`
	Message    string  `json:"message"`
	Table      string  `json:"table"`
	Line       int     `json:"line"`
	Expected   *uint64 `json:"expected"`
	Current    *uint64 `json:"current"`
	RetryAfter int     `json:"retry_after_ms"`
}

// answer is what came back, over NATS or HTTP.
type answer struct {
	body
	code   int    // 0: accepted
	text   string // of the error's header
	txid   string // of the header
	raw    string
	status int // HTTP
}

func parseAnswer(t testing.TB, get func(string) string, data []byte) answer {
	t.Helper()
	a := answer{text: get(api.HeaderError), txid: get(api.HeaderTxID), raw: string(data)}
	if c := get(api.HeaderErrorCode); c != "" {
		a.code, _ = strconv.Atoi(c)
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &a.body); err != nil {
			t.Fatalf("the body %q is not JSON: %v", data, err)
		}
	}
	return a
}

func send(t testing.TB, subject string, h nats.Header, data []byte) answer {
	t.Helper()
	msg, err := nc.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: data}, patience)
	if err != nil {
		t.Fatalf("request to %s: %v", subject, err)
	}
	return parseAnswer(t, msg.Header.Get, msg.Data)
}

func write(t testing.TB, table, rows string, nameValue ...string) answer {
	t.Helper()
	return send(t, "ingest."+table, headers(nameValue...), []byte(rows))
}

// ok asserts that a write of one table was accepted, in every place where the answer says so.
func ok(t testing.TB, a answer, table string, txid uint64, rows int) {
	t.Helper()
	if a.code != 0 || a.text != "" || len(a.Results) != 1 || a.Results[0].Error != nil {
		t.Fatalf("refused: %s", a.raw)
	}
	want := fmt.Sprintf(`{"results":[{"table":%q,"txid":%d,"rows":%d}]}`, table, txid, rows)
	if a.raw != want || a.txid != strconv.FormatUint(txid, 10) {
		t.Fatalf("answer %s, header %q; want %s", a.raw, a.txid, want)
	}
}

// refused asserts that a request was refused as one about one table, in headers and body alike.
func refused(t testing.TB, a answer, code int, name string, pieces ...string) {
	t.Helper()
	if a.code != code || a.Code != code || a.Name != name || len(a.Results) != 0 || a.txid != "" {
		t.Fatalf("want %d %s, got header %d, body %s", code, name, a.code, a.raw)
	}
	if !strings.HasPrefix(a.text, name+": ") || strings.ContainsAny(a.text, "\r\n") {
		t.Fatalf("header %s is %q", api.HeaderError, a.text)
	}
	for _, p := range pieces {
		if !strings.Contains(a.Message, p) {
			t.Fatalf("message %q lacks %q", a.Message, p)
		}
	}
}

// response is what a read came to.
type response struct {
	status int
	header http.Header
	body   string
}

func fetch(t testing.TB, base, path string) response {
	t.Helper()
	r, err := http.Get(base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{r.StatusCode, r.Header, string(data)}
}

// read reads a table through the gateway, once every node has applied TxID txid: which one answers is the gateway's
// choice, each time anew.
func read(t testing.TB, table string, txid uint64, query string) response {
	t.Helper()
	return readFrom(t, up.HTTP, table, txid, query)
}

func readFrom(t testing.TB, base, table string, txid uint64, query string) response {
	t.Helper()
	path := "/tables/" + url.PathEscape(table)
	natstest.Eventually(t, fmt.Sprintf("table %s at TxID %d", table, txid), func() bool {
		for _, n := range up.Nodes {
			r := fetch(t, "http://"+n.HTTP, path)
			if applied, _ := strconv.ParseUint(r.header.Get(api.HeaderTxID), 10, 64); r.status != 200 || applied < txid {
				return false
			}
		}
		return true
	})
	return readable(t, base, path+"?"+query)
}

// readable is fetch once the gateway knows a live node: after a bomb, heartbeats may be late.
func readable(t testing.TB, base, path string) (r response) {
	t.Helper()
	natstest.Eventually(t, "a node to read from", func() bool {
		r = fetch(t, base, path)
		return r.status != 503
	})
	return r
}

// rows are the lines of a table in NDJSON, as the gateway reads them.
func rows(t testing.TB, table string, txid uint64) []string {
	t.Helper()
	r := read(t, table, txid, "")
	return strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
}

// absent asserts that no reader can see a table.
func absent(t testing.TB, table string) {
	t.Helper()
	r := readable(t, up.HTTP, "/tables/"+url.PathEscape(table))
	var e refusal
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != 404 || e.Name != "not_found" {
		t.Fatalf("table %s: status %d, %s", table, r.status, r.body)
	}
	if list := readable(t, up.HTTP, "/tables"); strings.Contains(list.body, strconv.Quote(table)) {
		t.Fatalf("table %s is in %s", table, list.body)
	}
	if c := columns(t, table); len(c) > 0 {
		t.Fatalf("table %s has a schema: %v", table, c)
	}
}

// columns asks the sequencer for a table's columns, `name type` each.
func columns(t testing.TB, table string) (out []string) {
	t.Helper()
	request, err := json.Marshal(api.SchemaRequest{Table: table})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := nc.Request(api.Subjects{}.Schema(), request, patience)
	if err != nil {
		t.Fatal(err)
	}
	var s api.SchemaAnswer
	if err := json.Unmarshal(msg.Data, &s); err != nil {
		t.Fatalf("%s: %v", msg.Data, err)
	}
	for _, c := range s.Columns {
		out = append(out, c.Name+" "+c.Type.String())
	}
	return out
}

// post sends POST /write.
func post(t testing.TB, query string, data []byte, nameValue ...string) answer {
	t.Helper()
	r, err := http.NewRequest("POST", up.HTTP+"/write"+query, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(nameValue); i += 2 {
		r.Header.Add(nameValue[i], nameValue[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	data, err = io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := parseAnswer(t, got.Header.Get, data)
	a.status = got.StatusCode
	return a
}
