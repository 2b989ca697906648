package simulation

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/internal/topology"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// tellHeartbeat is braid.heartbeat.<id>: failover, gateways, clients and the other nodes hear it.
func (w *world) tellHeartbeat(n *node, h api.Heartbeat) {
	tell := func(to *sim.Process, hear func()) { w.net.Send(n.p, to, "heartbeat", hear) }
	for _, f := range w.failovers {
		m := f.m
		tell(f.p, func() { m.Heard(h) })
	}
	for _, g := range w.gateways {
		m := g.m
		tell(g.p, func() { m.Heard(h) })
	}
	for _, c := range w.producers() {
		r := c.routes
		tell(c.p, func() { r.view.Heard(h, r.p.Clock()) })
	}
	for _, other := range w.nodes {
		if peers := other.peers; other != n {
			tell(other.p, func() { peers.Heard(h) })
		}
	}
}

// publish is braid.topology: everyone hears it.
func (w *world) publish(from *sim.Process, t api.Topology) {
	from.Living()
	w.published(t)
	tell := func(to *sim.Process, hear func()) { w.net.Send(from, to, "topology", hear) }
	for _, n := range w.nodes {
		l := n.life
		tell(n.p, func() { l.heard(t) })
	}
	for _, f := range w.failovers {
		m := f.m
		tell(f.p, func() { m.SetTopology(t) })
	}
	for _, g := range w.gateways {
		m := g.m
		tell(g.p, func() { m.SetTopology(t) })
	}
	for _, c := range w.producers() {
		r := c.routes
		tell(c.p, func() { r.view.SetTopology(t) })
	}
}

// producers are all who write to primaries themselves.
func (w *world) producers() []*client {
	all := w.clients
	for _, a := range w.apps {
		all = append(all[:len(all):len(all)], a.c)
	}
	return all
}

// changing is asked for what changes the topology: the sequencer publishes it afterwards.
func changing[Q, A any](
	a asker, what string, q Q, f func(kv.Txn, Q) (A, error), topology func(*A) *api.Topology,
) (A, error) {
	return ask(a, what, func(ctx context.Context, s *sequencerProcess) (answer A, err error) {
		err = s.update(ctx, func(t kv.Txn) (err error) {
			answer, err = f(t, q)
			return err
		})
		if err == nil && topology != nil {
			s.w.publish(s.p, *topology(&answer))
		}
		return answer, err
	})
}

func (a asker) RegisterNode(_ context.Context, q api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	return changing(a, "register "+q.ID, q, a.w.bug.registration(a.w, a.w.core.RegisterNode),
		func(r *api.RegisterNodeAnswer) *api.Topology { return &r.Topology })
}

func (a asker) SetNodeState(_ context.Context, q api.NodeStateRequest) (api.NodeStateAnswer, error) {
	return changing(a, "state of "+q.ID+": "+string(q.State), q, a.w.bug.states(a.w.core.SetNodeState),
		func(r *api.NodeStateAnswer) *api.Topology { return &r.Topology })
}

func (a asker) Topology(_ context.Context) (api.Topology, error) {
	return looked(a, "topology", sequencer.Topology)
}

// routes is what one process of a client knows of whom it may write to, as the SDK does: by heartbeats and topologies,
// which it asks for at its start, and when a heartbeat contradicts what it knows.
type routes struct {
	w    *world
	p    *sim.Process
	view *topology.View
	last string // who was tried last
}

// newRoutes begins to follow the topology in a client's process.
func newRoutes(w *world, p *sim.Process) *routes {
	r := &routes{w: w, p: p, view: topology.NewView()}
	p.Go(func(ctx context.Context) {
		for {
			if _, known := r.view.Topology(); !known || r.view.Stale(p.Clock()) {
				if t, err := (asker{w, p}).Topology(ctx); err == nil {
					r.view.SetTopology(t)
				}
			}
			p.Sleep(time.Second)
		}
	})
	return r
}

// pick draws a primary that may be written to, another one than the last if there is one; now and then any node, as one
// would who has not heard of a change yet. nil: nobody is known.
func (r *routes) pick() *node {
	if r.w.e.Rand.IntN(16) == 0 {
		return r.w.nodes[r.w.e.Rand.IntN(len(r.w.nodes))]
	}
	var ids []string
	for _, c := range r.view.Candidates(r.p.Clock()) {
		ids = append(ids, c.ID)
	}
	if known, _ := r.view.Topology(); len(ids) == 0 { // before the first heartbeats
		for _, n := range known.Nodes {
			if n.Role == api.Primary && n.State == api.Live {
				ids = append(ids, n.ID)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	i := r.w.e.Rand.IntN(len(ids))
	if ids[i] == r.last {
		i = (i + 1) % len(ids)
	}
	r.last = ids[i]
	return r.w.node(r.last)
}
