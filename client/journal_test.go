package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/segment"
)

// primary is a fake one, which commits each sequence once.
type primary struct {
	mu      sync.Mutex
	answers map[uint64]api.Outcome
	usages  []string // sequences of the writes, in the order of the TxIDs
	decide  func(api.WriteMeta) api.Outcome
	groups  int
}

// commits lets the cluster have a primary p1.
func (c *cluster) commits() *primary {
	p := &primary{answers: make(map[uint64]api.Outcome)}
	c.mu.Lock()
	c.columns = cpuColumns
	c.topology = api.Topology{Version: 1, Nodes: []api.Node{{ID: "p1", Role: api.Primary, State: api.Live}}}
	c.mu.Unlock()
	c.handle("braid.primary.p1.write", func(r bus.Incoming) {
		answer := p.commit(c.t, r.Data())
		if err := r.Reply(api.AppendGroupAnswer(nil, &answer), nil); err != nil {
			c.t.Error(err)
		}
	})
	announcement, err := json.Marshal(c.topology)
	if err != nil {
		c.t.Fatal(err)
	}
	nc := natstest.Connect(c.t, c.server)
	if err := errors.Join(nc.Publish("braid.topology", announcement), nc.Flush()); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (p *primary) commit(t *testing.T, frame []byte) (answer api.GroupAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := segment.ParseGroup(frame)
	if err != nil {
		t.Error(err)
		return answer
	}
	schema, err := api.NewSchema(cpuColumns)
	if err != nil {
		t.Error(err)
	}
	if err := columnar.Validate(g.Arrow, schema, g.Header.Rows()); err != nil {
		t.Error(err)
	}
	p.groups++
	for _, w := range g.Header.Writes {
		o, known := p.answers[w.ID.Sequence]
		if !known {
			if p.decide != nil {
				o = p.decide(w)
			}
			if o.Verdict == 0 {
				p.usages = append(p.usages, fmt.Sprint(w.ID.Sequence))
				o = api.Outcome{Verdict: api.Accepted, TxID: uint64(len(p.usages))}
			}
			p.answers[w.ID.Sequence] = o
		}
		answer.Writes = append(answer.Writes, o)
	}
	return answer
}

func (p *primary) stored() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.usages)
}

func usageRow(n int) Payload { return LineProtocol(fmt.Appendf(nil, "cpu,host=a usage=%di", n)) }

// TestI3_WritesOutliveTheApplicationInItsDirectory: there is no primary, the application ends, and its next process
// delivers what the first has written, in order.
func TestI3_WritesOutliveTheApplicationInItsDirectory(t *testing.T) {
	c := startCluster(t)
	c.columns = cpuColumns
	dir := WithDirectory(filepath.Join(t.TempDir(), "outbox"))
	first := c.connect(dir)
	var futures []*Future
	for n := range 20 {
		futures = append(futures, first.Table("cpu").WriteAsync(t.Context(), usageRow(n)))
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := first.Table("cpu").Write(short, usageRow(20)); !errors.Is(err, ErrKept) && !errors.Is(err, ErrOverloaded) {
		t.Errorf("a write that waits for its answer: %v", err)
	}
	if _, err := c.connect(), first.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flushed without a cluster: %v", err)
	}
	id := first.Producer()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range futures {
		if _, err := f.Result(t.Context()); !errors.Is(err, ErrKept) || !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
	}
	p := c.commits()
	second := c.connect(dir)
	if err := second.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.stored(); len(got) < 20 || len(got) > 21 || !slices.IsSortedFunc(got, byNumber) {
		t.Errorf("stored %v", got)
	}
	if second.Producer() != id {
		t.Errorf("the producer was %s and is %s", id, second.Producer())
	}
	if r, err := second.Table("cpu").Write(t.Context(), usageRow(21)); err != nil || r.TxID != uint64(len(p.stored())) || r.Rows != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if p.groups > 15 {
		t.Errorf("%d groups for 22 writes: they were not sent together", p.groups)
	}
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x - y
}

// TestKeptRefusals: a Write gets its refusal itself; those of writes that nobody waits for are handed over with their
// rows, until the application has taken them, also by its next process.
func TestKeptRefusals(t *testing.T) {
	c := startCluster(t)
	p := c.commits()
	p.decide = func(w api.WriteMeta) (o api.Outcome) {
		if w.Locked {
			o = api.Outcome{Verdict: api.RefusedConflict, Expected: w.Expected, Current: 7}
		}
		return o
	}
	dir := WithDirectory(filepath.Join(t.TempDir(), "outbox"))
	back := make(chan Undelivered)
	client := c.connect(dir, WithUndelivered(func(ctx context.Context, u Undelivered) error {
		select {
		case back <- u:
		case <-ctx.Done():
		}
		return errors.New("not today")
	}))
	_, err := client.Table("cpu").Write(t.Context(), usageRow(1), ExpectTxID(3))
	if e := new(ConflictError); !errors.As(err, &e) || e.Expected != 3 || e.Current != 7 {
		t.Fatalf("a conflict: %v", err)
	}
	f := client.Table("cpu").WriteAsync(t.Context(), usageRow(2), ExpectTxID(4))
	if _, err := f.Result(t.Context()); !errors.Is(err, ErrConflict) {
		t.Fatalf("a conflict: %v", err)
	}
	check := func(u Undelivered) {
		t.Helper()
		e := new(ConflictError)
		if !errors.As(u.Err, &e) || e.Expected != 4 || e.Current != 7 || u.Table != "cpu" || *u.Expected != 4 ||
			string(u.Rows.Data) != string(usageRow(2).Data) || time.Since(u.Taken) > time.Hour {
			t.Errorf("given back: %+v", u)
		}
	}
	check(<-back)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	again := make(chan Undelivered, 9)
	client = c.connect(dir, WithUndelivered(func(_ context.Context, u Undelivered) error {
		again <- u
		return nil
	}))
	check(<-again)
	natstest.Eventually(t, "it has left the directory", func() bool { return client.journal.box.State().Refused == 0 })
	if len(again) > 0 {
		t.Errorf("given back again: %+v", <-again)
	}
	if _, err := client.Table("cpu").Write(t.Context(), LineProtocol([]byte("cpu usage=1i\ncpu usage="))); !errors.Is(err, ErrInvalid) {
		t.Errorf("bad rows are refused at once: %v", err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), LineProtocol([]byte("cpu usage=1.5"))); !errors.Is(err, ErrInvalid) {
		t.Errorf("another type than the column's: %v", err)
	}
}

// TestI3_ExpiredWritesAreReportedOnlyIfTheyMayHaveBeenSent: the registration is gone. What was sent without an answer
// is given back, and what was never sent is delivered.
func TestI3_ExpiredWritesAreReportedOnlyIfTheyMayHaveBeenSent(t *testing.T) {
	c := startCluster(t)
	c.forgets = true
	p := c.commits()
	p.decide = func(api.WriteMeta) api.Outcome { return api.Outcome{Verdict: 99} } // nobody knows
	dir := WithDirectory(filepath.Join(t.TempDir(), "outbox"))
	client := c.connect(dir, WithAttemptTimeout(50*time.Millisecond))
	sent := client.Table("cpu").WriteAsync(t.Context(), usageRow(1))
	natstest.Eventually(t, "it was sent", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.groups > 0 })
	client.Table("cpu").WriteAsync(t.Context(), usageRow(2))
	client.Table("cpu").WriteAsync(t.Context(), usageRow(3))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sent.Result(t.Context()); !errors.Is(err, ErrKept) {
		t.Errorf("the first: %v", err)
	}
	p.mu.Lock()
	p.decide = nil
	clear(p.answers)
	p.mu.Unlock()
	back := make(chan Undelivered, 9)
	client = c.connect(dir, WithUndelivered(func(_ context.Context, u Undelivered) error {
		back <- u
		return nil
	}))
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := <-back
	if !errors.Is(u.Err, ErrExpired) || !errors.Is(u.Err, ErrUnknownOutcome) || string(u.Rows.Data) != string(usageRow(1).Data) {
		t.Errorf("given back: %+v", u)
	}
	if got := p.stored(); len(got) != 2 || len(back) > 0 {
		t.Errorf("stored %v, and %d more given back", got, len(back))
	}
}

// TestDirectoryIsOfOneProcess: the second is refused at once, and one that another has fenced says so.
func TestDirectoryIsOfOneProcess(t *testing.T) {
	c := startCluster(t)
	p := c.commits()
	path := filepath.Join(t.TempDir(), "outbox")
	client := c.connect(WithDirectory(path), WithProducer("app-1"))
	_, err := Connect(t.Context(), "", WithInProcess(c.server), WithDirectory(path))
	if !errors.Is(err, ErrDirectoryInUse) || !errors.Is(err, ErrDirectory) {
		t.Fatalf("the second: %v", err)
	}
	p.decide = func(api.WriteMeta) api.Outcome { return api.Outcome{Verdict: api.RefusedFenced} }
	if _, err := client.Table("cpu").Write(t.Context(), usageRow(1)); !errors.Is(err, ErrFenced) || !errors.Is(err, ErrKept) {
		t.Fatalf("a write that another process's registration fences: %v", err)
	}
	if _, err := client.Table("cpu").Write(t.Context(), usageRow(2)); !errors.Is(err, ErrFenced) || errors.Is(err, ErrKept) {
		t.Fatalf("and the next: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Connect(t.Context(), "", WithInProcess(c.server), WithDirectory(path), WithProducer("app-2"))
	if !errors.Is(err, ErrDirectory) || !strings.Contains(err.Error(), "app-1") {
		t.Fatalf("as another producer: %v", err)
	}
}

// TestI7_AFullDirectoryMakesWritersWait, for want of room in it and on the disk; and a disk that fails says so.
func TestI7_AFullDirectoryMakesWritersWait(t *testing.T) {
	c := startCluster(t)
	c.columns = cpuColumns
	client := c.connect(WithDirectory(filepath.Join(t.TempDir(), "outbox")), WithDirectoryBytes(4000))
	full := func(client *Client) (written int) {
		t.Helper()
		for ; ; written++ {
			short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			f := client.Table("cpu").WriteAsync(short, usageRow(written))
			cancel()
			if f.isDone() {
				if _, err := f.Result(t.Context()); !errors.Is(err, ErrOverloaded) || errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("without room: %v", err)
				}
				return written
			}
		}
	}
	written := full(client)
	if written < 10 || written > 60 {
		t.Errorf("%d writes fit into 4,000 bytes", written)
	}
	p := c.commits()
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := client.Table("cpu").Write(t.Context(), usageRow(1)); err != nil || r.TxID != uint64(written+1) {
		t.Errorf("with room again: %+v, %v", r, err)
	}

	mem := disk.NewMemory()
	mem.SetCapacity(3000)
	onMemory := func(o *options) { o.directory, o.fs, o.directoryMax = "box", mem, 16_000 }
	p.mu.Lock()
	p.decide = func(api.WriteMeta) api.Outcome { return api.Outcome{Verdict: 99} }
	clear(p.answers)
	p.mu.Unlock()
	client = c.connect(onMemory, WithAttemptTimeout(50*time.Millisecond))
	if written = full(client); written < 5 {
		t.Errorf("%d writes fit onto the disk", written)
	}
	p.mu.Lock()
	p.decide = nil
	clear(p.answers)
	p.mu.Unlock()
	if err := client.Flush(t.Context()); err != nil { // the answers have room
		t.Fatal(err)
	}
	mem.Hook(func(op disk.Op) error {
		if op.Kind == disk.OpSync {
			return syscall.EIO
		}
		return nil
	})
	_, err := client.Table("cpu").Write(t.Context(), usageRow(1))
	if !errors.Is(err, ErrDirectory) || !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("on a disk that fails: %v", err)
	}
}

func TestKeptCompressedRowsGoThroughAGateway(t *testing.T) {
	c, in := gated(t)
	client := c.connect(WithDirectory(filepath.Join(t.TempDir(), "outbox")))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(usageRow(1).Data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f := client.Table("cpu").WriteAsync(t.Context(), Payload{Type: TypeLineProtocol, Encoding: "gzip", Data: packed.Bytes()})
	r := <-in
	if h := r.Header(); h.Get(api.HeaderContentEncoding) != "gzip" || h.Get(api.HeaderSequence) != fmt.Sprint(1<<32+1) ||
		h.Get(api.HeaderSettled) != fmt.Sprint(1<<32) || h.Get(api.HeaderProducer) != client.Producer() {
		t.Errorf("headers %v", h)
	}
	c.accept(r, "cpu", 5)
	if r, err := f.Result(t.Context()); err != nil || r != (Result{"cpu", 5, 1}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestConnectWithADirectoryNeedsNoCluster: not even NATS is there when the application starts.
func TestConnectWithADirectoryNeedsNoCluster(t *testing.T) {
	gone := natstest.Server(t)
	port := gone.Addr().String()
	gone.Shutdown()
	gone.WaitForShutdown()
	client, err := Connect(t.Context(), "nats://"+port, WithDirectory(filepath.Join(t.TempDir(), "outbox")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	f := client.Table("cpu").WriteAsync(t.Context(), usageRow(1))
	if f.isDone() {
		_, err := f.Result(t.Context())
		t.Fatal(err)
	}
	c := startClusterOn(t, natstest.Server(t, func(o *server.Options) {
		if _, err := fmt.Sscanf(port[strings.LastIndex(port, ":")+1:], "%d", &o.Port); err != nil {
			t.Fatal(err)
		}
	}))
	p := c.commits()
	if r, err := f.Result(t.Context()); err != nil || r.TxID != 1 || len(p.stored()) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestMetricsOfADirectory: they say what waits and for how long, and count what an earlier process has written.
func TestMetricsOfADirectory(t *testing.T) {
	c := startCluster(t)
	c.columns = cpuColumns
	dir := WithDirectory(filepath.Join(t.TempDir(), "outbox"))
	first := c.connect(dir)
	for n := range 3 {
		first.Table("cpu").WriteAsync(t.Context(), usageRow(n))
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	second := c.connect(dir, WithMetrics(registry), WithUndelivered(func(context.Context, Undelivered) error {
		return errors.New("not today")
	}))
	values := func() map[string]float64 {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]float64)
		for _, f := range all {
			for _, m := range f.Metric {
				name := strings.TrimPrefix(f.GetName(), "braid_client_")
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				found[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return found
	}
	v := values()
	if v["directory_writes"] != 3 || v["directory_waiting_bytes"] < 60 || v["directory_bytes"] <= v["directory_waiting_bytes"] ||
		v["directory_limit_bytes"] < v["directory_bytes"] || v["directory_oldest_seconds"] <= 0 {
		t.Errorf("without a cluster: %v", v)
	}
	p := c.commits()
	p.mu.Lock()
	p.decide = func(w api.WriteMeta) (o api.Outcome) {
		if w.Locked {
			o = api.Outcome{Verdict: api.RefusedConflict, Expected: w.Expected, Current: 7}
		}
		return o
	}
	p.mu.Unlock()
	second.Table("cpu").WriteAsync(t.Context(), usageRow(4), ExpectTxID(9))
	if err := second.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Table("cpu").WriteAsync(t.Context(), LineProtocol([]byte("cpu usage="))) // is not taken at all
	natstest.Eventually(t, "they are counted", func() bool {
		v = values()
		return v["writes_total stored"] == 3 && v["rows_total"] == 3 && v["writes_total conflict"] == 1 &&
			v["writes_total invalid"] == 1
	})
	if v["directory_writes"] != 0 || v["directory_refused_writes"] != 1 || v["directory_oldest_seconds"] != 0 {
		t.Errorf("in the end: %v", v)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("%d metrics are left over, %v", n, err)
	}
}
