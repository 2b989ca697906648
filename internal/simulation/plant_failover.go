package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// needsFailover says of a bug that it shows when a primary dies and nothing else goes wrong.
func (b Bug) needsFailover() bool { return b == PromoteUnpublished || b == NeverStepBack }

// clockSequencer commits as long as the node has seen, not long ago by its own clock, that its epoch is not fenced. With
// it goes a transaction that does not look (unfencedTxn).
type clockSequencer struct {
	asker
	n *node
}

func (s clockSequencer) Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	if s.w.e.Now()-s.n.unfenced > 2*time.Second {
		return nil, api.Errorf(api.Fenced, "not seen for too long")
	}
	return s.asker.Commit(ctx, shard, r)
}

// restarting begins the epochs anew when a node registers that has been declared dead, as a counter does that goes with
// what was given up.
func restarting(
	f func(kv.Txn, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error),
) func(kv.Txn, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	return func(t kv.Txn, r api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
		before, err := sequencer.Topology(t)
		if err != nil {
			return api.RegisterNodeAnswer{}, err
		}
		if n, _ := before.Node(r.ID); n.State == api.Dead {
			t.Clear([]byte{epochKind})
		}
		return f(t, r)
	}
}

// announced is how a sequencer learns what to publish after a decision of failover; with the bug it does not.
func (b Bug) announced(f func(*api.TopologyAnswer) *api.Topology) func(*api.TopologyAnswer) *api.Topology {
	if b == PromoteUnpublished {
		return nil
	}
	return f
}

// publish is what a failover instance does with a topology.
func (b Bug) publish(w *world, from *sim.Process, t api.Topology) {
	if b != PromoteUnpublished {
		w.publish(from, t)
	}
}

// states is the transaction's function as the bug has it: who is live again does not relieve its stand-in.
func (b Bug) states(
	f func(kv.Txn, api.NodeStateRequest) (api.NodeStateAnswer, error),
) func(kv.Txn, api.NodeStateRequest) (api.NodeStateAnswer, error) {
	if b != NeverStepBack {
		return f
	}
	return func(t kv.Txn, r api.NodeStateRequest) (api.NodeStateAnswer, error) { return f(selfishTxn{t, r.ID}, r) }
}

// selfishTxn changes no other node than its own.
type selfishTxn struct {
	kv.Txn
	id string
}

func (t selfishTxn) Set(key, value []byte) {
	if key[0] != nodeKind || string(key[1:]) == t.id {
		t.Txn.Set(key, value)
	}
}

// drained is how a primary's end is taken: with the bug, a drain that was given up has been finished.
func (b Bug) drained(err error) error {
	if b == UnfinishedDrain && errors.Is(err, primary.ErrDrainOver) {
		return nil
	}
	return err
}

// frame is what a gateway sends to a primary: with the bug, a group that was sent to another one before has a new
// identity.
func (b Bug) frame(g *gatewayProcess, to string, frame []byte) []byte {
	if b != NewIdentity {
		return frame
	}
	first, sent := g.sent[string(frame)]
	if !sent {
		g.sent[string(frame)] = to
	}
	if !sent || first == to {
		return frame
	}
	group, err := segment.ParseGroup(frame)
	if err != nil {
		panic(err) // of a group that is ours
	}
	h := group.Header
	h.ID = api.ProducerSeq{}
	for i := range h.Writes {
		g.ids++
		h.Writes[i].ID, h.Writes[i].Key = api.ProducerSeq{}, fmt.Sprintf("again-%s-%d", g.id, g.ids)
	}
	again, mark := segment.BeginGroup(nil, &h)
	return segment.FinishGroup(append(again, group.Arrow...), mark)
}
