package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/hold"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// holding is what makes a node a holder of other nodes' segments.
type holding struct {
	hold   hold.Config
	keeper *hold.Keeper
	peers  *hold.Peers
}

// drawWAL says how much of a run is at durability `wal`. In a quarter of the seeds nothing is.
func (w *world) drawWAL() {
	w.wal = []float64{0, 0.3, 0.7, 1}[w.e.Rand.IntN(4)]
	w.walCopies = 1 + w.e.Rand.IntN(min(3, len(w.nodes)))
	if w.bug.needsHolders() {
		w.wal, w.walCopies = 1, min(2, len(w.nodes))
	}
	if w.bug == UnfinishedDrain { // another holder would make up for it, some time
		w.wal, w.walCopies = 1, 1
	}
	for _, n := range w.nodes {
		n.cfg.WALCopies = w.walCopies
	}
}

// durability draws that of a write.
func (w *world) durability() api.Durability {
	if w.e.Chance(w.wal) {
		return api.DurabilityWAL
	}
	return api.DurabilityObject
}

func (n *node) drawHolding() {
	e := n.w.e
	n.cfg.WALSealInterval = e.Between(time.Millisecond, 50*time.Millisecond)
	n.cfg.Uploads, n.cfg.BacklogSegments = 1+e.Rand.IntN(4), 2+e.Rand.IntN(30)
	n.cfg.BacklogBytes = 3000 + e.Rand.Int64N(50_000)
	n.hold = hold.Config{ID: n.id, SegmentsDir: segmentsDir, BytesMax: 10_000 + e.Rand.Int64N(100_000),
		SegmentsMax: 2 + e.Rand.IntN(40), LookAfter: e.Between(20*time.Millisecond, 3*time.Second), LookMax: 2 * time.Second}
	n.peers = hold.NewPeers(n.id, func() time.Time { return n.p.Clock() }) // of the process that runs then
}

// startHolder takes in what the node holds, and looks after it until the process ends.
func (n *node) startHolder(fsys disk.FS, objects objstore.Store, seq asker) (err error) {
	n.keeper, err = hold.NewKeeper(n.hold, hold.Deps{FS: fsys, Objects: objects, Sequencer: n.w.bug.registry(seq),
		Stands: n.replicator.Pending, Logger: n.w.log}, n.p.Now, n.p.Go)
	if err != nil {
		return err
	}
	k := n.keeper
	n.p.Go(func(context.Context) {
		for {
			k.Tick()
			n.p.Sleep(20 * time.Millisecond)
		}
	})
	return nil
}

// others are the other nodes as a primary's process sees them.
type others struct {
	n *node
	p *sim.Process
}

func (o others) Live() []string {
	o.n.peers.Refresh()
	return o.n.peers.Live()
}

func (o others) Send(ctx context.Context, node string, id api.SegmentID, r io.ReaderAt, size int64) error {
	return hold.Ask(holders{o.n.w, o.p}.ask).Send(ctx, node, id, r, size)
}

func (o others) Drop(ctx context.Context, node string, id api.SegmentID) error {
	return hold.Ask(holders{o.n.w, o.p}.ask).Drop(ctx, node, id)
}

// holders are the nodes' holders as a process asks them.
type holders struct {
	w *world
	p *sim.Process
}

// ask sends a request to a node's holder and waits.
func (o holders) ask(_ context.Context, id string, request []byte) ([]byte, error) {
	w := o.w
	to := w.node(id)
	if to.p.Dead() || to.keeper == nil {
		o.p.Sleep(time.Millisecond)
		return nil, bus.ErrNoResponders
	}
	call := sim.NewCall[answered[[]byte]](o.p)
	p, data := to.p, bytes.Clone(request)
	w.net.Send(o.p, p, "piece of a segment", func() {
		if to.p != p || to.keeper == nil {
			return
		}
		to.keeper.Take(bytes.Clone(data), held(func(a []byte, err error) {
			w.net.Send(p, o.p, "answer about a segment", func() { call.Done(answered[[]byte]{a, err}) })
		}))
	})
	r, ok := call.Wait(context.Background(), w.patience())
	if !ok {
		return nil, bus.ErrUnknown
	}
	return r.answer, r.err
}

// held takes a holder's answer.
type held func([]byte, error)

func (h held) ReplyJSON(v any, _ nats.Header) error {
	data, err := json.Marshal(v)
	h(data, err)
	return err
}

func (h held) ReplyError(e *api.Error) error {
	h(nil, e)
	return nil
}

// heldBy judges a record that enters the log as pending: each holder that it names has its bytes, unless the object
// store has them (I2).
func (j *judge) heldBy(r *api.LogRecord) {
	if _, err := j.object(r); err == nil {
		return
	}
	for _, id := range r.Holders {
		if j.w.burnt[id] != nil || j.w.node(id).has(r) {
			continue
		}
		j.fail(history.Violation{Invariant: 2, Check: "held first", Table: r.Table, TxID: r.First, Node: id,
			Detail: fmt.Sprintf("committed as held by %v, and it has not got segment %s", r.Holders, r.Segment)})
	}
	if len(r.Holders) < j.w.walCopies {
		j.fail(history.Violation{Invariant: 2, Check: "copies", Table: r.Table, TxID: r.First,
			Detail: fmt.Sprintf("committed with the holders %v, %d copies are wanted", r.Holders, j.w.walCopies)})
	}
}

// has says whether a node's disk has the bytes of a record, under any name that a copy may have.
func (n *node) has(r *api.LogRecord) bool {
	own := segment.Path(segmentsDir, r.Segment)
	for _, path := range []string{own, own + segment.OpenSuffix, segment.HeldPath(segmentsDir, r.Segment)} {
		f, err := n.disk.Memory.Open(path)
		if err != nil {
			continue
		}
		_, err = segment.ReadGroup(f, r.Offset, r.Length, r.CRC)
		if f.Close(); err == nil {
			return true
		}
	}
	return false
}

// watchPending looks which pending records are confirmed now: their segments are in the object store (I9).
func (j *judge) watchPending(r kv.Reader) error {
	still := j.pending[:0]
	for _, at := range j.pending {
		rec := &j.records[at]
		state, err := sequencer.RecordState(r, api.Shard(rec.Table, j.w.shards), rec.Index)
		if err != nil {
			return err
		}
		if rec.State = state; state == api.Pending {
			still = append(still, at)
			continue
		}
		j.w.e.Trace("store", "%s: TxIDs %d to %d are %s", rec.Table, rec.First, rec.Last(), state)
		if state == api.Void {
			j.givenUp(rec)
			continue
		}
		if _, err := j.object(rec); err != nil {
			j.fail(history.Violation{Invariant: 9, Check: "stored first", Table: rec.Table, TxID: rec.First,
				Detail: fmt.Sprintf("confirmed, but %v", err)})
		}
	}
	j.pending = still
	return nil
}

// givenUp judges a record that has become void: no holder has it any more (I2).
func (j *judge) givenUp(r *api.LogRecord) {
	j.changes[GivenUp]++
	for _, id := range r.Holders {
		if j.w.burnt[id] == nil && j.w.node(id).has(r) {
			j.fail(history.Violation{Invariant: 2, Check: "given up", Table: r.Table, TxID: r.First, Node: id,
				Detail: "given up, though the node has it"})
		}
	}
	t := j.table(r.Table)
	t.Void = append(t.Void, history.Range{First: r.First, Last: r.Last()})
}

// appliedConfirmed checks that a node has applied no pending record (I2).
func (w *world) appliedConfirmed(n *node, shard int) {
	if len(w.pending) == 0 {
		return
	}
	w.watch() // a transaction that was done a moment ago may not have been looked at
	for _, at := range w.pending {
		rec := &w.records[at]
		if api.Shard(rec.Table, w.shards) == shard && n.replicator.Tables().AppliedTxID(rec.Table) >= rec.First {
			w.fail(history.Violation{Invariant: 2, Check: "pending applied", Table: rec.Table, TxID: rec.First, Node: n.id,
				Detail: "the node has applied a record that may still be lost"})
		}
	}
}

// needsHolders says of a bug that it shows at durability `wal`.
func (b Bug) needsHolders() bool {
	return b == DropWhileLive || b == ConfirmFirst || b == ApplyPending
}

// registry is the sequencer as a holder asks it.
func (b Bug) registry(a asker) hold.Sequencer {
	if b == DropWhileLive {
		return fencingRegistry{a}
	}
	return a
}

// fencingRegistry takes every epoch for fenced.
type fencingRegistry struct{ asker }

func (r fencingRegistry) SegmentState(ctx context.Context, id api.SegmentID) (api.SegmentStateAnswer, error) {
	a, err := r.asker.SegmentState(ctx, id)
	a.Fenced = true
	return a, err
}

// eagerSequencer confirms what has just been committed as pending.
type eagerSequencer struct{ asker }

func (s eagerSequencer) Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	answers, err := s.asker.Commit(ctx, shard, r)
	for i := range answers {
		if answers[i].Pending {
			id := api.SegmentID{Node: r.Node, Epoch: r.Epoch, Sequence: r.Groups[i].Segment}
			if _, err := s.Confirm(ctx, id); err != nil {
				return nil, err
			}
		}
	}
	return answers, err
}
