package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

const (
	// followWait is how long a node is asked to wait for rows. After that another one may be asked, for a node can live
	// and yet get nothing new.
	followWait = 10 * time.Second
	// followPauseMax is the longest pause between attempts that fail.
	followPauseMax = time.Second
	// corruptMax is how many answers in a row may be wrong before Follow gives up: other nodes are asked meanwhile.
	corruptMax = 3
)

// errSilent gives a node up that is not heard any more, while others are.
var errSilent = errors.New("it is not heard any more")

// Follow yields the table's rows as they are committed, in the order of their TxIDs, each once, from a transaction on (0
// and 1 are the first), and does not end by itself unless ToTxID is given:
//
//	for row, err := range c.Table("cpu").Follow(ctx, last+1) {
//		if err != nil {
//			return err
//		}
//		// use the row
//		if row.Last() {
//			last = row.TxID() // all of it is done: go on from here another time
//		}
//	}
//
// It reads on through failovers: when a node dies, is cut off or falls silent, another one is asked for what comes next.
// Every answer must go on exactly where the one before ended, and what does not is never yielded: there is no gap and
// no row twice. While there is nothing new one node is asked to wait, so following costs next to nothing; a table that
// does not exist yet is waited for as well. A slow loop slows the reading down; memory is bounded by two batches of rows,
// of about 8 MB each.
//
// With FromNode, that node alone is asked, for as long as it takes.
//
// An error is the last thing that it yields: the end of ctx; ErrClosed; *InvalidError of the table's name; ErrNotFound:
// FromNode names no node; ErrUnauthorized; ErrCorrupt: several answers in a row were wrong. That nobody answers is none.
func (t *Table) Follow(ctx context.Context, fromTxID uint64, opts ...ReadOption) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		f := &follower{t: t}
		for _, opt := range opts {
			opt(&f.opts)
		}
		f.pos.next = max(fromTxID, 1)
		defer f.close()
		for {
			row, err := f.next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Row{}, fmt.Errorf("follow table %s at TxID %d: %w", t.name, f.pos.next, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// follower is one Follow on its way.
type follower struct {
	t    *Table
	opts ReadOptions
	pos  position

	answer *RowReader // at hand, nil between two
	end    context.CancelCauseFunc
	begun  uint64 // pos.next when it was asked for
	asked  time.Time

	node     string // that was asked last
	avoid    string // not to be asked next, if there is another
	failures int    // in a row
	corrupt  int    // in a row
}

// next returns the next row. Its errors are final.
func (f *follower) next(ctx context.Context) (Row, error) {
	for {
		if f.opts.To != 0 && f.pos.next > f.opts.To {
			return Row{}, io.EOF
		}
		err := f.ask(ctx)
		if err == nil {
			var row Row
			if row, err = f.answer.next(); err == nil {
				f.failures, f.corrupt = 0, 0
				return row, nil
			}
		}
		f.close()
		if err == io.EOF {
			err = f.ended(ctx)
		} else {
			err = f.broke(ctx, err)
		}
		if err != nil {
			return Row{}, err
		}
	}
}

// ask sees to it that there is an answer. It is io.EOF if that is over already.
func (f *follower) ask(ctx context.Context) error {
	if f.answer != nil {
		return nil
	}
	c := f.t.c
	f.begun, f.asked = f.pos.next, time.Now()
	if err := api.CheckTable(f.t.name); err != nil {
		return &InvalidError{Table: f.t.name, Message: err.Error()}
	}
	nodes, err := c.readersOf(ctx, f.opts.Node)
	if err != nil {
		return err
	}
	n := f.pick(nodes)
	f.node, f.avoid = n.ID, ""
	asking, end := context.WithCancelCause(ctx)
	f.end = end
	if f.opts.Node == "" && !c.spawn(func() { c.listen(asking, n.ID, end) }) {
		return ErrClosed
	}
	q := (&ReadOptions{From: f.pos.next, To: f.opts.To}).rowsQuery()
	q.Set("wait", c.opts.followWait.String())
	r, err := c.getFrom(asking, n, "/tables/"+url.PathEscape(f.t.name), q)
	switch {
	case errors.Is(err, ErrNotFound): // the table is not there yet, which is an answer without rows
		return io.EOF
	case err != nil:
		return err
	}
	stream, err := r.rows(f.t.name)
	if err != nil {
		return err
	}
	f.answer, err = c.newRowReader(asking, f.t.name, stream, &f.pos)
	return err
}

// pick stays with a node as long as it is good; else it takes the best of the others.
func (f *follower) pick(nodes []api.Node) api.Node {
	for _, n := range nodes {
		if n.ID == f.node && n.ID != f.avoid {
			return n
		}
	}
	return others(nodes, f.avoid)[0]
}

// listen ends a request to a node that is not heard any more: a host that vanishes leaves connections that say nothing.
func (c *Client) listen(ctx context.Context, node string, end context.CancelCauseFunc) {
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case now := <-every.C:
			if c.primaries.silent(node, now) {
				end(errSilent)
				return
			}
		case <-ctx.Done():
			return
		case <-c.closed:
			return
		}
	}
}

// silent says that a node is not heard any more, while others that can be read from are.
func (p *primaries) silent(node string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := p.view.Readers(now)
	return len(heard) > 0 && !slices.ContainsFunc(heard, func(n api.Node) bool { return n.ID == node })
}

// ended goes on behind an answer that was whole. One that has brought nothing is from a node that may get nothing new:
// another one is asked next, and not at once if the answer came before its time.
func (f *follower) ended(ctx context.Context) error {
	if f.pos.next != f.begun {
		return nil
	}
	f.avoid = f.node
	if time.Since(f.asked) >= f.t.c.opts.followWait/2 {
		f.failures = 0
		return nil
	}
	return f.rest(ctx)
}

// broke goes on behind an attempt that failed, unless that is final.
func (f *follower) broke(ctx context.Context, err error) error {
	c := f.t.c
	final := errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrNotFound)
	if errors.Is(err, ErrCorrupt) {
		f.corrupt++
		final = final || f.corrupt >= corruptMax
	}
	if ended := f.over(ctx); ended != nil {
		return ended
	}
	if final {
		return err
	}
	f.avoid = f.node
	if f.failures == 0 {
		c.opts.logger.Warn("a table is followed at another node", "table", f.t.name, "txid", f.pos.next,
			"node", f.node, "error", err)
	}
	if c.opts.onRetry != nil {
		c.opts.onRetry(err)
	}
	return f.rest(ctx)
}

// over is why nothing goes on any more, nil if it does.
func (f *follower) over(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return f.t.c.isOpen()
}

// rest waits the longer the more attempts have failed; the first time not at all, for there may be another node.
func (f *follower) rest(ctx context.Context) error {
	f.failures++
	if f.failures > 1 {
		f.t.c.pause(ctx, min(10*time.Millisecond<<min(f.failures, 10), followPauseMax))
	}
	return f.over(ctx)
}

// close ends the answer at hand.
func (f *follower) close() {
	if f.answer != nil {
		f.answer.Close() // of a body that was read or given up: it has nothing left to say
		f.answer = nil
	}
	if f.end != nil {
		f.end(nil)
		f.end = nil
	}
}
