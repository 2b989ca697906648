package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// gatewayProcess is the shell of one gateway. What it dies with was not acknowledged; it starts anew as another
// producer.
type gatewayProcess struct {
	w      *world
	id     string
	cfg    gateway.Config
	p      *sim.Process
	m      *gateway.Machine
	starts int
	ids    int
	sent   map[string]string // frames, to the primary that got each first; of a planted bug
}

// How often a gateway asks for the topology: now and then, and soon when a node contradicts it.
const (
	topologyInterval = 5 * time.Second
	staleInterval    = 250 * time.Millisecond
)

func newGateway(w *world, id string) *gatewayProcess {
	e := w.e
	return &gatewayProcess{w: w, id: id, sent: make(map[string]string), cfg: gateway.Config{
		ID: id, Durability: w.durability(), MergeInterval: e.Between(-time.Millisecond, 20*time.Millisecond),
		RequestTimeout: e.Between(time.Second, 6*time.Second), AttemptTimeout: e.Between(200*time.Millisecond, 2*time.Second),
		OverloadWait: e.Between(50*time.Millisecond, 300*time.Millisecond), HeldBytesMax: 4000 + e.Rand.Int64N(20_000),
		NoPrimaryWait: e.Between(200*time.Millisecond, 3*time.Second), HeldRequestsMax: 1 + e.Rand.IntN(20),
	}}
}

func (g *gatewayProcess) start() {
	w := g.w
	g.p = w.e.Start(g.id)
	g.starts++
	p := g.p
	p.OnEnd(func() { w.e.After(w.restart(), g.start) })
	var m *gateway.Machine
	seq := asker{w, p}
	m, err := gateway.NewMachine(g.cfg, gateway.Deps{
		Sequencer: seq, Catalog: &schemas{asker: seq, known: make(map[string]api.Schema)}, Logger: w.log,
	}, gateway.Host{
		Now: p.Clock, Await: p.Await, Go: p.Go,
		Alarm: func(at time.Time) { p.After(at.Sub(p.Clock()), func() { p.Go(m.Due) }) },
		Request: func(ctx context.Context, to string, frame []byte) ([]byte, error) {
			return g.request(ctx, p, to, frame)
		},
		Probe: func(ctx context.Context, to string) error { return g.probe(ctx, p, to) },
		NewID: func() string {
			g.ids++
			return fmt.Sprintf("%s-%d", g.id, g.ids)
		},
	})
	if err != nil {
		panic(err) // of a configuration that is ours
	}
	g.m = m
	p.Go(func(ctx context.Context) {
		for asked := -topologyInterval; ; p.Sleep(staleInterval) {
			if !m.Doubtful() && w.e.Now()-asked < topologyInterval {
				continue
			}
			if t, err := seq.Topology(ctx); err == nil {
				asked = w.e.Now()
				m.SetTopology(t)
			}
		}
	})
	p.Go(func(context.Context) {
		for {
			m.Sweep()
			p.Sleep(50 * time.Millisecond)
		}
	})
}

// request sends a frame to a primary and waits as long as ctx does.
func (g *gatewayProcess) request(ctx context.Context, p *sim.Process, to string, frame []byte) ([]byte, error) {
	call := sim.NewCall[answered[[]byte]](p)
	patience := time.Hour
	if end, ok := ctx.Deadline(); ok {
		patience = end.Sub(p.Clock())
	}
	g.w.node(to).write(p, g.w.bug.frame(g, to, frame), func(a api.GroupAnswer) {
		if a.Err != nil {
			call.Done(answered[[]byte]{nil, a.Err})
			return
		}
		call.Done(answered[[]byte]{api.AppendGroupAnswer(nil, &a), nil})
	}, func() { call.Done(answered[[]byte]{nil, bus.ErrNoResponders}) })
	r, ok := call.Wait(ctx, patience)
	if !ok {
		return nil, bus.ErrUnknown
	}
	return r.answer, r.err
}

// probe asks a primary whether it is there.
func (g *gatewayProcess) probe(ctx context.Context, p *sim.Process, to string) error {
	call := sim.NewCall[error](p)
	g.w.node(to).ask(p, func(there bool) {
		if there {
			call.Done(nil)
		} else {
			call.Done(bus.ErrNoResponders)
		}
	})
	err, ok := call.Wait(ctx, time.Second)
	if !ok {
		return bus.ErrUnknown
	}
	return err
}

func (a asker) RenewProducer(_ context.Context, q api.RenewProducerRequest) error {
	_, err := asked(a, "renew producer "+q.ID, q, func(t kv.Txn, q api.RenewProducerRequest) (struct{}, error) {
		return struct{}{}, a.w.core.RenewProducer(t, q)
	})
	return err
}

// through sends writes to some gateway, each as a payload of its own, and waits for all. A write without an identity
// must not arrive twice: neither NATS nor a client repeats it.
func (c *client) through(ctx context.Context, table string, writes []*write) {
	g := c.w.gateways[c.w.e.Rand.IntN(len(c.w.gateways))]
	calls := make([]*sim.Call[payloadAnswer], len(writes))
	patience := c.w.patience() * 4
	for i, w := range writes {
		w.again = !w.bare
		calls[i] = sim.NewCall[payloadAnswer](c.p)
		p, from, taken := g.p, c.p, false
		c.w.net.Send(from, p, "payload", func() {
			if taken && w.bare {
				return
			}
			taken = true
			g.m.Take(gateway.Write{Table: table, Payload: []byte(w.lines), Locked: w.Locked, Expected: w.Expected,
				Key: w.meta.Key, ID: w.meta.ID}, func(results []api.WriteResult, err *api.Error) {
				c.w.net.Send(p, from, "answer to payload", func() {
					c.w.firstAnswer(c.name, table, w, outcome(results, err))
					calls[i].Done(payloadAnswer{results, err})
				})
			})
		})
	}
	for i, w := range writes {
		if a, ok := calls[i].Wait(ctx, patience); ok {
			c.told(table, w, outcome(a.results, a.err))
			c.w.tolerable(table, a.err)
			// 429 says that it was not stored, unless the network doubles messages, which NATS does not: the
			// primary may have refused one copy of the group and taken the other.
			w.again = w.again || a.err != nil && a.err.Name == api.Overloaded && !c.w.doubles
		}
	}
}

// payloadAnswer is what a gateway answers.
type payloadAnswer struct {
	results []api.WriteResult
	err     *api.Error
}

// outcome is what a payload of one table was answered; the zero Outcome if that is not definite.
func outcome(results []api.WriteResult, err *api.Error) api.Outcome {
	switch {
	case err == nil && len(results) == 1 && results[0].Error == nil:
		return api.Outcome{Verdict: api.Accepted, TxID: results[0].TxID}
	case err != nil && err.Name == api.Expired:
		return api.Outcome{Verdict: api.RefusedExpired}
	case err != nil && err.Name == api.Voided:
		return api.Outcome{Verdict: api.RefusedVoided}
	case err != nil && err.Name == api.Fenced:
		return api.Outcome{Verdict: api.RefusedFenced}
	case err != nil && err.Name == api.Settled:
		return api.Outcome{Verdict: api.RefusedSettled}
	case err != nil && err.Name == api.Conflict && err.Expected != nil && err.Current != nil:
		return api.Outcome{Verdict: api.RefusedConflict, Expected: *err.Expected, Current: *err.Current}
	}
	return api.Outcome{}
}
