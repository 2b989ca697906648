package client

import (
	"context"
	"fmt"
	"time"
)

// gathering is one table's rows in a Writer. What it holds is guarded by the writer's mu.
//
//	At ──▶ current ──(full, or due)──▶ on its way ──▶ an open write ──▶ answered
//
// One builder at a time is on its way from current to an open write, where it waits for memory and for its number;
// meanwhile the next fills, and At waits once that is full as well.
type gathering struct {
	w       *Writer
	table   *Table
	current *Builder
	free    *Builder // whose memory is used again
	bytes   int      // of current
	due     bool     // current is to be written, however little it has
	sending bool     // a builder is on its way; with Ordered, or not answered yet
	timer   *time.Timer

	given    uint64   // rows that were added
	handed   uint64   // of these, on their way or further
	answered uint64   // of these, all up to here have their answers
	flushes  []*flush // those above answered
}

// flush is one builder's rows.
type flush struct {
	upTo  uint64 // of given
	bytes int
	done  bool
}

// gatheringsMax is how many tables without a row are remembered.
const gatheringsMax = 1000

// gathering returns a table's. It is called with mu held.
func (w *Writer) gathering(table string) *gathering {
	g := w.tables[table]
	if g != nil {
		return g
	}
	if len(w.tables) >= gatheringsMax {
		for name, g := range w.tables {
			if g.given == g.answered {
				delete(w.tables, name)
			}
		}
	}
	g = &gathering{w: w, table: w.c.Table(table), current: NewRows()}
	g.timer = time.AfterFunc(time.Hour, g.expire)
	g.timer.Stop()
	w.tables[table] = g
	return g
}

// take adds a row, and waits for room.
func (w *Writer) take(ctx context.Context, r *WriterRow, timestamp int64) error {
	for size := r.size(); ; {
		w.mu.Lock()
		wait, err := w.tryTake(r, timestamp, size)
		w.mu.Unlock()
		if wait == nil {
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("%w: rows are given faster than they are written: %w", ErrOverloaded, context.Cause(ctx))
		}
	}
}

// tryTake adds a row, refuses it, or returns what to wait for. It is called with mu held.
func (w *Writer) tryTake(r *WriterRow, timestamp int64, size int) (wait <-chan struct{}, err error) {
	switch {
	case w.ended != nil:
		return nil, w.ended
	case len(w.errs) >= flushErrorsMax || w.errBytes >= flushErrorBytesMax:
		return nil, fmt.Errorf("%w: %d failed flushes have to be picked up with Flush first", ErrOverloaded, len(w.errs))
	case w.bytes > 0 && int64(w.bytes+size) > w.c.opts.memoryMax:
		for _, g := range w.tables {
			g.flush()
		}
		return w.waiting(), nil
	}
	g := w.gathering(r.table)
	if g.full() {
		return w.waiting(), nil // it is sending, or it would have been handed on
	}
	if err := g.current.fits(r.values); err != nil {
		return nil, &InvalidError{Table: r.table, Message: err.Error()}
	}
	if g.current.Len() == 0 {
		g.timer.Reset(w.opts.every)
	}
	g.current.add(r.values, timestamp)
	g.given++
	g.bytes += size
	w.bytes += size
	if g.full() {
		g.handOn()
	}
	return nil, nil
}

func (g *gathering) full() bool {
	return g.current.Len() >= g.w.opts.rows || g.bytes >= g.w.opts.bytes
}

// expire is the timer's: the oldest row has waited long enough.
func (g *gathering) expire() {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.flush()
}

// flush writes what is there, at once or when what is on its way is out of it. It is called with mu held, like the next.
func (g *gathering) flush() {
	g.due = true
	g.handOn()
}

// handOn sends current on its way unless another is.
func (g *gathering) handOn() {
	if g.sending || g.current.Len() == 0 || !g.due && !g.full() {
		return
	}
	b, f := g.current, &flush{upTo: g.given, bytes: g.bytes}
	if !g.w.c.spawn(func() { g.send(b, f) }) {
		return // the client is closed, and about to give it up
	}
	g.current, g.free = g.free, nil
	if g.current == nil {
		g.current = NewRows()
	}
	g.timer.Stop()
	g.sending, g.due, g.bytes, g.handed = true, false, 0, f.upTo
	g.flushes = append(g.flushes, f)
}

// send writes a builder's rows and waits for the answer.
func (g *gathering) send(b *Builder, f *flush) {
	ctx := context.Background() // it ends when the client closes
	future, failed := newFuture(g.table.name), &FlushError{Table: g.table.name, Count: b.Len(), Rows: b}
	write, err := g.table.newWrite(ctx, b, g.w.opts.write)
	if err == nil {
		failed.Rows = write.rows()
		err = g.w.c.startAsync(ctx, write, future)
	}
	if err == nil {
		g.accepted(b, f)
		_, err = future.Result(ctx)
	} else {
		if failed.Rows == b {
			failed.Rows = kept(b)
		}
		g.accepted(b, f)
	}
	if err != nil {
		failed.Err = err
		g.w.failed(failed)
	}
	g.answer(f)
}

// kept are a builder's rows that outlive it.
func kept(b *Builder) Rows {
	p, err := b.Payload()
	if err != nil {
		return unreadable{err}
	}
	return p
}

// unreadable are rows that cannot be encoded.
type unreadable struct{ err error }

func (u unreadable) Payload() (Payload, error) { return Payload{}, u.err }

// accepted: the rows are an open write's now, or a failure's, and the builder's memory is free.
func (g *gathering) accepted(b *Builder, f *flush) {
	b.Reset()
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.bytes -= f.bytes
	g.free = b
	if !g.w.opts.ordered {
		g.sending = false
		g.handOn()
	}
	g.w.wake()
}

// answer: whoever has to know of the flush's outcome does.
func (g *gathering) answer(f *flush) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	f.done = true
	for len(g.flushes) > 0 && g.flushes[0].done {
		g.answered, g.flushes = g.flushes[0].upTo, g.flushes[1:]
	}
	if g.w.opts.ordered {
		g.sending = false
		g.handOn()
	}
	g.w.wake()
}

// abandon gives up the rows that are not on their way, when the client has closed. It is called with mu held.
func (g *gathering) abandon() *FlushError {
	g.timer.Stop()
	if g.current.Len() == 0 {
		return nil
	}
	e := &FlushError{Table: g.table.name, Count: g.current.Len(), Rows: kept(g.current), Err: ErrClosed}
	f := &flush{upTo: g.given, done: true}
	g.flushes = append(g.flushes, f)
	if len(g.flushes) == 1 {
		g.answered, g.flushes = f.upTo, nil
	}
	g.w.bytes -= g.bytes
	g.current, g.bytes, g.handed = NewRows(), 0, f.upTo
	return e
}
