package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// startService runs an instance until stop is called, or the test ends. stop returns what Run returned.
func startService(t testing.TB, nc *nats.Conn, cfg Config, store kv.Store) (stop func() error) {
	t.Helper()
	s, err := New(cfg, Deps{Conn: nc, Store: store, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"id": cfg.ID}, prometheus.NewRegistry())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, kv.ErrFailed) && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("the service ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the service is not ready")
	}
	return stop
}

type cluster struct {
	t     testing.TB
	nc    *nats.Conn
	seq   *bus.Sequencer
	epoch uint64 // of node p1
	stops []func() error
}

func startCluster(t testing.TB, store kv.Store, instances int) *cluster {
	t.Helper()
	server := natstest.Server(t)
	nc := natstest.Connect(t, server)
	c := &cluster{t: t, nc: nc, seq: bus.NewSequencer(nc, api.Subjects{})}
	for i := range instances {
		cfg := Config{ID: fmt.Sprintf("s%d", i), TickInterval: 20 * time.Millisecond,
			LeaseTTL: 200 * time.Millisecond, Patience: 500 * time.Millisecond}
		c.stops = append(c.stops, startService(t, natstest.Connect(t, server), cfg, store))
	}
	a, err := c.seq.RegisterNode(c.ctx(), api.RegisterNodeRequest{ID: "p1", Role: api.Primary, Mark: "m", Attempt: "1"})
	if err != nil {
		t.Fatal(err)
	}
	c.epoch = a.Epoch
	return c
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

// grow gives a table one column and returns its fingerprint.
func (c *cluster) grow(table string) api.Fingerprint {
	c.t.Helper()
	a, err := c.seq.Schema(c.ctx(), api.SchemaRequest{Table: table, Columns: []api.Column{{Name: "v", Type: api.Int64}}})
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := api.NewSchema(a.Columns)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Fingerprint(s.Len())
}

func keyed(table string, f api.Fingerprint, key string) api.CommitGroup {
	return group(api.GroupHeader{Table: table, Fingerprint: f, Writes: []api.WriteMeta{{Rows: 1, Key: key}}}, 1)
}

// TestI1I3_ManyRequestsThroughTwoInstances: requests from many primaries at once, each sent twice, with a store whose
// results are unknown now and then: every write gets one TxID, and together they are dense.
func TestI1I3_ManyRequestsThroughTwoInstances(t *testing.T) {
	const senders, rounds = 8, 20
	store := memory.New(memory.Options{Inject: func(n uint64) memory.Fault {
		switch n % 11 {
		case 3:
			return memory.Fault{Unknown: memory.UnknownDone}
		case 7:
			return memory.Fault{Unknown: memory.UnknownNotDone}
		case 9:
			return memory.Fault{Conflict: true}
		}
		return memory.Fault{}
	}})
	c := startCluster(t, store, 2)
	f := c.grow("cpu")
	var mu sync.Mutex
	got := map[uint64]string{}
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for round := range rounds {
				key := fmt.Sprintf("%d-%d", sender, round)
				r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{keyed("cpu", f, key)}}
				first := uint64(0)
				for range 2 {
					answers, err := c.seq.Commit(c.ctx(), 0, &r)
					if err != nil || answers[0].Err != nil || answers[0].Writes[0].Verdict != api.Accepted {
						t.Errorf("commit %s: %v %v", key, answers, err)
						return
					}
					txid := answers[0].Writes[0].TxID
					if first != 0 && txid != first {
						t.Errorf("write %s has TxIDs %d and %d", key, first, txid)
					}
					first = txid
				}
				mu.Lock()
				if other, taken := got[first]; taken {
					t.Errorf("TxID %d belongs to %s and %s", first, other, key)
				}
				got[first] = key
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for txid := uint64(1); txid <= senders*rounds; txid++ {
		if got[txid] == "" {
			t.Errorf("TxID %d is missing", txid)
		}
	}
	log, err := c.seq.Log(c.ctx(), 0, api.LogRequest{From: 1})
	if err != nil || log.Head != senders*rounds || len(log.Records) != senders*rounds {
		t.Errorf("log: head %d, %d records, %v", log.Head, len(log.Records), err)
	}
	tables, err := c.seq.Tables(c.ctx(), api.TablesRequest{})
	if err != nil || len(tables.Tables) != 1 || tables.Tables[0].Head != senders*rounds || tables.Tables[0].Columns != 2 {
		t.Errorf("tables: %+v, %v", tables, err)
	}
}

// TestI6_FencedRequest: the answer to a fenced primary is distinguishable, and for the whole request.
func TestI6_FencedRequest(t *testing.T) {
	c := startCluster(t, memory.New(memory.Options{}), 1)
	f := c.grow("cpu")
	old := c.epoch
	a, err := c.seq.RegisterNode(c.ctx(), api.RegisterNodeRequest{ID: "p1", Role: api.Primary, Mark: "m", Attempt: "2"})
	if err != nil || a.Epoch <= old {
		t.Fatalf("epoch %d after %d, %v", a.Epoch, old, err)
	}
	r := api.CommitRequest{Node: "p1", Epoch: old, Groups: []api.CommitGroup{keyed("cpu", f, "k")}}
	if _, err := c.seq.Commit(c.ctx(), 0, &r); !api.IsName(err, api.Fenced) {
		t.Errorf("a fenced epoch's commit: %v", err)
	}
	_, err = c.seq.SetNodeState(c.ctx(), api.NodeStateRequest{ID: "p1", Epoch: old, State: api.Live})
	if !api.IsName(err, api.Fenced) {
		t.Errorf("a fenced epoch's state: %v", err)
	}
	state, err := c.seq.SegmentState(c.ctx(), api.SegmentID{Node: "p1", Epoch: old, Sequence: 1})
	if err != nil || !state.Fenced || len(state.Unconfirmed) != 0 {
		t.Errorf("segment: %+v, %v", state, err)
	}
}

func TestHintsTopologyAndSignsOfLife(t *testing.T) {
	c := startCluster(t, memory.New(memory.Options{}), 1)
	f := c.grow("cpu")
	var subjects api.Subjects
	subs := map[string]*nats.Subscription{}
	for _, subject := range []string{subjects.Commits(0), subjects.Topology(), subjects.SequencerAlive("s0")} {
		sub, err := c.nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		subs[subject] = sub
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{keyed("cpu", f, "k")}}
	if _, err := c.seq.Commit(c.ctx(), 0, &r); err != nil {
		t.Fatal(err)
	}
	a, err := c.seq.SetNodeState(c.ctx(), api.NodeStateRequest{ID: "p1", Epoch: c.epoch, State: api.Live})
	if err != nil {
		t.Fatal(err)
	}
	for subject, sub := range subs {
		msg, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		if subject == subjects.Commits(0) && string(msg.Data) != "1" {
			t.Errorf("hint %q, want the head 1", msg.Data)
		}
	}
	topology, err := c.seq.Topology(c.ctx())
	if err != nil || topology.Version != a.Topology.Version ||
		topology.Nodes[0].State != api.Live || topology.Cluster == "" {
		t.Errorf("topology %+v, %v", topology, err)
	}
}

// TestRefusals: what is wrong with a request is told to whoever sent it.
func TestRefusals(t *testing.T) {
	c := startCluster(t, memory.New(memory.Options{}), 1)
	f := c.grow("cpu")
	msg := func(subject, data string) error {
		_, err := bus.Request(c.ctx(), c.nc, subject, nil, []byte(data))
		return err
	}
	var subjects api.Subjects
	_, unregistered := c.seq.SetNodeState(c.ctx(), api.NodeStateRequest{ID: "p9", Epoch: 1, State: api.Live})
	_, badColumn := c.seq.Schema(c.ctx(),
		api.SchemaRequest{Table: "cpu", Columns: []api.Column{{Name: "v", Type: api.Tag}}})
	object := keyed("cpu", f, "k")
	object.State, object.Holders = api.Pending, []string{"p1"}
	_, notUploaded := c.seq.Commit(c.ctx(), 0,
		&api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{object}})
	tests := []struct {
		what string
		err  error
		want api.Name
	}{
		{"not a commit request", msg(subjects.Commit(0), "x"), api.Invalid},
		{"not JSON", msg(subjects.Log(0), "{"), api.Invalid},
		{"log from 0", msg(subjects.Log(0), `{"from":0}`), api.Invalid},
		{"unregistered node", unregistered, api.NotFound},
		{"column of another type", badColumn, api.Invalid},
		{"object group that is pending", notUploaded, api.Invalid},
		{"renewal of nobody", c.seq.RenewProducer(c.ctx(), api.RenewProducerRequest{ID: "x", Epoch: 1}), api.Expired},
	}
	for _, test := range tests {
		if !api.IsName(test.err, test.want) {
			t.Errorf("%s: %v, want %s", test.what, test.err, test.want)
		}
	}
}

// TestOneTickHolder: of two instances one bumps the ticks, so that they pass at their pace; when it stops, the other
// goes on.
func TestOneTickHolder(t *testing.T) {
	store := memory.New(memory.Options{})
	c := startCluster(t, store, 2)
	holder := func() (l api.Lease, ticks uint64) {
		err := store.View(context.Background(), func(r kv.Reader) (err error) {
			if l, err = getLease(r, api.TicksLease); err == nil {
				ticks, err = Ticks(r)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if l.Counter != ticks {
			t.Errorf("%d ticks, %d bumps of the lease", ticks, l.Counter)
		}
		return l, ticks
	}
	natstest.Eventually(t, "five ticks", func() bool { _, ticks := holder(); return ticks >= 5 })
	first, _ := holder()
	if err := c.stops[first.Holder[1]-'0'](); err != nil {
		t.Fatal(err)
	}
	_, before := holder()
	natstest.Eventually(t, "ticks of the other instance", func() bool {
		l, ticks := holder()
		return l.Holder != first.Holder && ticks > before+3
	})
}

// brokenStore answers as it is told to.
type brokenStore struct {
	kv.Store
	mu  sync.Mutex
	err error
}

func (b *brokenStore) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *brokenStore) Update(ctx context.Context, f func(kv.Txn) error) error {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.Store.Update(ctx, f)
}

// TestStoreAway: while the store is away requests are tried again for as long as they have patience, then answered
// 503; when it is back, so are the answers.
func TestStoreAway(t *testing.T) {
	store := &brokenStore{Store: memory.New(memory.Options{})}
	c := startCluster(t, store, 1)
	f := c.grow("cpu")
	r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{keyed("cpu", f, "k")}}
	for _, away := range []error{kv.ErrUnknown, kv.ErrUnavailable} {
		store.fail(away)
		if _, err := c.seq.Commit(c.ctx(), 0, &r); !api.IsName(err, api.Unavailable) {
			t.Errorf("commit: %v", err)
		}
		q := api.RegisterProducerRequest{ID: "g1", Attempt: "1"}
		if _, err := c.seq.RegisterProducer(c.ctx(), q); !api.IsName(err, api.Unavailable) {
			t.Errorf("registration: %v", err)
		}
	}
	back := time.AfterFunc(50*time.Millisecond, func() { store.fail(nil) })
	defer back.Stop()
	answers, err := c.seq.Commit(c.ctx(), 0, &r)
	if err != nil || answers[0].Writes[0].TxID != 1 {
		t.Errorf("the store is back: %+v, %v", answers, err)
	}
}

// TestFailedStoreEndsRun: a disk that refuses a write ends the process.
func TestFailedStoreEndsRun(t *testing.T) {
	store := &brokenStore{Store: memory.New(memory.Options{})}
	server := natstest.Server(t)
	stop := startService(t, natstest.Connect(t, server), Config{ID: "s0", TickInterval: 10 * time.Millisecond}, store)
	nc := natstest.Connect(t, server)
	store.fail(fmt.Errorf("%w: %w", kv.ErrUnknown, kv.ErrFailed))
	natstest.Eventually(t, "no responders", func() bool {
		_, err := bus.Request(context.Background(), nc, api.Subjects{}.TopologyGet(), nil, nil)
		return errors.Is(err, bus.ErrNoResponders)
	})
	if err := stop(); !errors.Is(err, kv.ErrFailed) {
		t.Errorf("Run returned %v", err)
	}
}

// TestI8_ADamagedRecordHarmsNoOther: requests that share a transaction with one whose table is damaged in the store
// get their answers.
func TestI8_ADamagedRecordHarmsNoOther(t *testing.T) {
	slow := func(uint64) memory.Fault { return memory.Fault{Delay: 5 * time.Millisecond} }
	store := memory.New(memory.Options{Inject: slow})
	c := startCluster(t, store, 1)
	good, bad := c.grow("good"), c.grow("bad")
	err := store.Update(context.Background(), func(x kv.Txn) error {
		x.Set(appendName(nil, kindTable, "bad"), []byte("damaged"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			g := keyed("good", good, strconv.Itoa(i))
			if i%8 == 0 {
				g = keyed("bad", bad, strconv.Itoa(i))
			}
			r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{g}}
			_, err := c.seq.Commit(c.ctx(), 0, &r)
			if i%8 == 0 && !api.IsName(err, api.Unavailable) || i%8 != 0 && err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// TestI7_FullQueue: what does not fit is answered 429 at once, with a time to wait.
func TestI7_FullQueue(t *testing.T) {
	store := &brokenStore{Store: memory.New(memory.Options{})}
	server := natstest.Server(t)
	cfg := Config{ID: "s0", QueueRequestsMax: 2, Patience: 300 * time.Millisecond}
	startService(t, natstest.Connect(t, server), cfg, store)
	c := &cluster{t: t, nc: natstest.Connect(t, server)}
	c.seq = bus.NewSequencer(c.nc, api.Subjects{})
	f := c.grow("cpu")
	store.fail(kv.ErrUnavailable)
	var wg sync.WaitGroup
	var mu sync.Mutex
	names := map[api.Name]int{}
	for i := range 20 {
		wg.Go(func() {
			r := api.CommitRequest{Node: "p1", Epoch: 1, Groups: []api.CommitGroup{keyed("cpu", f, strconv.Itoa(i))}}
			_, err := c.seq.Commit(c.ctx(), 0, &r)
			e := api.AsError(err)
			mu.Lock()
			defer mu.Unlock()
			if names[e.Name]++; e.Name == api.Overloaded && e.RetryAfterMS == 0 {
				t.Error("429 without a time to wait")
			}
		})
	}
	wg.Wait()
	if names[api.Overloaded] == 0 || names[api.Unavailable] == 0 || len(names) != 2 {
		t.Errorf("answers %v", names)
	}
}

func TestNewChecksItsArguments(t *testing.T) {
	if _, err := New(Config{ID: "S"}, Deps{}); err == nil {
		t.Error("a bad id was accepted")
	}
	if _, err := New(Config{ID: "s"}, Deps{}); err == nil {
		t.Error("missing dependencies were accepted")
	}
	if _, err := New(Config{ID: "s", LeaseTTL: time.Millisecond}, Deps{}); err == nil {
		t.Error("a lease shorter than a tick was accepted")
	}
}

// TestUnknownLayoutIsRefused: Run ends with an error that says what to do.
func TestUnknownLayoutIsRefused(t *testing.T) {
	for _, mark := range []string{"braid\x02", "other"} {
		store := memory.New(memory.Options{})
		err := store.Update(context.Background(), func(x kv.Txn) error {
			x.Set(appendNumbers(nil, kindLayout), []byte(mark))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		nc := natstest.Connect(t, natstest.Server(t))
		s, err := New(Config{ID: "s"}, Deps{Conn: nc, Store: store, Logger: slog.Default()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(context.Background()); !errors.Is(err, ErrLayout) {
			t.Errorf("mark %q: Run returned %v", mark, err)
		}
	}
}

// BenchmarkCommit sends one-group requests from many senders at once, through NATS.
func BenchmarkCommit(b *testing.B) {
	stores := map[string]func() (kv.Store, error){
		"memory": func() (kv.Store, error) { return memory.New(memory.Options{}), nil },
		"bbolt":  func() (kv.Store, error) { return bbolt.Open(b.TempDir()) },
	}
	for _, name := range []string{"memory", "bbolt"} {
		b.Run(name, func(b *testing.B) {
			store, err := stores[name]()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := store.Close(); err != nil {
					b.Error(err)
				}
			})
			c := startCluster(b, store, 1)
			f := c.grow("cpu")
			ctx := context.Background()
			var n struct {
				sync.Mutex
				last int
			}
			b.SetParallelism(64)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n.Lock()
					n.last++
					key := strconv.Itoa(n.last)
					n.Unlock()
					r := api.CommitRequest{Node: "p1", Epoch: c.epoch, Groups: []api.CommitGroup{keyed("cpu", f, key)}}
					if answers, err := c.seq.Commit(ctx, 0, &r); err != nil || answers[0].Err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
