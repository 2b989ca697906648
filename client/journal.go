package client

import (
	"context"
	"errors"
	"fmt"
)

// journal keeps numbered writes on disk until they have their answers, over the end of the process. It numbers them
// itself, with a producer.Core that it restores from the disk, and sends them with Client.deliver. A client without a
// directory has none.
type journal interface {
	// put takes a write over: it is numbered and synced to disk when put returns nil, and the future is completed, with
	// an error of this package, when the cluster's answer is on disk too. While there is no room put waits, and is
	// ErrOverloaded if ctx ends before; then nothing of the write is left. w may be used later; its bytes do not change.
	put(ctx context.Context, w *write, f *Future) error
	// flush returns once everything that was put before it, in whichever process, has its answer, or ctx ends.
	flush(ctx context.Context) error
	// close stops sending. It completes the futures that are open with ErrKept and ErrClosed, and returns when nothing
	// runs any more. What has no answer stays on disk.
	close() error
}

// writeKept waits for the answer to a write that is on disk.
func (c *Client) writeKept(ctx context.Context, w *write) (Result, error) {
	f := newFuture(w.table)
	if err := c.journal.put(ctx, w, f); err != nil {
		return Result{}, err
	}
	r, err := f.Result(ctx)
	if err != nil && !f.isDone() {
		err = fmt.Errorf("%w: %w", ErrKept, err)
	}
	return r, err
}

// closeJournal closes it if there is one.
func (c *Client) closeJournal() error {
	if c.journal == nil {
		return nil
	}
	if err := c.journal.close(); err != nil {
		return fmt.Errorf("close the directory: %w", err)
	}
	return nil
}

// flushJournal waits for what is on disk, if there is a directory.
func (c *Client) flushJournal(ctx context.Context, err error) error {
	if c.journal == nil {
		return err
	}
	return errors.Join(err, c.journal.flush(ctx))
}
