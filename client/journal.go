package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/outbox"
)

// journal keeps numbered writes in the client's directory until they have their answers, over the end of the process,
// and delivers them. What it does is internal/outbox; this is its connection to a client.
type journal struct {
	c    *Client
	box  *outbox.Box
	stop context.CancelFunc
	done chan struct{} // closed once the box has ended by itself or was stopped
}

// Undelivered is a write from the directory that cannot be delivered: it was refused, or the cluster has forgotten
// what became of it (ErrUnknownOutcome, ErrExpired).
type Undelivered struct {
	Table    string
	Rows     Payload
	Taken    time.Time // when it was written
	Expected *uint64   // TxID, if one was expected
	Err      error     // one of those of Table.Write
}

// openJournal takes the directory and begins to deliver what is in it.
func (c *Client) openJournal(fs disk.FS) error {
	deps := outbox.Deps{
		FS: fs, Logger: c.opts.logger, Carrier: carrier{c}, NewID: rand.Text,
		Register: func(ctx context.Context, r api.RegisterProducerRequest) (api.RegisterProducerAnswer, error) {
			ctx, cancel := context.WithTimeout(ctx, c.opts.attemptTimeout)
			defer cancel()
			return c.sequencer.RegisterProducer(ctx, r)
		},
		Renew: func(ctx context.Context, r api.RenewProducerRequest) error {
			ctx, cancel := context.WithTimeout(ctx, c.opts.attemptTimeout)
			defer cancel()
			return c.sequencer.RenewProducer(ctx, r)
		},
	}
	if c.metrics != nil {
		deps.Ended = c.metrics.delivered
	}
	if handler := c.opts.onUndelivered; handler != nil {
		deps.Report = func(ctx context.Context, u outbox.Undelivered) error { return handler(ctx, undelivered(u)) }
	}
	ctx, stop := context.WithCancel(context.Background())
	deps.Host = outbox.Host{Now: time.Now, Await: await, Go: func(f func(context.Context)) { go f(ctx) }}
	box, err := outbox.Open(outbox.Config{
		Dir: c.opts.directory, Producer: c.opts.producer, BytesMax: c.opts.directoryMax}, deps)
	if err != nil {
		stop()
		return ofDirectory(err)
	}
	j := &journal{c: c, box: box, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(j.done)
		_ = box.Run(ctx) // whoever writes is told why it has ended, and it is logged
	}()
	c.journal = j
	return c.metrics.watch(box)
}

// await is how a box waits in a real process.
func await(ctx context.Context, changed <-chan struct{}, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// put takes a write over: it is synced to disk when put returns nil, and the future is completed when the cluster's
// answer is on disk, too. taken is asked of a refusal: whether somebody has it, and so the rows.
func (j *journal) put(ctx context.Context, w *write, f *Future, taken func() bool) error {
	err := j.add(ctx, w, f, taken)
	if err != nil {
		j.c.metrics.refused(err)
	}
	return err
}

func (j *journal) add(ctx context.Context, w *write, f *Future, taken func() bool) error {
	rows, err := j.c.Table(w.table).checkRows(w.payload)
	if err != nil {
		return err
	}
	ctx, open, err := j.c.open.enter(ctx)
	if err != nil {
		return err
	}
	defer j.c.open.leave(open)
	kept := outbox.Write{Table: w.table, Durability: string(w.opts.durability), ContentType: string(w.payload.Type),
		Encoding: w.payload.Encoding, Payload: w.payload.Data}
	if w.opts.expected != nil {
		kept.Locked, kept.Expected = true, *w.opts.expected
	}
	err = j.box.Add(ctx, kept, func(o outbox.Outcome, err error) bool {
		return j.told(f, o, rows, err, taken)
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrClosed) {
		return cause
	}
	return ofDirectory(err)
}

// told completes a future. It reports whether the application has a refused write back by that.
func (j *journal) told(f *Future, o outbox.Outcome, rows int, err error, taken func() bool) bool {
	switch {
	case err != nil:
		f.complete(Result{}, fmt.Errorf("%w: %w", ErrKept, ofDirectory(err)))
		return false
	case o.Refusal == nil:
		f.complete(Result{Table: f.table, TxID: o.TxID, Rows: max(rows, o.Rows)}, nil)
		return false
	}
	err = refusedWrite(f.table, o.Refusal)
	had := taken()
	f.complete(Result{}, err)
	return had
}

// flush returns once everything that was put before it, in whichever process, has its answer, or ctx ends.
func (j *journal) flush(ctx context.Context) error { return ofDirectory(j.box.Delivered(ctx)) }

// close stops sending, completes the futures that are open, and returns when nothing runs any more. What has no answer
// stays on disk.
func (j *journal) close() error {
	j.stop()
	<-j.done
	if err := j.box.Close(); err != nil {
		return fmt.Errorf("close the directory: %w", err)
	}
	return nil
}

// writeKept waits for the answer to a write that is on disk.
func (c *Client) writeKept(ctx context.Context, w *write) (Result, error) {
	f := newFuture(w.table)
	// Whoever waits gets a refusal, and has the rows. Once he has given up, nobody has them: they are reported.
	waits := make(chan struct{}, 1)
	waits <- struct{}{}
	taken := func() bool {
		select {
		case <-waits:
			return true
		default:
			return false
		}
	}
	if err := c.journal.put(ctx, w, f, taken); err != nil {
		return Result{}, err
	}
	r, err := f.Result(ctx)
	if err != nil && !f.isDone() {
		if !taken() { // the refusal was quicker
			return f.Result(context.WithoutCancel(ctx))
		}
		err = fmt.Errorf("%w: %w", ErrKept, err)
	}
	return r, err
}

// closeJournal closes it if there is one.
func (c *Client) closeJournal() error {
	if c.journal == nil {
		return nil
	}
	return c.journal.close()
}

// flushJournal waits for what is on disk, if there is a directory.
func (c *Client) flushJournal(ctx context.Context, err error) error {
	if c.journal == nil {
		return err
	}
	return errors.Join(err, c.journal.flush(ctx))
}

func undelivered(u outbox.Undelivered) Undelivered {
	w := u.Write
	out := Undelivered{Table: w.Table, Taken: time.Unix(0, w.Time), Err: refusedWrite(w.Table, &u.Refusal),
		Rows: Payload{Type: MediaType(w.ContentType), Encoding: w.Encoding, Data: w.Payload}}
	if w.Locked {
		out.Expected = &w.Expected
	}
	return out
}

// refusedWrite is an error of this package.
func refusedWrite(table string, r *outbox.Refusal) error {
	err := r.Err(table)
	if r.Unknown {
		err = fmt.Errorf("%w: %w", bus.ErrUnknown, err)
	}
	return public(err)
}

// ofDirectory turns an error of the outbox into one of this package.
func ofDirectory(err error) error {
	kind := ErrDirectory
	switch {
	case err == nil:
		return nil
	case errors.Is(err, outbox.ErrFull):
		kind = ErrOverloaded
	case errors.Is(err, outbox.ErrFenced):
		kind = ErrFenced
	case errors.Is(err, outbox.ErrClosed):
		kind = ErrClosed
	case errors.Is(err, outbox.ErrInUse):
		return fmt.Errorf("%w: %w: %w", ErrDirectory, ErrDirectoryInUse, err)
	case errors.Is(err, outbox.ErrBroken):
		return fmt.Errorf("%w: %w: %w", ErrDirectory, ErrUnknownOutcome, err)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// checkRows refuses rows at once that would be refused later, when nobody waits any more, as far as that does not take
// the table's schema.
func (t *Table) checkRows(p Payload) (rows int, err error) {
	if p.Encoding != "" {
		return 0, nil // a gateway unpacks it
	}
	batch, err := t.parse(p, 0)
	if err != nil {
		return 0, err
	}
	defer batch.Release()
	if batch.Rows() == 0 {
		return 0, &InvalidError{Table: t.name, Message: "no rows"}
	}
	return batch.Rows(), nil
}
