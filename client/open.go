package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// openWrites are the writes that have no answer yet, so that they can be waited for and cut off.
type openWrites struct {
	mu    sync.Mutex
	all   map[*openWrite]struct{}
	ended error // why no write may begin any more; nil as long as they may
}

type openWrite struct {
	cut  context.CancelCauseFunc
	done chan struct{}
}

// enter begins a write. The context that it returns ends with ctx, and when the client closes.
func (o *openWrites) enter(ctx context.Context) (context.Context, *openWrite, error) {
	ctx, cut := context.WithCancelCause(ctx)
	w := &openWrite{cut, make(chan struct{})}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended != nil {
		cut(o.ended)
		return nil, nil, o.ended
	}
	o.all[w] = struct{}{}
	return ctx, w, nil
}

func (o *openWrites) leave(w *openWrite) {
	o.mu.Lock()
	delete(o.all, w)
	o.mu.Unlock()
	w.cut(nil)
	close(w.done)
}

// end lets no write begin any more.
func (o *openWrites) end(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = why
	}
}

// cutAll makes every open write end now.
func (o *openWrites) cutAll(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for w := range o.all {
		w.cut(why)
	}
}

func (o *openWrites) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// wait returns once every write that is open now has ended.
func (o *openWrites) wait(ctx context.Context) error {
	o.mu.Lock()
	all := make([]*openWrite, 0, len(o.all))
	for w := range o.all {
		all = append(all, w)
	}
	o.mu.Unlock()
	for i, w := range all {
		select {
		case <-w.done:
		case <-ctx.Done():
			return fmt.Errorf("up to %d writes have no answer yet: %w", len(all)-i, context.Cause(ctx))
		}
	}
	return nil
}

// Flush returns once every row that was given to the client's writers, and every write that was begun before it, has its
// answer. What the answers are, whoever began the writes is told. With a directory it waits for what earlier processes
// have left there, too.
//
// Its errors: the end of ctx, and the failed flushes of writers that no function has been told of, each a *FlushError.
func (c *Client) Flush(ctx context.Context) error {
	var errs []error
	for _, w := range c.allWriters() {
		errs = append(errs, w.Flush(ctx))
	}
	errs = append(errs, c.open.wait(ctx))
	return c.flushJournal(ctx, errors.Join(errs...))
}

// Drain takes no more rows and writes (they get ErrClosed), waits until the open ones have their answers, and closes the
// client. If ctx ends before that, the client is closed at once, and the error says so. It has the errors of Flush.
func (c *Client) Drain(ctx context.Context) error {
	var errs []error
	for _, w := range c.allWriters() {
		errs = append(errs, w.Drain(ctx))
	}
	c.open.end(ErrClosed)
	return errors.Join(append(errs, c.Flush(ctx), c.Close())...)
}

// Close ends the client now: it takes no more writes, and open ones return with ErrClosed, and with ErrUnknownOutcome
// where they may have been stored. It returns when nothing of the client runs any more. See Drain.
//
// Its errors are failed flushes of writers that no function has been told of, each a *FlushError; among them are the
// rows that a writer still held, which are not stored.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.isClosed {
		c.mu.Unlock()
		return nil
	}
	c.isClosed = true
	c.mu.Unlock()
	c.open.end(ErrClosed)
	c.open.cutAll(ErrClosed)
	errs := []error{c.closeJournal()}
	close(c.closed)
	writers := c.allWriters()
	for _, w := range writers {
		w.end(ErrClosed)
		w.giveUp()
	}
	c.nc.Close()
	c.tasks.Wait()
	c.http.CloseIdleConnections()
	c.metrics.unregister()
	for _, w := range writers {
		errs = append(errs, w.pickUp())
	}
	return errors.Join(errs...)
}

// spawn runs a task that ends by itself once c.closed is closed. It refuses if that has happened.
func (c *Client) spawn(task func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return false
	}
	c.tasks.Go(task)
	return true
}
