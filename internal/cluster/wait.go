package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Processes of a cluster start in any order, and a machine that comes up starts them all at once: what is not there yet
// is waited for, with a line in the log now and then.
const (
	waitPause = 250 * time.Millisecond
	waitLines = 40 // attempts between two lines
)

// errStopped says that a service was told to stop while it waited.
var errStopped = errors.New("told to stop while waiting")

// wait tries until it works, the error is another one than absence, or ctx ends.
func (e Env) wait(ctx context.Context, what string, away func(error) bool, try func() error) error {
	for attempt := 0; ; attempt++ {
		err := try()
		switch {
		case ctx.Err() != nil && err != nil:
			return errStopped
		case err == nil || e.Impatient || !away(err):
			return err
		}
		if attempt%waitLines == 0 {
			e.Logger.Warn("waiting for "+what, "error", err)
		}
		timer := time.NewTimer(waitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errStopped
		}
	}
}

// connect opens a connection to NATS, and waits for a server.
func (e Env) connect(ctx context.Context, name string) (nc *nats.Conn, err error) {
	err = e.wait(ctx, "NATS", bus.Away, func() (err error) {
		nc, err = e.Connect(name)
		return err
	})
	return nc, err
}

// WaitForNATS checks NATS' max_pending as bus.CheckMaxPending does, and waits for its monitoring address.
func (e Env) WaitForNATS(ctx context.Context, monitor string) error {
	err := e.wait(ctx, "NATS' monitoring address", bus.Away, func() error {
		return bus.CheckMaxPending(ctx, monitor, e.Logger)
	})
	return stopped(err)
}

// openObjects opens an object store, and waits for it.
func (e Env) openObjects(ctx context.Context, spec string, s3 objstore.S3Config) (store objstore.Store, err error) {
	err = e.wait(ctx, "the object store", objstore.Away, func() (err error) {
		store, err = objstore.Open(ctx, spec, s3)
		return err
	})
	return store, err
}

// stopped is nil for errStopped: whoever asked a service to stop wants no error.
func stopped(err error) error {
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}
