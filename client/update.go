package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/seed-551dd829/braid/internal/producer"
)

// Update reads, decides and writes until it wins: decide is called with the table's head (0: it has no transaction yet)
// and returns the rows to write, which are committed only if the head is still the same; else it is called again with
// the new one. So decide may read the table up to that TxID, and rely on what it has read. Rows that are nil end the
// update without a write; the result then has the head that was decided on.
//
// Its errors: what decide returns, as it is; the end of ctx, with ErrConflict if others have always been first; and those
// of Write but for conflicts. With ErrUnknownOutcome the last write may have won.
func (t *Table) Update(
	ctx context.Context, decide func(ctx context.Context, head uint64) (Rows, error), opts ...WriteOption,
) (Result, error) {
	head, err := t.Head(ctx)
	if err != nil {
		return Result{}, err
	}
	opts = append(opts[:len(opts):len(opts)], ExpectTxID(0))
	for attempt := 1; ; attempt++ {
		rows, err := decide(ctx, head)
		if err != nil || rows == nil {
			return Result{Table: t.name, TxID: head}, err
		}
		opts[len(opts)-1] = ExpectTxID(head)
		r, err := t.Write(ctx, rows, opts...)
		conflict := new(ConflictError)
		if !errors.As(err, &conflict) {
			return r, err
		}
		head = conflict.Current
		// Whoever has just lost waits a little, or many who want the same would only keep each other busy.
		if !t.c.pause(ctx, producer.Backoff(min(attempt, updatePauseMax), 0, rand.Float64())) {
			return Result{}, t.c.ended(ctx, err)
		}
	}
}

// updatePauseMax is the number of lost attempts from which on the pauses grow no more: about 30 ms.
const updatePauseMax = 4

// ended says why a wait was cut off.
func (c *Client) ended(ctx context.Context, last error) error {
	if err := c.isOpen(); err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), last)
}
