package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/segment"
)

var cpuColumns = []api.Column{
	{Name: "timestamp", Type: api.Timestamp}, {Name: "host", Type: api.Tag}, {Name: "usage", Type: api.Int64},
}

func TestI3_DirectWritesAreOneFrameUnderOneIdentity(t *testing.T) {
	c := startCluster(t)
	c.columns = cpuColumns
	c.topology = api.Topology{Version: 1, Nodes: []api.Node{{ID: "p1", Role: api.Primary, State: api.Live}}}
	var mu sync.Mutex
	var seen [][]byte
	c.handle("braid.primary.p1.write", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, bytes.Clone(r.Data()))
		if r.Header().Get(api.HeaderSender) == "" {
			t.Error("no sender")
		}
		answer := api.GroupAnswer{Writes: []api.Outcome{{Verdict: api.Accepted, TxID: 4}}}
		if len(seen) == 1 {
			answer = api.GroupAnswer{Err: api.Errorf(api.Unavailable, "sequencer away")}
		}
		if err := r.Reply(api.AppendGroupAnswer(nil, &answer), nil); err != nil {
			t.Error(err)
		}
	})
	client := c.connect()
	rows := LineProtocol([]byte("cpu,host=a usage=1i 1\ncpu,host=b usage=2i 2\n"))
	prepared, err := client.Table("cpu").Prepare(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Table("cpu").Write(t.Context(), prepared, Via(Direct), ExpectTxID(3))
	if err != nil || answer != (Result{"cpu", 4, 2}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || !bytes.Equal(seen[0], seen[1]) {
		t.Fatalf("%d attempts, or they differ", len(seen))
	}
	g, err := segment.ParseGroup(seen[0])
	if err != nil {
		t.Fatal(err)
	}
	w := g.Header.Writes[0]
	if !g.Header.ID.None() || w.ID.Sequence != 1 || w.ID.Epoch != 1 || !w.Locked || w.Expected != 3 || w.Rows != 2 {
		t.Fatalf("header %+v", g.Header)
	}
	schema, err := api.NewSchema(cpuColumns)
	if err != nil {
		t.Fatal(err)
	}
	if err := columnar.Validate(g.Arrow, schema, 2); err != nil {
		t.Fatal(err)
	}
}

// TestPrepareOutlastsAnAttempt: a schema that is not read within an attempt is asked for again, for as long as the
// caller waits.
func TestPrepareOutlastsAnAttempt(t *testing.T) {
	c := startCluster(t)
	c.columns = []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}, {Name: "v", Type: api.Int64}}
	c.mu.Lock() // nobody answers about schemas
	answer := sync.OnceFunc(c.mu.Unlock)
	client := c.connect(WithAttemptTimeout(20*time.Millisecond), WithRetryHook(func(error) { answer() }))
	if _, err := client.Table("cpu").Prepare(t.Context(), LineProtocol([]byte("cpu v=1i 1"))); err != nil {
		t.Fatal(err)
	}
}

func TestPrepareRefusesWhatAGatewayWould(t *testing.T) {
	c := startCluster(t)
	c.columns = cpuColumns
	client := c.connect()
	for _, rows := range []string{"", "cpu usage=1i\ncpu usage=", "mem usage=1i", "cpu usage=1.5"} {
		_, err := client.Table("cpu").Prepare(t.Context(), LineProtocol([]byte(rows)))
		if e := new(InvalidError); !errors.As(err, &e) || e.Table != "cpu" {
			t.Errorf("%q: error is %v", rows, err)
		}
	}
}

func TestReadsComeFromANodeThatAnswers(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.EscapedPath() {
		case "/tables":
			fmt.Fprint(w, `{"tables":[{"name":"cpu","applied":9,"rows":90,"digest":"ab"}]}`)
		case "/tables/a%25b":
			w.Header().Set(api.HeaderTxID, "9")
			fmt.Fprint(w, r.URL.Query().Encode())
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"code":404,"name":"not_found","message":"no such table"}`)
		}
	}))
	defer node.Close()
	c := startCluster(t)
	address := strings.TrimPrefix(node.URL, "http://")
	c.topology = api.Topology{Version: 1, Nodes: []api.Node{
		{ID: "p1", State: api.Live, HTTP: "127.0.0.1:1"}, {ID: "p2", State: api.Dead, HTTP: address},
		{ID: "r1", State: api.Live, HTTP: address},
	}}
	client := c.connect()
	rows, err := client.Rows(t.Context(), "a%b", ReadOptions{From: 2, To: 5, Format: FormatCSV, TxID: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	text, err := io.ReadAll(rows)
	if err != nil || rows.TxID != 9 || string(text) != "format=csv&from_txid=2&to_txid=5&txid=1" {
		t.Fatalf("%s, TxID %d, %v", text, rows.TxID, err)
	}
	if _, err := client.Rows(t.Context(), "x", ReadOptions{Node: "r1"}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("error is %v", err)
	}
	if _, err := client.NodeTables(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("error is %v", err)
	}
	tables, err := client.NodeTables(t.Context(), "r1")
	if err != nil || len(tables) != 1 || tables[0] != (NodeTable{Name: "cpu", Applied: 9, Rows: 90, Digest: "ab"}) {
		t.Fatalf("%v, %v", tables, err)
	}
}

func TestTablesAndDigest(t *testing.T) {
	c := startCluster(t)
	c.handle("braid.sequencer.tables", func(r bus.Incoming) {
		c.reply(r, api.TablesAnswer{Tables: []api.TableHead{{Name: "cpu", Head: 3, Columns: 21}}})
	})
	applied := uint64(0)
	c.handle("braid.node.r1.digest", func(r bus.Incoming) {
		applied++ // only the endpoint's goroutine
		c.reply(r, api.DigestAnswer{Table: "cpu", Applied: applied, TxID: applied, Digest: "ab"})
	})
	client := c.connect()
	heads, err := client.Heads(t.Context())
	if err != nil || len(heads) != 1 || heads["cpu"] != 3 {
		t.Fatalf("%v, %v", heads, err)
	}
	d, err := client.Digest(t.Context(), "r1", "cpu", 1)
	if err != nil || d != (Digest{1, 1, "ab"}) {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := client.Wait(t.Context(), "r1", "cpu", 4); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkFrame(b *testing.B) {
	p := &Prepared{table: "cpu", rows: 10_000, arrow: make([]byte, 450_000)}
	p.fingerprint[3] = 21
	h := p.header(&writeOptions{})
	h.Writes[0].ID = api.ProducerSeq{Producer: "c-1", Epoch: 1, Sequence: 2, Settled: 1}
	var buf []byte
	start := time.Now()
	for b.Loop() {
		buf = segment.AppendGroup(buf[:0], &h, p.arrow)
	}
	b.ReportMetric(float64(b.N)*float64(p.rows)/time.Since(start).Seconds(), "rows/s")
}
