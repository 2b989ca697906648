package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/hold"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/replicator"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// burnsMax bounds the disks that are lost in a run.
const burnsMax = 4

// burn has disks lost for good: one, or those of all holders of what has been pending for longest.
func (w *world) burn() bool {
	ids := []string{w.nodes[w.e.Rand.IntN(len(w.nodes))].id}
	if len(w.pending) > 0 && w.e.Rand.IntN(2) == 0 {
		ids = w.records[w.pending[0]].Holders
	}
	before := len(w.burnt)
	for i, n := range w.nodes {
		if slices.Contains(ids, n.id) && len(w.burnt) < burnsMax {
			w.e.Trace("faults", "the disk of %s is lost for good", n.id)
			w.burnt[n.id] = n
			n.down = true
			n.p.End()
			w.nodes[i] = w.successor(n)
		}
	}
	return len(w.burnt) > before
}

// successor is a new node, with another id, in the place of one that has lost its disk.
func (w *world) successor(lost *node) *node {
	place, _, _ := strings.Cut(lost.id, "-")
	n := &node{w: w, id: fmt.Sprintf("%s-%d", place, len(w.burnt)+1), role: lost.role, disk: sim.NewDisk(w.e, w.chaos)}
	n.mark = "disk of " + n.id
	n.draw()
	n.cfg.WALCopies = w.walCopies
	n.p = w.e.Start(n.id) // a process that is dead until the node starts
	n.p.End()
	n.startLater()
	return n
}

// operator removes nodes from the cluster that have lost their disks, gives up what was on those disks alone, and makes
// stand-ins that have inherited their places replicas again. He tries until he has done it.
type operator struct {
	w *world
	p *sim.Process
	asker
}

func (w *world) startOperator() {
	p := w.e.Start("operator")
	o := &operator{w: w, p: p, asker: asker{w, p}}
	p.Go(func(ctx context.Context) {
		for {
			p.Sleep(500 * time.Millisecond)
			for _, id := range slices.Sorted(maps.Keys(w.burnt)) {
				o.startEmpty(w.burnt[id])
				o.remove(ctx, id)
			}
			o.demote(ctx)
		}
	})
}

// startEmpty starts a node with an empty disk under its old id, now and then, as somebody does who does not know
// better. It is refused, and ends.
func (o *operator) startEmpty(n *node) {
	_, member := o.w.members.Node(n.id)
	try := !n.empty && member && o.w.e.Rand.IntN(2) == 0
	if n.empty = true; !try {
		return
	}
	n.disk, n.mark = sim.NewDisk(o.w.e, o.w.chaos), "another disk of "+n.id
	o.w.e.After(0, n.start)
	for o.p.Sleep(100 * time.Millisecond); !n.p.Dead(); {
		o.p.Sleep(100 * time.Millisecond)
	}
}

// remove tries to end a node's membership.
func (o *operator) remove(ctx context.Context, id string) {
	t, err := o.Topology(ctx)
	if n, member := t.Node(id); err != nil || !member || n.State != api.Dead && n.State != api.Stopped {
		return
	}
	_, err = o.Remove(ctx, api.RemoveRequest{ID: id, Version: t.Version})
	if api.IsName(err, api.Unavailable) {
		o.giveUp(ctx, t.Nodes)
	}
}

// demote makes those replicas again that have become primaries for good, because the one for which they stood in was
// removed.
func (o *operator) demote(ctx context.Context) {
	if !slices.ContainsFunc(o.w.members.Nodes, o.inherited) {
		return
	}
	t, err := o.Topology(ctx)
	if i := slices.IndexFunc(t.Nodes, o.inherited); err == nil && i >= 0 {
		_, _ = o.Demote(ctx, api.RoleRequest{ID: t.Nodes[i].ID, Version: t.Version}) // or later
	}
}

func (o *operator) inherited(n api.Node) bool {
	return o.w.node(n.ID).role == api.Replica && n.Role == api.Primary && n.StandsInFor == "" && n.State == api.Live
}

// giveUp voids the pending records of which all holders have lost their disks, if no other node can help.
func (o *operator) giveUp(ctx context.Context, nodes []api.Node) {
	page, err := o.Pending(ctx, api.PendingRequest{Fenced: true, Limit: 1000})
	if err != nil {
		return
	}
	for _, r := range page.Records {
		lost := !slices.ContainsFunc(r.Holders, func(id string) bool { return o.w.burnt[id] == nil })
		if lost && !o.settle(ctx, nodes, r.Segment) {
			_, err := o.Void(ctx, api.VoidRequest{Table: r.Table, TxID: r.First, Index: r.Index})
			o.w.e.Trace(o.p.Name, "gives up TxIDs %d to %d of %s: %v", r.First, r.Last, r.Table, err)
		}
	}
}

// settle asks every node to bring a segment into the object store. It says that this may still be done: a node has the
// segment, or one that may have it does not answer, or none has looked into the object store.
func (o *operator) settle(ctx context.Context, nodes []api.Node, id api.SegmentID) bool {
	ask, looked := hold.Ask(holders{o.w, o.p}.ask), false
	for _, n := range nodes {
		a, err := ask.Settle(ctx, n.ID, id)
		gone := n.State == api.Dead || n.State == api.Stopped
		switch {
		case err == nil && (a.Stored || a.Held), err != nil && !gone:
			return true
		case err == nil:
			looked = true
		}
	}
	return !looked
}

func (a asker) Remove(_ context.Context, q api.RemoveRequest) (api.TopologyAnswer, error) {
	return changing(a, "removal of "+q.ID, q, a.w.core.Remove, decided)
}

func (a asker) Demote(_ context.Context, q api.RoleRequest) (api.TopologyAnswer, error) {
	return changing(a, "demotion of "+q.ID, q, a.w.core.Demote, decided)
}

func decided(a *api.TopologyAnswer) *api.Topology { return &a.Topology }

func (a asker) Void(_ context.Context, q api.VoidRequest) (api.VoidAnswer, error) {
	return ask(a, "void in "+q.Table, func(ctx context.Context, s *sequencerProcess) (v api.VoidAnswer, err error) {
		err = s.update(ctx, func(t kv.Txn) (err error) {
			v, err = s.w.core.Void(t, q)
			return err
		})
		if err == nil {
			shard := api.Shard(q.Table, s.w.shards)
			for _, n := range s.w.nodes {
				n.hint(s.p, shard, replicator.Hint{Changed: q.Index})
			}
		}
		return v, err
	})
}
