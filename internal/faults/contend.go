//go:build unix

package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/history/linear"
)

// linearOps are the short histories that package linear judges.
type linearOps struct {
	locks    []lockOp
	registry []linear.RegistryOp
}

// lockOp is an operation on the contended table, and the content of its rows, if it is a write.
type lockOp struct {
	linear.LockOp
	content uint64
}

// readBack settles what became of writes without an answer: nobody writes any more, so what is not there never will be.
func readBack(ops []lockOp, seen []history.Seen) (settled []linear.LockOp) {
	txids := make(map[uint64]uint64, len(seen))
	for _, s := range seen {
		txids[s.Content] = s.TxID
	}
	for _, o := range ops {
		txid, stored := txids[o.content]
		switch {
		case o.Outcome != history.Unknown:
		case !stored:
			continue
		default:
			o.Outcome, o.TxID, o.Returned = history.Acknowledged, txid, linear.Open
		}
		settled = append(settled, o.LockOp)
	}
	return settled
}

// The sizes of the short histories: all clients act at once, in bursts over the whole run, the last of them when the
// cluster is healed. One place is left for the last read of the head.
const (
	lockers       = linear.ClientsMax - 1
	lockBursts    = 7
	lockBurst     = 4
	registrars    = 4
	registerBurst = 6
)

// contend runs the clients of the short histories.
func (w *workload) contend(ctx context.Context) error {
	var all errgroup.Group
	for i := range lockers {
		all.Go(func() error { return w.locker(ctx, i) })
	}
	for i := range registrars {
		all.Go(func() error { return w.registrar(ctx, i) })
	}
	return all.Wait()
}

// bursts calls f in bursts that all clients begin at about the same time.
func (w *workload) bursts(ctx context.Context, size int, f func() error) error {
	every := w.plan.duration() / lockBursts
	for n := range lockBursts {
		at := time.Duration(n)*every - time.Duration(w.events.Now()) + w.started
		if n == lockBursts-1 {
			if err := w.awaitHealed(ctx); err != nil {
				return nil
			}
		} else {
			wait(ctx, at)
		}
		for range size {
			if ctx.Err() != nil {
				return nil
			}
			if err := f(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *workload) awaitHealed(ctx context.Context) error {
	select {
	case <-w.healing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// locker appends, writes with the head that it has heard of last, and reads the head.
func (w *workload) locker(ctx context.Context, id int) error {
	r := mathrand.New(mathrand.NewPCG(w.plan.Seed, 3000+uint64(id)))
	c := w.clients[id%len(w.clients)]
	var head uint64
	return w.bursts(ctx, lockBurst, func() error {
		// Sometimes the caller gives up early, and its write is there or not, now or later.
		limit := pick(r, 200*time.Millisecond, 2*time.Second, w.opts.Patience)
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var op lockOp
		op.Kind = pick(r, linear.Append, linear.LockedWrite, linear.LockedWrite, linear.ReadHead)
		op.Client, op.Called = id, w.events.Now()
		var o outcome
		var err error
		if op.Kind == linear.ReadHead {
			o, err = w.readHead(ctx, c)
		} else {
			op.Expected = head
			o, err = w.appendOne(ctx, c, r, &op)
		}
		op.Outcome, op.TxID, op.Returned = o.Outcome, o.txid, w.events.Now()
		if o.Outcome == history.Acknowledged || o.Outcome == history.Conflicted {
			head = o.txid
		}
		if o.Outcome != 0 {
			w.mu.Lock()
			w.ops.locks = append(w.ops.locks, op)
			w.mu.Unlock()
		}
		return err
	})
}

// readHead is dropped from the history if it has no answer.
func (w *workload) readHead(ctx context.Context, c *client.Client) (outcome, error) {
	heads, err := c.Heads(ctx)
	if err != nil {
		_, err = judgeAnswer(0, err)
		return outcome{}, err
	}
	return outcome{history.Acknowledged, heads[contendedTable]}, nil
}

func (w *workload) appendOne(
	ctx context.Context, c *client.Client, r *mathrand.Rand, op *lockOp,
) (outcome, error) {
	rows := w.maker.make(r, contendedTable)
	op.content = rows.content
	var expected *uint64
	if op.Kind == linear.LockedWrite {
		expected = &op.Expected
	}
	i := w.records.begin(contendedTable, rows, expected)
	var o outcome
	txid, err := throughGateway(c)(ctx, contendedTable, rows, expected)
	o, err = judgeAnswer(txid, err)
	w.records.end(i, o)
	return o, err
}

// registrar registers producers under ids that others register, too, and renews what it was given. Each request is
// sent once: a repeat could have its effect twice, which is allowed.
func (w *workload) registrar(ctx context.Context, id int) error {
	r := mathrand.New(mathrand.NewPCG(w.plan.Seed, 4000+uint64(id)))
	sequencer := bus.NewSequencer(w.conns[id%len(w.conns)], api.Subjects{})
	var mine []linear.RegistryOp // registrations that were answered
	return w.bursts(ctx, registerBurst, func() error {
		ctx, cancel := context.WithTimeout(ctx, bareAttempt)
		defer cancel()
		op := linear.RegistryOp{Producer: pick(r, "contended-1", "contended-2")}
		op.Client, op.Called = id, w.events.Now()
		var err error
		if len(mine) == 0 || r.IntN(3) == 0 {
			var answer api.RegisterProducerAnswer
			answer, err = sequencer.RegisterProducer(ctx,
				api.RegisterProducerRequest{ID: op.Producer, Attempt: rand.Text()})
			op.Epoch = answer.Epoch
		} else {
			of := mine[max(0, len(mine)-1-r.IntN(3))]
			op.Renew, op.Producer, op.Epoch = true, of.Producer, of.Epoch
			err = sequencer.RenewProducer(ctx, api.RenewProducerRequest{ID: op.Producer, Epoch: op.Epoch})
		}
		op.Returned = w.events.Now()
		switch {
		case err == nil:
			op.Outcome = history.Acknowledged
		case op.Renew && api.IsName(err, api.Fenced):
			op.Outcome = history.Conflicted
		case errors.Is(err, bus.ErrUnknown), api.IsName(err, api.Unavailable):
			op.Outcome = history.Unknown
		case errors.Is(err, bus.ErrNoResponders), api.IsName(err, api.Overloaded):
			return nil // no effect
		default:
			return fmt.Errorf("registrar: nothing in the scenario gives a reason for: %w", err)
		}
		if op.Outcome == history.Acknowledged && !op.Renew {
			mine = append(mine, op)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ops.registry = append(w.ops.registry, op)
		return nil
	})
}
