package simulation

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// judge keeps what the invariants are judged by. It looks at the store, the disks and the messages from outside; no
// process knows of it.
type judge struct {
	w          *world
	violations []history.Violation
	history    map[string]*history.Table
	values     int // given to rows, each once

	heads   []uint64        // of the logs
	records []api.LogRecord // of all shards, in the order of their commit
	members api.Topology    // as the store had it at the last look
	dead    map[string]bool // nodes that have not been live since they were declared dead
	changes map[Change]int
	known   uint64                 // the newest version of the topology that was published
	owners  map[uint64]string      // of epochs: which process got it
	first   map[string]api.Outcome // answers, by identity
	pending []int                  // places in records
}

func newJudge(w *world) judge {
	return judge{w: w, history: make(map[string]*history.Table), heads: make([]uint64, w.shards),
		dead: make(map[string]bool), changes: make(map[Change]int), owners: make(map[uint64]string), first: make(map[string]api.Outcome)}
}

func (j *judge) fail(v history.Violation) {
	j.violations = append(j.violations, v)
	j.w.e.Trace("judge", "%s", v)
}

func (j *judge) bad() bool { return len(j.violations) > 0 }

func (j *judge) table(name string) *history.Table {
	t := j.history[name]
	if t == nil {
		t = &history.Table{Name: name}
		j.history[name] = t
	}
	return t
}

func (j *judge) record(table string, w history.Write) {
	t := j.table(table)
	t.Writes = append(t.Writes, w)
}

// watched is the store, whose logs are looked at after every transaction.
type watched struct {
	*memory.Store
	w      *world
	frozen time.Duration // until then nothing commits
}

func (s *watched) Update(ctx context.Context, f func(kv.Txn) error) error {
	err := s.Store.Update(ctx, f)
	s.w.watch()
	return err
}

// watch judges what the last transaction has added to the logs by what the store said before it (I1, I6).
func (j *judge) watch() {
	err := j.w.store.View(context.Background(), func(r kv.Reader) error {
		for shard := range j.w.shards {
			if err := j.watchLog(r, shard); err != nil {
				return err
			}
		}
		if err := j.watchPending(r); err != nil {
			return err
		}
		return j.watchTopology(r)
	})
	if err != nil && len(j.members.Nodes) > 0 {
		j.fail(history.Violation{Invariant: 1, Check: "store", Detail: err.Error()})
	}
}

func (j *judge) watchLog(r kv.Reader, shard int) error {
	b, err := j.w.core.ReadLog(r, nil, shard, api.LogRequest{From: j.heads[shard] + 1})
	if err != nil {
		return err
	}
	a, err := api.ParseLogAnswer(b)
	if err != nil {
		return err
	}
	for i := range a.Records {
		rec := &a.Records[i]
		j.heads[shard] = rec.Index
		j.records = append(j.records, *rec)
		j.w.e.Trace("store", "%s: TxIDs %d to %d are in segment %s", rec.Table, rec.First, rec.Last(), rec.Segment)
		j.mayCommit(rec)
		// Durable before committed: whatever is in the log has its bytes.
		if rec.State == api.Pending {
			j.pending = append(j.pending, len(j.records)-1)
			j.heldBy(rec)
			continue
		}
		if _, err := j.object(rec); err != nil {
			j.fail(history.Violation{Invariant: 2, Check: "durable first", Table: rec.Table, TxID: rec.First,
				Detail: fmt.Sprintf("committed, but %v", err)})
		}
	}
	return nil
}

// mayCommit checks that the epoch of a record was the registered one of its node, and not fenced, just before the
// transaction (I6): of all epochs of a node one at most can commit.
func (j *judge) mayCommit(r *api.LogRecord) {
	fail := func(what string, args ...any) {
		j.fail(history.Violation{Invariant: 6, Check: "fenced", Table: r.Table, Node: r.Segment.Node, TxID: r.First,
			Detail: fmt.Sprintf("committed by epoch %d, ", r.Segment.Epoch) + fmt.Sprintf(what, args...)})
	}
	n, member := j.members.Node(r.Segment.Node)
	switch {
	case !member:
		fail("when the node was no member")
	case n.Epoch != r.Segment.Epoch:
		fail("when %d was registered", n.Epoch)
	case n.State == api.Dead:
		fail("after it was declared dead")
	}
}

// owns notes that a registration was given an epoch (I6).
func (j *judge) owns(node, attempt string, epoch uint64) {
	if other, taken := j.owners[epoch]; taken && other != attempt {
		j.fail(history.Violation{Invariant: 6, Check: "one owner", Node: node,
			Detail: fmt.Sprintf("epoch %d was given to registration %s and to %s", epoch, other, attempt)})
	}
	j.owners[epoch] = attempt
}

// answer compares the answers that writes get, each however often it is sent (I3, I5).
func (j *judge) answer(client, table string, writes []*write, a *api.GroupAnswer) {
	if a.Err != nil {
		return
	}
	for i, o := range a.Writes {
		j.firstAnswer(client, table, writes[i], o)
	}
}

// firstAnswer compares an answer to a write with the first one.
func (j *judge) firstAnswer(client, table string, w *write, o api.Outcome) {
	if o.Verdict == api.RefusedSettled && w.waiting {
		j.fail(history.Violation{Invariant: 3, Check: "still waits", Table: table,
			Detail: fmt.Sprintf("%s waits for write %d, and is told that it is settled", client, w.meta.ID.Sequence)})
	}
	if w.bare || o.Verdict != api.Accepted && o.Verdict != api.RefusedConflict {
		return
	}
	id := fmt.Sprint(table, " ", client, " ", w.meta.Key, w.meta.ID.Sequence)
	before, known := j.first[id]
	if known && before != o {
		invariant := 3
		if before.Verdict == api.RefusedConflict {
			invariant = 5
		}
		j.fail(history.Violation{Invariant: invariant, Check: "first answer", Table: table,
			Detail: fmt.Sprintf("write %s was answered %+v, then %+v", id, before, o)})
	}
	j.first[id] = o
}

// tolerable checks that a good write is never told that it is bad (I8).
func (j *judge) tolerable(table string, err *api.Error) {
	if err != nil && (err.Name == api.Invalid || err.Name == api.TooLarge) {
		j.fail(history.Violation{Invariant: 8, Check: "good write", Table: table, Detail: err.Message})
	}
}

// bounded checks a primary's bound (I7).
func (j *judge) bounded(id string, m *primary.Machine) {
	if l := m.Load(); l.Fraction > 1 {
		j.fail(history.Violation{Invariant: 7, Check: "admission", Node: id,
			Detail: fmt.Sprintf("%.2f of the bound admitted", l.Fraction)})
	}
}

// object reads a record's group from the object store (I9).
func (j *judge) object(r *api.LogRecord) ([]byte, error) {
	data, err := j.w.objects.Read(r.Segment.Key())
	if err != nil {
		return nil, err
	}
	return segment.ReadGroup(bytes.NewReader(data), r.Offset, r.Length, r.CRC)
}
