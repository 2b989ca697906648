//go:build fdb

package sequencer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	outcome "github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/history/linear"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// locker is eight clients that race for one table with expected TxIDs, each request sent once, and what they saw.
type locker struct {
	*realCluster
	print api.Fingerprint
	epoch uint64
	began time.Time

	mu   sync.Mutex
	ops  []linear.LockOp
	sent []uint64 // the segment that each write named, by its place in ops
}

const lockTable = "lock"

func (l *locker) note(op linear.LockOp, segment uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops, l.sent = append(l.ops, op), append(l.sent, segment)
}

// write sends one write that expects a TxID, and returns the head as it knows it now.
func (l *locker) write(client, n int, expected uint64) (head uint64) {
	segment := uint64(1 + client*1000 + n)
	h := api.GroupHeader{Table: lockTable, Fingerprint: l.print, Writes: []api.WriteMeta{
		{Rows: 1, Locked: true, Expected: expected, Key: fmt.Sprintf("%d-%d", client, n)},
	}}
	q := api.CommitRequest{Node: "locker", Epoch: l.epoch, Groups: []api.CommitGroup{group(h, segment)}}
	op := linear.LockOp{Kind: linear.LockedWrite, Expected: expected}
	op.Client, op.Called, op.Outcome = client, int64(time.Since(l.began)), outcome.Unknown
	attempt, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	answers, err := l.seq.Commit(attempt, api.Shard(lockTable, shardsOnFDB), &q)
	cancel()
	op.Returned = int64(time.Since(l.began))
	if err == nil && answers[0].Err == nil {
		switch o := answers[0].Writes[0]; o.Verdict {
		case api.Accepted:
			op.Outcome, op.TxID, head = outcome.Acknowledged, o.TxID, o.TxID
		case api.RefusedConflict:
			op.Outcome, op.TxID, head = outcome.Conflicted, o.Current, o.Current
		default:
			l.t.Errorf("write %d of client %d: %+v", n, client, o)
		}
	}
	l.note(op, segment)
	return head
}

// race has every client send its writes, at random one behind the others.
func (l *locker) race(t *testing.T, writes int) {
	const seed = 1
	var running sync.WaitGroup
	for client := range linear.ClientsMax {
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		running.Go(func() {
			head := uint64(0)
			for n := range writes {
				head = l.write(client, n, head-min(head, uint64(random.IntN(2)*random.IntN(2))))
			}
		})
	}
	for range 2 {
		l.fdb.Kill()
		l.fdb.Restart()
		l.kill()
		l.start()
		natstest.Eventually(t, "the store after a kill", func() bool {
			attempt, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := l.seq.Topology(attempt)
			return err == nil
		})
	}
	running.Wait()
}

// resolve reads what became of the writes of unknown outcome. Registering the node anew comes first: after it no late
// copy can commit.
func (l *locker) resolve() (ops []linear.LockOp, unknown int) {
	l.epoch = l.register("locker")
	stored := map[uint64]uint64{}
	for from := uint64(1); ; {
		a, err := l.seq.Log(l.ctx(), api.Shard(lockTable, shardsOnFDB), api.LogRequest{From: from, Limit: 1000})
		if err != nil {
			l.t.Fatal(err)
		}
		for i := range a.Records {
			if r := &a.Records[i]; r.Table == lockTable {
				stored[r.Segment.Sequence] = r.First
			}
		}
		if from += uint64(len(a.Records)); len(a.Records) == 0 {
			break
		}
	}
	for i, op := range l.ops {
		if op.Outcome == outcome.Unknown {
			unknown++
			txid, ok := stored[l.sent[i]]
			if !ok {
				continue
			}
			op.Outcome, op.TxID, op.Returned = outcome.Acknowledged, txid, linear.Open
		}
		ops = append(ops, op)
	}
	return ops, unknown
}

// TestI5_LockIsLinearizableOnFoundationDB: three sequencers, while fdbserver is killed and started again and
// sequencers are replaced.
func TestI5_LockIsLinearizableOnFoundationDB(t *testing.T) {
	l := &locker{realCluster: startReal(t, 3), began: time.Now()}
	l.print = l.grow(lockTable)
	l.epoch = l.register("locker")
	l.race(t, linear.OperationsMax/linear.ClientsMax)
	ops, unknown := l.resolve()
	if err := linear.Lock(0, ops, time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations, %d of them without an answer", len(ops), unknown)
}
