package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/segment"
)

// TestI5_Conflict: the refusal carries expected and current head, and the repeat of a key carries
// those of the first.
func TestI5_Conflict(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	lock := func(e, key string) nats.Header {
		h := nats.Header{"Braid-Expected-TxID": {e}}
		if key != "" {
			h["Nats-Msg-Id"] = []string{key}
		}
		return h
	}
	for i := range 3 {
		if id := r.accepted("ingest.cpu", lock(fmt.Sprint(i), ""), row); id != uint64(i)+1 {
			t.Fatalf("TxID %d", id)
		}
	}
	check := func(e *api.Error, current uint64) {
		t.Helper()
		if e.Name != api.Conflict || e.Code != 409 || *e.Expected != 1 || *e.Current != current || e.Table != "cpu" {
			t.Fatalf("told %+v", e)
		}
	}
	check(r.refused("ingest.cpu", lock("1", "k"), row), 3)
	r.accepted("ingest.cpu", nil, row)
	check(r.refused("ingest.cpu", lock("1", ""), row), 4)
	check(r.refused("ingest.cpu", lock("1", "k"), row), 3)
}

// TestI3_KeysAndProducers: repeats in other groups get the first answer.
func TestI3_KeysAndProducers(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{})
	for range 3 {
		if id := r.accepted("ingest.cpu", nats.Header{"Nats-Msg-Id": {"k"}}, row); id != 1 {
			t.Fatalf("key: TxID %d", id)
		}
		if id := r.accepted("ingest.cpu", producer("sdk", "5", "1", "0"), row); id != 2 {
			t.Fatalf("producer: TxID %d", id)
		}
	}
	if id := r.accepted("ingest.mem", nats.Header{"Nats-Msg-Id": {"k"}}, "mem x=1i 1\n"); id != 1 {
		t.Fatalf("a key of another table: TxID %d", id)
	}
	// A 400 is not remembered: the corrected write may use the key.
	r.refused("ingest.cpu", nats.Header{"Nats-Msg-Id": {"k2"}}, "cpu usage=")
	if id := r.accepted("ingest.cpu", nats.Header{"Nats-Msg-Id": {"k2"}}, row); id != 3 {
		t.Fatalf("the corrected write: TxID %d", id)
	}
}

// TestI8_ManyTables: on `ingest` each table is a write of its own.
func TestI8_ManyTables(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	r.accepted("ingest.b", nil, "b x=1i 1\n")
	msg := r.request("ingest", nil, []byte("a x=1i 1\nb x=2i 1\nc x=1i 1\nb x=2.5 2\na x=2i 2\n"))
	if got := msg.Header.Get(api.HeaderErrorCode); got != "400" {
		t.Errorf("code %q", got)
	}
	if got := msg.Header.Get(api.HeaderTxID); got != "" {
		t.Errorf("TxID %q in an answer about three tables", got)
	}
	var a api.WriteAnswer
	if err := json.Unmarshal(msg.Data, &a); err != nil || len(a.Results) != 3 {
		t.Fatalf("answer %s: %v", msg.Data, err)
	}
	if r := a.Results[0]; r.Table != "a" || r.TxID != 1 || r.Rows != 2 || r.Error != nil {
		t.Errorf("a: %+v", r)
	}
	if r := a.Results[1]; r.Table != "b" || r.TxID != 0 || r.Error == nil || r.Error.Line == 0 || r.Error.Code != 400 {
		t.Errorf("b: %+v", r)
	}
	if r := a.Results[2]; r.Table != "c" || r.TxID != 1 || r.Rows != 1 {
		t.Errorf("c: %+v", r)
	}
	if n := len(c.writes("b")); n != 1 {
		t.Errorf("b has %d writes", n)
	}
	msg = r.request("ingest", nil, []byte("a x=1i 1\nc x=1i 1\n"))
	if want := `{"results":[{"table":"a","txid":2,"rows":1},{"table":"c","txid":2,"rows":1}]}`; string(msg.Data) != want {
		t.Errorf("answer %s", msg.Data)
	}
}

// TestI8_BadTypeLeavesNothing: a refused write adds no row, no TxID, no column and no table.
func TestI8_BadTypeLeavesNothing(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	r.accepted("ingest.cpu", nil, row)
	before := len(c.columns("cpu"))
	for _, bad := range []string{
		"cpu,host=a usage=1.5,fresh=1i 1\n",
		"cpu,usage=a fresh=1i 1\n",
		"cpu host=\"a\",fresh=1i 1\n",
		"cpu,host=a usage=1i,fresh=1i 1\ncpu usage=\n",
	} {
		e := r.refused("ingest.cpu", nil, bad)
		if e.Name != api.Invalid || e.Line == 0 || e.Table != "cpu" {
			t.Errorf("%q is told %+v", bad, e)
		}
	}
	if e := r.refused("ingest.new", nil, "new x=1i\nnew x=\n"); e.Line != 2 {
		t.Errorf("told %+v", e)
	}
	if n := len(c.columns("cpu")); n != before {
		t.Errorf("%d columns, %d before", n, before)
	}
	if len(c.writes("cpu")) != 1 || len(c.tableNames()) != 1 {
		t.Errorf("%d writes, tables %v", len(c.writes("cpu")), c.tableNames())
	}
}

// TestGrowingSchemas: two gateways grow one table at once, each with a memory of its own.
func TestGrowingSchemas(t *testing.T) {
	c := newCluster(t, "p1")
	a, b := c.start(gateway.Config{ID: "a"}), c.start(gateway.Config{ID: "b"})
	clients := []*running{a, b}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			clients[i%2].accepted("ingest.cpu", nil, fmt.Sprintf("cpu,t%d=x f%d=1i,usage=1i %d\n", i%7, i, i))
		})
	}
	all.Wait()
	if n := len(c.columns("cpu")); n != 1+7+40+1 {
		t.Fatalf("%d columns", n)
	}
	// A column that the other one gave another type meanwhile.
	a.accepted("ingest.cpu", nil, "cpu late=1i 1\n")
	if e := b.refused("ingest.cpu", nil, "cpu ok=1i 1\ncpu late=1.5 1\n"); e.Name != api.Invalid || e.Line != 2 {
		t.Fatalf("told %+v", e)
	}
	// Whole numbers of NDJSON become what the column is.
	a.accepted("ingest.cpu", nil, "cpu temperature=1.5 1\n")
	b.accepted("ingest.cpu", nats.Header{"Content-Type": {"application/x-ndjson"}}, `{"temperature":2,"timestamp":7}`)
	writes := c.writes("cpu")
	last := writes[len(writes)-1]
	if !strings.Contains(last, `"temperature":2`) || !strings.Contains(last, `"timestamp":7`) {
		t.Fatalf("stored %s", last)
	}
}

// TestSequencerAway: a table whose schema is remembered needs no sequencer; another one is 503
// after its time, and holds up nobody.
func TestSequencerAway(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{RequestTimeout: 300 * time.Millisecond, Workers: 1})
	r.accepted("ingest.cpu", nil, row)
	c.mu.Lock()
	c.schemaErr = bus.ErrNoResponders
	c.mu.Unlock()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if e := r.refused("ingest.mem", nil, "mem x=1i 1\n"); e.Name != api.Unavailable {
				t.Errorf("told %v", e)
			}
		})
	}
	r.accepted("ingest.cpu", nil, row)
	all.Wait()
}

// TestI7_HeldRequestsAreBounded: what the gateway cannot hold is answered 429 at once, and comes in
// again later.
func TestI7_HeldRequestsAreBounded(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{HeldRequestsMax: 3, MergeInterval: -1})
	arrived, release := make(chan struct{}, 3), make(chan struct{})
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		arrived <- struct{}{}
		<-release
		return c.decide(g), true
	})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { r.accepted("ingest.cpu", nil, row) })
	}
	<-arrived // the others wait behind it, since the fake answers one after the other
	natstest.Eventually(t, "three are held", func() bool { return r.gauge("braid_gateway_held_requests") == 3 })
	natstest.Eventually(t, "a request is refused", func() bool {
		msg, err := r.client.Request("test.ingest.cpu", []byte(row), 20*time.Millisecond)
		if err != nil {
			return false
		}
		e := bus.ReplyError(msg)
		return e != nil && e.Name == api.Overloaded && e.RetryAfterMS > 0
	})
	close(release)
	all.Wait()
	r.accepted("ingest.cpu", nil, row)
}

// TestPublishWithoutReply: nobody is answered; a good one is stored, a bad one is counted.
func TestPublishWithoutReply(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	for _, data := range []string{"cpu usage=", row} {
		if err := r.client.Publish("test.ingest.cpu", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "the write is stored", func() bool { return len(c.writes("cpu")) == 1 })
	natstest.Eventually(t, "the error is counted", func() bool {
		return maps.Equal(r.counts("braid_gateway_publish_errors_total"), map[string]float64{"400": 1})
	})
}

// TestI8_MergingKeepsWritesApart: writers of all kinds at once, merged into groups. Each is
// answered once, with its own outcome; whoever is accepted finds its own rows, in order, at the
// TxID that it was told; TxIDs are dense; bad ones harm nobody.
func TestI8_MergingKeepsWritesApart(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{MergeInterval: 5 * time.Millisecond})
	const writers, each = 16, 25
	var mu sync.Mutex
	accepted := map[uint64]string{}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for i := range each {
				rows := ""
				for j := range 1 + rng.IntN(3) {
					rows += fmt.Sprintf("cpu,w=w%d i=%di,j=%di %d\n", w, i, j, 1000*i+j)
				}
				header, bad := nats.Header{}, false
				switch rng.IntN(5) {
				case 0:
					header["Braid-Expected-TxID"] = []string{fmt.Sprint(rng.IntN(200))}
				case 1:
					header["Nats-Msg-Id"] = []string{fmt.Sprintf("key %d %d", w, i)}
				case 2:
					rows, bad = rows+"cpu i=\"text\" 1\n", true
				case 3:
					rows += fmt.Sprintf("cpu extra%d=1i %d\n", rng.IntN(5), i)
				}
				msg := r.request("ingest.cpu", header, []byte(rows))
				e := bus.ReplyError(msg)
				switch {
				case bad:
					if e == nil || e.Name != api.Invalid || e.Line != strings.Count(rows, "\n") {
						t.Errorf("a bad write was told %v", e)
					}
				case e != nil:
					if e.Name != api.Conflict || header.Get("Braid-Expected-TxID") == "" {
						t.Errorf("a good write was told %v", e)
					}
				default:
					var a api.WriteAnswer
					if err := json.Unmarshal(msg.Data, &a); err != nil {
						t.Error(err)
						continue
					}
					mu.Lock()
					if other, twice := accepted[a.Results[0].TxID]; twice {
						t.Errorf("TxID %d for %q and %q", a.Results[0].TxID, other, rows)
					}
					accepted[a.Results[0].TxID] = rows
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	writes := c.writes("cpu")
	if len(writes) != len(accepted) {
		t.Fatalf("%d writes are stored, %d were accepted", len(writes), len(accepted))
	}
	for i, stored := range writes {
		compareRows(t, accepted[uint64(i)+1], stored)
	}
	merged := 0
	for i := range c.groups {
		if len(c.groups[i].Writes) > 1 {
			merged++
		}
	}
	if merged == 0 {
		t.Error("no writes were merged")
	}
}

// TestI8_MergedGroupTooLargeIsSplit: writes whose columns have nothing in common make a group of
// nulls. Each is fine by itself, so all are accepted, in several groups.
func TestI8_MergedGroupTooLargeIsSplit(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{MergeInterval: 10 * time.Second})
	const writes, columns, rows = 60, 30, 80 // 4,800 rows of 1,800 columns are 69 MB
	data := make([]string, writes)
	for i := range data {
		var b strings.Builder
		for row := range rows {
			b.WriteString("wide ")
			for column := range columns {
				fmt.Fprintf(&b, "c%d_%d=%di,", i, column, row)
			}
			fmt.Fprintf(&b, "write=%di %d\n", i, row)
		}
		data[i] = b.String()
		// The table has its columns before the writes come together.
		r.accepted("ingest.wide", nil, data[i])
	}
	first := len(c.groups)
	arrived, release := make(chan struct{}, writes), make(chan struct{})
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		arrived <- struct{}{}
		<-release
		return c.decide(g), true
	})
	var all sync.WaitGroup
	all.Go(func() { r.accepted("ingest.wide", nil, "wide write=1i\n") })
	<-arrived // what follows gathers behind it
	for i := range data {
		all.Go(func() { r.accepted("ingest.wide", nil, data[i]) })
	}
	natstest.Eventually(t, "all writes wait", func() bool { return r.gauge("braid_gateway_held_requests") == writes+1 })
	close(release)
	all.Wait()
	if n := len(c.writes("wide")); n != 2*writes+1 {
		t.Fatalf("%d writes are stored", n)
	}
	if n := len(c.groups) - first; n < 3 || n > writes/2 {
		t.Fatalf("they came in %d groups", n)
	}
}

// compareRows compares line protocol of the test above with the NDJSON that was stored.
func compareRows(t *testing.T, sent, stored string) {
	t.Helper()
	lines, rows := strings.Split(strings.TrimSpace(sent), "\n"), strings.Split(strings.TrimSpace(stored), "\n")
	if len(lines) != len(rows) {
		t.Errorf("sent %q, stored %q", sent, stored)
		return
	}
	for i := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(rows[i]), &got); err != nil {
			t.Errorf("%q: %v", rows[i], err)
			continue
		}
		measurement, rest, _ := strings.Cut(lines[i], " ")
		fields, timestamp, _ := strings.Cut(rest, " ")
		want := map[string]string{"timestamp": timestamp}
		if _, tag, ok := strings.Cut(measurement, ",w="); ok {
			want["w"] = tag
		}
		for f := range strings.SplitSeq(fields, ",") {
			name, value, _ := strings.Cut(f, "=")
			want[name] = strings.TrimSuffix(value, "i")
		}
		if len(want) != len(got) {
			t.Errorf("sent %q, stored %q", lines[i], rows[i])
			continue
		}
		for name, value := range want {
			if fmt.Sprint(got[name]) != value {
				t.Errorf("%s of %q is %v in %q", name, lines[i], got[name], rows[i])
			}
		}
	}
}
