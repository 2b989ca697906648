//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/processes"
)

// Tables that only writers with an expected TxID write to.
const (
	lockTable      = "locks" // as much as they can
	contendedTable = "short" // a short history, for package linear
)

// workload is the clients of a scenario. All of them live in the judge's process: they have one clock.
type workload struct {
	plan    *Plan
	opts    Options
	events  *processes.Story
	maker   rowMaker
	records *recorder
	clients []*client.Client
	conns   []*nats.Conn

	started time.Duration // of the run's clock
	healed  atomic.Bool
	healing chan struct{} // closed once healed is true

	mu  sync.Mutex
	ops linearOps // guarded by mu
}

// heal tells the writers that every process is ready and no fault comes any more.
func (w *workload) heal() {
	w.healed.Store(true)
	close(w.healing)
}

// send is one write, sent again or not as its way in has it.
type send func(ctx context.Context, table string, rows rows, expected *uint64) (uint64, error)

// writer is one client that has one write open at a time.
type writer struct {
	*workload
	name   string
	rand   *rand.Rand
	tables []string
	send   send
	locked bool
	head   uint64 // the last that it has heard of, if locked
	// persistent: it sends its writes again until there is an answer, so that there must be one in the end.
	persistent bool
}

func newWorkload(plan *Plan, opts Options, ev *processes.Story, servers string) (_ *workload, err error) {
	w := &workload{plan: plan, opts: opts, events: ev, started: time.Duration(ev.Now()), healing: make(chan struct{}),
		records: &recorder{events: ev, writes: make(map[string][]history.Write)}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	for i := range 3 {
		c, err := client.Connect(context.Background(), servers, client.WithAttemptTimeout(plan.Attempt),
			client.WithName(fmt.Sprintf("sdk%d", i)), client.WithLogger(ev.Logger()))
		if err != nil {
			return nil, err
		}
		w.clients = append(w.clients, c)
	}
	for range 2 {
		nc, err := nats.Connect(servers, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
		if err != nil {
			return nil, err
		}
		w.conns = append(w.conns, nc)
	}
	return w, nil
}

func (w *workload) close() error {
	var errs []error
	for _, c := range w.clients {
		errs = append(errs, c.Close())
	}
	for _, nc := range w.conns {
		nc.Close()
	}
	return errors.Join(errs...)
}

// writers are the same in every plan: one or two for each way in.
func (w *workload) writers() []*writer {
	var all []*writer
	add := func(name string, of *writer) {
		of.workload, of.name = w, name
		of.rand = rand.New(rand.NewPCG(w.plan.Seed, uint64(len(all))))
		if of.tables == nil {
			of.tables = w.plan.Tables
		}
		all = append(all, of)
	}
	for i, c := range w.clients {
		add(fmt.Sprintf("producer %d", i), &writer{send: throughGateway(c), persistent: true})
		add(fmt.Sprintf("direct %d", i), &writer{send: direct(c), persistent: true})
	}
	add("via p1", &writer{send: throughGateway(w.clients[0], client.Via(client.Primary("p1"))), persistent: true})
	for i, nc := range w.conns {
		add(fmt.Sprintf("bare %d", i), &writer{send: (&bare{nc: nc}).write})
		keyed := &bare{nc: nc, keyed: true, rand: rand.New(rand.NewPCG(w.plan.Seed, 1000+uint64(i)))}
		add(fmt.Sprintf("keyed %d", i), &writer{send: keyed.write})
	}
	locks := []string{lockTable}
	add("locker 1", &writer{send: throughGateway(w.clients[1]), tables: locks, locked: true, persistent: true})
	add("locker 2", &writer{send: direct(w.clients[2]), tables: locks, locked: true, persistent: true})
	keyed := &bare{nc: w.conns[0], keyed: true, rand: rand.New(rand.NewPCG(w.plan.Seed, 1002))}
	add("locker 3", &writer{send: keyed.write, tables: locks, locked: true})
	return all
}

func options(expected *uint64, more []client.WriteOption) []client.WriteOption {
	if expected == nil {
		return more
	}
	return append([]client.WriteOption{client.ExpectTxID(*expected)}, more...)
}

func throughGateway(c *client.Client, more ...client.WriteOption) send {
	return func(ctx context.Context, table string, rows rows, expected *uint64) (uint64, error) {
		a, err := c.Table(table).Write(ctx, client.LineProtocol(rows.text), options(expected, more)...)
		return a.TxID, err
	}
}

func direct(c *client.Client) send {
	return func(ctx context.Context, table string, rows rows, expected *uint64) (uint64, error) {
		p, err := c.Table(table).Prepare(ctx, client.LineProtocol(rows.text))
		if err != nil {
			return 0, err
		}
		a, err := c.Table(table).Write(ctx, p, options(expected, []client.WriteOption{client.Via(client.Direct)})...)
		return a.TxID, err
	}
}

// run writes until ctx ends, or the cluster is healed and every writer has had an answer from it.
func (w *workload) run(ctx context.Context) error {
	var all errgroup.Group
	for _, x := range w.writers() {
		all.Go(func() error { return x.run(ctx) })
	}
	all.Go(func() error { return w.writeMany(ctx) })
	all.Go(func() error { return w.contend(ctx) })
	return all.Wait()
}

func (w *writer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		healed := w.healed.Load()
		got, err := w.write(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if healed && (got == history.Acknowledged || got == history.Conflicted) {
			return nil
		}
		wait(ctx, time.Duration(w.rand.IntN(80))*time.Millisecond)
	}
	if !w.healed.Load() {
		return nil // the run was given up before
	}
	return fmt.Errorf("%s: no answer from a healed cluster: %w", w.name, context.Cause(ctx))
}

// slowWrite is what a write takes that a reader of the story may ask about.
const slowWrite = time.Second

func (w *writer) write(ctx context.Context) (history.Outcome, error) {
	table := w.tables[w.rand.IntN(len(w.tables))]
	rows := w.maker.make(w.rand, table)
	var expected *uint64
	if w.locked {
		head := w.head
		expected = &head
	}
	i, began := w.records.begin(table, rows, expected), time.Now()
	txid, err := w.send(ctx, table, rows, expected)
	o, failed := judgeAnswer(txid, err)
	if took := time.Since(began); took > slowWrite {
		w.events.Add("%s: a write of table %s took %s: TxID %d, error %v", w.name, table, took, txid, err)
	}
	w.records.end(i, o)
	if failed == nil && w.persistent && o.Outcome != history.Acknowledged && o.Outcome != history.Conflicted &&
		w.healed.Load() {
		failed = fmt.Errorf("a healed cluster has no answer: %w", err)
	}
	if o.Outcome == history.Acknowledged || o.Outcome == history.Conflicted {
		w.head = o.txid
	}
	return o.Outcome, failed
}

// writeMany sends rows of all tables in one request.
func (w *workload) writeMany(ctx context.Context) error {
	r := rand.New(rand.NewPCG(w.plan.Seed, 2000))
	for ctx.Err() == nil {
		last := w.healed.Load()
		var text []byte
		intents := make(map[string]intent)
		for _, table := range w.plan.Tables {
			rows := w.maker.make(r, table)
			text = append(text, rows.text...)
			intents[table] = w.records.begin(table, rows, nil)
		}
		results, err := w.clients[0].WriteAll(ctx, client.LineProtocol(text))
		if err != nil {
			for _, table := range w.plan.Tables {
				results = append(results, client.TableResult{Result: client.Result{Table: table}, Err: err})
			}
		}
		for _, result := range results {
			o, err := judgeAnswer(result.TxID, result.Err)
			if err != nil {
				return fmt.Errorf("many tables: %w", err)
			}
			w.records.end(intents[result.Table], o)
		}
		if last && err == nil {
			return nil
		}
		wait(ctx, time.Duration(r.IntN(200))*time.Millisecond)
	}
	return nil
}
