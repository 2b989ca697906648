package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/lease"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/replicator"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// sequencerProcess is the shell of one instance: commits of a shard gather while one transaction of it runs.
type sequencerProcess struct {
	w      *world
	id     string
	p      *sim.Process
	open   bool // it knows the cluster, and listens
	queues [][]job
	busy   []bool
}

type job struct {
	request *sequencer.Request
	arrived time.Duration
	reply   func([]byte, error)
}

func (s *sequencerProcess) start() {
	w := s.w
	s.p = w.e.Start(s.id)
	s.open = false
	s.queues, s.busy = make([][]job, w.shards), make([]bool, w.shards)
	s.p.OnEnd(func() { w.e.After(w.restart(), s.start) })
	s.p.Go(func(ctx context.Context) {
		for s.update(ctx, func(t kv.Txn) error {
			_, err := sequencer.Open(t, "simulated", w.shards)
			return err
		}) != nil {
			s.p.Sleep(50 * time.Millisecond)
		}
		s.open = true
		s.ticks(ctx)
	})
}

// restart is how long a process stays away.
func (w *world) restart() time.Duration {
	if w.chaos.Fire(sim.Quick, 1) {
		return w.e.Between(0, 900*time.Millisecond)
	}
	return w.e.Between(time.Second, 4*time.Second)
}

// ticks bumps the store's clock.
func (s *sequencerProcess) ticks(ctx context.Context) {
	mine := lease.Lease{Self: s.id, TTL: 3 * time.Second}
	var seen api.Lease
	for {
		s.p.Sleep(time.Second)
		if !mine.May(s.p.Now(), seen) {
			seen = api.Lease{}
		}
		_ = s.update(ctx, func(t kv.Txn) (err error) {
			_, seen, err = sequencer.Tick(t, s.id, seen)
			return err
		})
		_ = s.update(ctx, func(t kv.Txn) error {
			_, err := s.w.core.Sweep(t, 100)
			return err
		})
	}
}

// sequencerPatience is how long a request is tried again.
const sequencerPatience = 5 * time.Second

// update runs a transaction again while its outcome is unknown.
func (s *sequencerProcess) update(ctx context.Context, f func(kv.Txn) error) error {
	for began := s.w.e.Now(); ; s.p.Sleep(5 * time.Millisecond) {
		err := s.w.store.Update(ctx, f)
		if err == nil || !errors.Is(err, kv.ErrUnknown) || s.w.e.Now()-began > sequencerPatience {
			return err
		}
	}
}

// commit takes a commit request as it arrives.
func (s *sequencerProcess) commit(shard int, data []byte, reply func([]byte, error)) {
	r, err := s.w.core.ParseRequest(data, shard)
	if err != nil {
		reply(nil, err)
		return
	}
	s.queues[shard] = append(s.queues[shard], job{r, s.w.e.Now(), reply})
	if !s.busy[shard] {
		s.busy[shard] = true
		s.p.Go(func(ctx context.Context) {
			for len(s.queues[shard]) > 0 {
				n := 1 + s.w.e.Rand.IntN(len(s.queues[shard]))
				jobs := s.queues[shard][:n:n]
				s.queues[shard] = s.queues[shard][n:]
				s.transact(ctx, shard, jobs)
			}
			s.busy[shard] = false
		})
	}
}

func (s *sequencerProcess) transact(ctx context.Context, shard int, jobs []job) {
	requests := make([]*sequencer.Request, len(jobs))
	for i := range jobs {
		requests[i] = jobs[i].request
	}
	var done sequencer.Committed
	err := s.update(ctx, s.w.bug.again(func(t kv.Txn) (err error) {
		t = s.w.bug.transaction(s.w, t, requests[0].Node, requests[0].Epoch)
		done, err = s.w.core.Commit(t, shard, requests)
		return err
	}))
	for i, j := range jobs {
		switch {
		case err != nil:
			j.reply(nil, api.Errorf(api.Unavailable, "store: %v", err))
		case done.Results[i].Err != nil:
			j.reply(nil, done.Results[i].Err)
		default:
			j.reply(api.AppendCommitAnswer(nil, done.Results[i].Answers), nil)
		}
	}
	if err == nil && done.Grew() {
		for _, n := range s.w.nodes {
			n.hint(s.p, shard, replicator.Hint{Head: done.Head})
		}
	}
}

// confirm states a fact, and tells the nodes which records have changed.
func (s *sequencerProcess) confirm(ctx context.Context, id api.SegmentID) (done sequencer.Confirmation, err error) {
	err = s.update(ctx, func(t kv.Txn) (err error) {
		done, err = s.w.core.Confirm(t, api.ConfirmRequest{Segment: id})
		return err
	})
	for i, shard := range done.Shards {
		for _, n := range s.w.nodes {
			n.hint(s.p, shard, replicator.Hint{Changed: done.Indexes[i]})
		}
	}
	return done, err
}

// errForeseen takes a transaction back.
var errForeseen = errors.New("only a look")

// foresee is what a commit would be answered.
func (w *world) foresee(shard int, r *sequencer.Request) (answers []api.GroupAnswer, err error) {
	err = w.store.Store.Update(context.Background(), func(t kv.Txn) error {
		done, err := w.core.Commit(t, shard, []*sequencer.Request{r})
		if err == nil {
			answers, err = done.Results[0].Answers, done.Results[0].Err
		}
		return errors.Join(err, errForeseen)
	})
	if answers != nil {
		return answers, nil
	}
	return nil, err
}

// asker is the sequencer as one process sees it, by messages. It is what bus.Sequencer is in a cluster.
type asker struct {
	w *world
	p *sim.Process
}

type answered[A any] struct {
	answer A
	err    error
}

// ask sends a request to a sequencer, which serves it in a coroutine, and waits.
func ask[A any](
	a asker, what string, serve func(context.Context, *sequencerProcess) (A, error),
) (A, error) {
	return askLater(a, what, func(s *sequencerProcess, reply func(A, error)) {
		s.p.Go(func(ctx context.Context) { reply(serve(ctx, s)) })
	})
}

// askLater is ask for a request that is answered when its turn has come.
func askLater[A any](a asker, what string, serve func(*sequencerProcess, func(A, error))) (A, error) {
	var none A
	s := a.w.sequencer()
	if s == nil {
		a.p.Sleep(time.Millisecond)
		return none, bus.ErrNoResponders
	}
	call, to := sim.NewCall[answered[A]](a.p), s.p
	a.w.net.Send(a.p, to, what, func() {
		serve(s, func(answer A, err error) {
			a.w.net.Send(to, a.p, "answer to "+what, func() { call.Done(answered[A]{answer, err}) })
		})
	})
	// Not ctx: a deadline of the real clock has no place here, and a process that ends unwinds.
	r, ok := call.Wait(context.Background(), a.w.patience())
	if !ok {
		return none, bus.ErrUnknown
	}
	return r.answer, r.err
}

func asked[Q, A any](a asker, what string, q Q, f func(kv.Txn, Q) (A, error)) (A, error) {
	return ask(a, what, func(ctx context.Context, s *sequencerProcess) (answer A, err error) {
		err = s.update(ctx, func(t kv.Txn) (err error) {
			answer, err = f(t, q)
			return err
		})
		return answer, err
	})
}

func (a asker) Commit(_ context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	data := api.AppendCommitRequest(nil, r)
	answer, err := askLater(a, "commit", func(s *sequencerProcess, reply func([]byte, error)) {
		s.commit(shard, data, reply)
	})
	if err != nil {
		return nil, err
	}
	return api.ParseCommitAnswer(answer)
}

func (a asker) Confirm(_ context.Context, id api.SegmentID) (n int, err error) {
	for more := true; more; {
		done, err := ask(a, "confirm "+id.String(), func(ctx context.Context, s *sequencerProcess) (sequencer.Confirmation, error) {
			return s.confirm(ctx, id)
		})
		if n, more = n+done.Confirmed, done.More; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (a asker) SegmentState(_ context.Context, id api.SegmentID) (api.SegmentStateAnswer, error) {
	return looked(a, "state of segment "+id.String(), func(r kv.Reader) (api.SegmentStateAnswer, error) {
		return sequencer.SegmentState(r, id)
	})
}

func (a asker) Pending(_ context.Context, q api.PendingRequest) (api.PendingAnswer, error) {
	return looked(a, "pending records", func(r kv.Reader) (api.PendingAnswer, error) { return sequencer.Pending(r, q) })
}

// looked is ask for what only reads.
func looked[A any](a asker, what string, f func(kv.Reader) (A, error)) (A, error) {
	return ask(a, what, func(ctx context.Context, s *sequencerProcess) (answer A, err error) {
		err = s.w.store.View(ctx, func(r kv.Reader) (err error) {
			answer, err = f(r)
			return err
		})
		return answer, err
	})
}

func (a asker) Log(_ context.Context, shard int, q api.LogRequest) (api.LogAnswer, error) {
	data, err := ask(a, "log", func(ctx context.Context, s *sequencerProcess) (b []byte, err error) {
		err = s.w.store.View(ctx, func(r kv.Reader) (err error) {
			b, err = s.w.core.ReadLog(r, nil, shard, q)
			return err
		})
		return b, err
	})
	if err != nil {
		return api.LogAnswer{}, err
	}
	return api.ParseLogAnswer(data)
}

func (a asker) Heads(context.Context) ([]uint64, error) {
	answer, err := looked(a, "heads", a.w.core.Heads)
	return answer.Heads, err
}

func (a asker) Schema(_ context.Context, q api.SchemaRequest) (api.SchemaAnswer, error) {
	return asked(a, "schema", q, a.w.core.GrowSchema)
}

func (a asker) RegisterProducer(
	_ context.Context, q api.RegisterProducerRequest,
) (api.RegisterProducerAnswer, error) {
	return asked(a, "register producer "+q.ID, q, a.w.core.RegisterProducer)
}

// schemas is a catalog of a process.
type schemas struct {
	asker
	known map[string]api.Schema
}

func (c *schemas) Schema(ctx context.Context, table string) (api.Schema, error) {
	if s, ok := c.known[table]; ok {
		return s, nil
	}
	if err := ctx.Err(); err != nil {
		return api.Schema{}, err
	}
	return c.Refresh(ctx, table)
}

func (c *schemas) Refresh(ctx context.Context, table string) (api.Schema, error) {
	return c.Grow(ctx, table, nil)
}

func (c *schemas) Grow(ctx context.Context, table string, columns []api.Column) (api.Schema, error) {
	a, err := c.asker.Schema(ctx, api.SchemaRequest{Table: table, Columns: columns})
	if err != nil || len(a.Columns) == 0 {
		return api.Schema{}, err
	}
	s, err := api.NewSchema(a.Columns)
	if err == nil && s.Len() > c.known[table].Len() {
		c.known[table] = s
	}
	return c.known[table], err
}

func (c *schemas) Resolve(ctx context.Context, table string, f api.Fingerprint) (api.Schema, error) {
	if p, ok := c.known[table].Prefix(f); ok {
		return p, nil
	}
	s, err := c.Refresh(ctx, table)
	if err != nil {
		return s, err
	}
	if p, ok := s.Prefix(f); ok {
		return p, nil
	}
	return s, api.Errorf(api.Invalid, "table %s has no schema with fingerprint %s", table, f)
}
