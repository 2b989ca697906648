package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/sim"
)

// world is an application with an outbox on a disk that crashes, and a cluster in a few lines, in the engine's world.
type world struct {
	t     *testing.T
	e     *sim.Engine
	chaos *sim.Chaos
	disk  *sim.Disk
	cluster
	cfg    Config
	tables int
	writes int // that the application makes, in all its processes together
	p      *sim.Process
	b      *Box
	ids    int

	made     int          // writes so far
	beside   map[int]bool // made beside others
	taken    map[int]bool // of which Add has said that they are on the disk
	refused  map[int]bool // of which Add has said that they are not, and never will be
	reported map[int]Refusal
	starts   int
	errs     []error // why processes have ended
}

// cluster remembers as the sequencer does.
type cluster struct {
	epoch, incarnation, current uint64
	attempt                     string
	known                       bool
	answers                     map[string]Outcome
	settled                     map[string]uint64
	rows                        map[string][]int // by table, in the order of the TxIDs
	losing                      float64          // how often a message is lost
	bad                         int              // every so many writes are refused; 0: none
	violations                  []string
}

func newWorld(t *testing.T, seed uint64) *world {
	e := sim.New(seed, nil)
	w := &world{t: t, e: e, chaos: sim.NewChaos(e), tables: 2, writes: 30,
		cfg:    Config{Dir: "app/outbox", BytesMax: 16_000, FileBytesMax: 700, BatchWrites: 4, Pause: 100 * time.Millisecond},
		beside: make(map[int]bool), taken: make(map[int]bool), refused: make(map[int]bool), reported: make(map[int]Refusal),
		cluster: cluster{answers: make(map[string]Outcome), settled: make(map[string]uint64),
			rows: make(map[string][]int)}}
	w.disk = sim.NewDisk(e, w.chaos)
	return w
}

// start begins a process of the application; whenever it dies another follows.
func (w *world) start() {
	w.starts++
	p := w.e.Start("app")
	w.p = p
	fs := sim.SlowAppends(w.disk.Attach(p), p)
	p.OnEnd(func() { w.e.After(w.e.Between(0, 300*time.Millisecond), w.start) })
	p.Go(func(ctx context.Context) {
		b, err := Open(w.cfg, w.deps(p, fs))
		if err != nil {
			w.fatal(p, err)
		}
		w.b = b
		p.Go(func(ctx context.Context) { w.fatal(p, b.Run(ctx)) })
		p.Go(w.apply)
	})
}

// fatal ends the process, as an application does whose outbox has ended.
func (w *world) fatal(p *sim.Process, err error) {
	p.Living()
	w.errs = append(w.errs, err)
	w.e.Trace("app", "ends: %v", err)
	p.End()
}

func (w *world) deps(p *sim.Process, fs disk.FS) Deps {
	return Deps{FS: fs, Logger: slog.New(slog.DiscardHandler), Carrier: carrier{w, p},
		Register: func(ctx context.Context, r api.RegisterProducerRequest) (api.RegisterProducerAnswer, error) {
			if !w.trip(p) {
				return api.RegisterProducerAnswer{}, errors.New("lost")
			}
			a := w.register(r)
			if !w.trip(p) {
				return api.RegisterProducerAnswer{}, errors.New("lost")
			}
			return a, nil
		},
		Renew: func(context.Context, api.RenewProducerRequest) error { return nil },
		Report: func(_ context.Context, u Undelivered) error {
			p.Sleep(w.e.Between(0, 20*time.Millisecond))
			if w.e.Chance(w.losing) {
				return errors.New("not now")
			}
			w.reported[number(u.Write)] = u.Refusal
			return nil
		},
		NewID: func() string { w.ids++; return fmt.Sprint(w.ids) },
		Host:  Host{Now: p.Clock, Await: p.Await, Go: p.Go},
	}
}

// trip is a message's way; false if it is lost.
func (w *world) trip(p *sim.Process) bool {
	p.Sleep(w.e.Between(time.Millisecond, 10*time.Millisecond))
	return !w.e.Chance(w.losing)
}

// apply is the application: it writes, a few at a time, until it has made all.
func (w *world) apply(ctx context.Context) {
	for w.made < w.writes {
		n := w.made
		w.made++
		if w.e.Chance(0.3) {
			w.beside[n] = true
			w.p.Go(func(ctx context.Context) { w.write(ctx, n) })
			continue
		}
		w.write(ctx, n)
		w.p.Sleep(w.e.Between(0, 5*time.Millisecond))
	}
}

func (w *world) write(ctx context.Context, n int) {
	var watcher Watcher
	if n%3 == 0 {
		watcher = func(o Outcome, err error) bool {
			if err == nil && o.Refusal != nil && n%2 == 0 {
				w.reported[n] = *o.Refusal
				return true
			}
			return false
		}
	}
	err := w.b.Add(ctx, Write{Table: w.table(n), ContentType: "text/plain", Locked: n%5 == 0, Expected: uint64(n),
		Payload: fmt.Appendf(nil, "%d", n)}, watcher)
	switch {
	case err == nil:
		w.taken[n] = true
	case errors.Is(err, ErrFull):
		w.refused[n] = true
	}
}

func (w *world) table(n int) string { return fmt.Sprintf("t%d", n%w.tables) }

func number(w *Write) int {
	n, err := strconv.Atoi(string(w.Payload))
	if err != nil {
		panic(err)
	}
	return n
}

// register is the sequencer's.
func (c *cluster) register(r api.RegisterProducerRequest) api.RegisterProducerAnswer {
	if c.attempt != r.Attempt {
		c.epoch++
		if !c.known {
			c.incarnation = c.epoch
		}
		c.current, c.attempt = c.epoch, r.Attempt
	}
	known := c.known && (r.Last == 0 || c.incarnation <= r.Last)
	c.known = true
	return api.RegisterProducerAnswer{Epoch: c.current, Known: known, RenewSeconds: 3600}
}

// forget is what happens when the producer has been idle for too long.
func (c *cluster) forget() {
	c.known, c.attempt, c.current = false, "", 0
	clear(c.answers)
	clear(c.settled)
}

// commit is the sequencer's.
func (c *cluster) commit(table string, ids []api.ProducerSeq, writes []*Write) ([]Outcome, error) {
	outcomes := make([]Outcome, len(ids))
	for i, id := range ids {
		switch {
		case id.Epoch > c.current || !c.known:
			return nil, api.Errorf(api.Expired, "not registered")
		case id.Epoch < c.current:
			return nil, api.Errorf(api.Fenced, "fenced")
		case id.Sequence-id.Settled > api.AnswersMax:
			c.violations = append(c.violations, fmt.Sprintf("sequence %d with settled %d", id.Sequence, id.Settled))
		}
		c.settled[table] = max(c.settled[table], id.Settled)
		if id.Sequence <= c.settled[table] {
			c.violations = append(c.violations, fmt.Sprintf("write %s waits, and is settled", writes[i].Payload))
			outcomes[i] = Outcome{Refusal: &Refusal{Name: string(api.Settled), Unknown: true}}
			continue
		}
		key := fmt.Sprint(table, " ", id.Sequence)
		o, ok := c.answers[key]
		if !ok {
			o = c.decide(table, number(writes[i]))
			c.answers[key] = o
		}
		outcomes[i] = o
	}
	return outcomes, nil
}

func (c *cluster) decide(table string, n int) Outcome {
	if c.bad > 0 && n%c.bad == 1 {
		return Outcome{Refusal: &Refusal{Name: string(api.Conflict), Message: "no", Expected: 1, Current: 2}}
	}
	c.rows[table] = append(c.rows[table], n)
	return Outcome{TxID: uint64(len(c.rows[table])), Rows: 1}
}

// carrier sends until there is an answer.
type carrier struct {
	w *world
	p *sim.Process
}

func (c carrier) Prepare(_ context.Context, table string, writes []*Write) (Load, error) {
	c.p.Sleep(c.w.e.Between(0, time.Millisecond))
	load := Load{Taken: 1 + c.w.e.Rand.IntN(len(writes)), Refused: make(map[int]Refusal)}
	var taken []*Write
	for i, w := range writes[:load.Taken] {
		if c.w.bad > 0 && number(w)%c.w.bad == 2 {
			load.Refused[i] = Refusal{Name: string(api.Invalid), Message: "no rows", Line: 1}
			continue
		}
		taken = append(taken, w)
	}
	load.Send = func(ctx context.Context, ids []api.ProducerSeq) ([]Outcome, error) {
		for ctx.Err() == nil {
			if c.w.trip(c.p) {
				outcomes, err := c.w.commit(table, ids, taken)
				if c.w.trip(c.p) {
					return outcomes, err
				}
			}
		}
		return nil, ctx.Err()
	}
	return load, nil
}

// finish lets time pass until everything has its end.
func (w *world) finish() {
	w.t.Helper()
	at := w.e.Now()
	done := func() bool {
		return w.made == w.writes && w.b != nil && !w.p.Dead() && w.b.State().Open == 0 &&
			(w.b.deps.Report == nil || w.b.State().Refused == 0) && len(w.b.pending) == 0
	}
	for range 600 {
		w.e.Run(w.e.Now()+100*time.Millisecond, func() bool { return false })
		if w.e.Now() == at {
			w.e.After(100*time.Millisecond, func() {})
		}
		at = w.e.Now()
		if done() {
			return
		}
	}
	w.t.Fatalf("no end after %s: %d of %d writes made, %+v, %v", w.e.Now(), w.made, w.writes, w.b.State(), w.errs)
}

// check is what must hold: every write that was taken is there once or was given back, in order; of the others at most
// once; and what was refused for want of room never.
func (w *world) check() {
	w.t.Helper()
	at := make(map[int]int)
	for table, rows := range w.rows {
		for _, n := range rows {
			if w.table(n) != table {
				w.t.Errorf("write %d is in table %s", n, table)
			}
			at[n]++
		}
		// Writes of which one was on the disk before the other began. Those that were made beside each other may be
		// in any order, but no further apart than that.
		if one := w.sequential(rows); !slices.IsSorted(one) {
			w.t.Errorf("table %s: order %v", table, one)
		}
	}
	for n := range w.writes {
		why, given := w.reported[n]
		switch {
		case at[n] > 1:
			w.t.Errorf("write %d is stored %d times", n, at[n])
		case at[n] == 0 && w.taken[n] && !given:
			w.t.Errorf("write %d was taken and is lost", n)
		case at[n] > 0 && given && !why.Unknown:
			w.t.Errorf("write %d is stored, and was given back as %v", n, why)
		case at[n] > 0 && w.refused[n]:
			w.t.Errorf("write %d found no room, and is stored", n)
		}
	}
	for _, v := range w.violations {
		w.t.Error(v)
	}
}

// sequential leaves out what the application wrote beside others.
func (w *world) sequential(rows []int) (list []int) {
	for _, n := range rows {
		if !w.beside[n] {
			list = append(list, n)
		}
	}
	return list
}
