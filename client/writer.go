package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Writer gathers rows that come one at a time, of any tables, and writes them when there are enough, or when they have
// waited long enough:
//
//	w := c.Writer(client.FlushRows(5000), client.FlushEvery(time.Second))
//	err := w.Table("cpu").Symbol("host", "a").Float64("usage", 0.5).At(ctx, time.Now())
//	…
//	err = w.Flush(ctx)
//
// Each flush of a table is one write, exactly once like every other. A failed one is told to OnFlushError's function, or
// else returned by Flush, with its rows; none is dropped. Memory is bounded: past it At waits.
//
// Flushes of one table are open at once and may be stored in any order, unless Ordered is given. A Writer is safe for
// concurrent use. It ends with its client, or with Drain; Client.Flush and Client.Drain flush it, too.
type Writer struct {
	c    *Client
	opts writerOptions
	rows sync.Pool // of *WriterRow

	mu       sync.Mutex // guards what follows, and the gatherings
	tables   map[string]*gathering
	bytes    int // of all rows that no open write has yet
	moved    chan struct{}
	errs     []error // not picked up yet; *FlushError
	errBytes int
	ended    error // why no row is taken any more
}

type writerOptions struct {
	rows, bytes int
	every       time.Duration
	ordered     bool
	write       []WriteOption
	onError     func(*FlushError)
}

// WriterOption configures a Writer.
type WriterOption func(*writerOptions)

// FlushRows flushes a table that has so many rows; 10,000 if not given.
func FlushRows(n int) WriterOption { return func(o *writerOptions) { o.rows = n } }

// FlushBytes flushes a table whose rows take about so many bytes; 1 MB if not given. More than 2 MB comes near what one
// write may have.
func FlushBytes(n int) WriterOption { return func(o *writerOptions) { o.bytes = n } }

// FlushEvery flushes a table whose oldest row has waited so long; a second if not given.
func FlushEvery(d time.Duration) WriterOption { return func(o *writerOptions) { o.every = d } }

// Ordered stores the rows of a table in the order in which they were given: a flush waits for the answer to the one
// before.
func Ordered() WriterOption { return func(o *writerOptions) { o.ordered = true } }

// WriteWith gives the options of every write that the writer makes.
func WriteWith(opts ...WriteOption) WriterOption { return func(o *writerOptions) { o.write = opts } }

// OnFlushError calls f with each failed flush, instead of returning it from Flush. f is called on the client's goroutines
// and must not block for long.
func OnFlushError(f func(*FlushError)) WriterOption {
	return func(o *writerOptions) { o.onError = f }
}

// FlushError is a flush that failed.
type FlushError struct {
	Table string
	Count int   // rows
	Rows  Rows  // they, to be kept elsewhere, or to be written again where Err says that nothing is stored
	Err   error // one of those of Table.Write
}

func (e *FlushError) Error() string {
	return fmt.Sprintf("flush %d rows of table %s: %v", e.Count, e.Table, e.Err)
}

// Unwrap returns the reason.
func (e *FlushError) Unwrap() error { return e.Err }

// Past these, failed flushes that nobody has picked up keep At from taking more rows.
const (
	flushErrorsMax     = 100
	flushErrorBytesMax = 16 << 20
)

// Writer makes a writer. It panics if an option is not positive.
func (c *Client) Writer(opts ...WriterOption) *Writer {
	w := &Writer{c: c, tables: make(map[string]*gathering),
		opts: writerOptions{rows: 10_000, bytes: 1 << 20, every: time.Second}}
	w.rows.New = func() any { return new(WriterRow) }
	for _, opt := range opts {
		opt(&w.opts)
	}
	if w.opts.rows < 1 || w.opts.bytes < 1 || w.opts.every <= 0 {
		panic(fmt.Sprintf("client: a writer that flushes at %d rows, %d bytes or every %s", w.opts.rows, w.opts.bytes,
			w.opts.every))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		w.ended = ErrClosed
	} else {
		c.writers[w] = struct{}{}
	}
	return w
}

// Flush writes what was given before it and returns once all of that has its answer. It returns the failed flushes that
// no function has been told of, joined, each a *FlushError. If ctx ends first it returns that, and the flushes go on.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	targets := make(map[*gathering]uint64, len(w.tables))
	for _, g := range w.tables {
		targets[g] = g.given
		g.flush()
	}
	w.mu.Unlock()
	for g, target := range targets {
		if err := w.await(ctx, func() bool {
			if g.handed < target {
				g.flush()
			}
			return g.answered >= target
		}); err != nil {
			return fmt.Errorf("flush table %s: not answered yet: %w", g.table.name, err)
		}
	}
	return w.pickUp()
}

// Drain takes no more rows (they get ErrClosed), flushes, and ends the writer. If ctx ends first, the rows that are not
// on their way are given up, each table's as a *FlushError of ErrClosed.
func (w *Writer) Drain(ctx context.Context) error {
	w.end(fmt.Errorf("the writer is drained: %w", ErrClosed))
	err := w.Flush(ctx)
	w.c.mu.Lock()
	delete(w.c.writers, w)
	w.c.mu.Unlock()
	if err == nil {
		return nil
	}
	w.giveUp()
	return errors.Join(err, w.pickUp())
}

// end takes no more rows.
func (w *Writer) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended == nil {
		w.ended = why
	}
	w.wake()
}

// giveUp reports what is gathered and not on its way like a failed flush.
func (w *Writer) giveUp() {
	w.mu.Lock()
	var lost []*FlushError
	for _, g := range w.tables {
		if e := g.abandon(); e != nil {
			lost = append(lost, e)
		}
	}
	w.wake()
	w.mu.Unlock()
	for _, e := range lost {
		w.failed(e)
	}
}

func (c *Client) allWriters() []*Writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.writers))
}

// pickUp returns the failed flushes that nobody has been told of.
func (w *Writer) pickUp() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := errors.Join(w.errs...)
	w.errs, w.errBytes = nil, 0
	w.wake()
	return err
}

func (w *Writer) failed(e *FlushError) {
	if w.opts.onError != nil {
		w.opts.onError(e)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, e)
	if p, err := e.Rows.Payload(); err == nil {
		w.errBytes += len(p.Data)
	}
}

// await waits until ok, which is called with mu held each time that something has moved.
func (w *Writer) await(ctx context.Context, ok func() bool) error {
	for {
		w.mu.Lock()
		if ok() {
			w.mu.Unlock()
			return nil
		}
		moved := w.waiting()
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// waiting is closed when something moves. It is called with mu held, like wake.
func (w *Writer) waiting() <-chan struct{} {
	if w.moved == nil {
		w.moved = make(chan struct{})
	}
	return w.moved
}

func (w *Writer) wake() {
	if w.moved != nil {
		close(w.moved)
		w.moved = nil
	}
}
