package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// link watches a connection to NATS that other things than heartbeats use: a primary may be heard over the one, and not
// be reached over the other, for minutes if a host on the way has vanished.
type link struct {
	nc     *nats.Conn
	silent atomic.Bool
}

// How often the server is asked for a sign, and for how long it may give none. A sign waits behind everything that is on
// its way to the node, so this is longer than a busy connection takes.
const (
	linkInterval = 500 * time.Millisecond
	linkMax      = 2 * time.Second
)

func newLink(nc *nats.Conn) *link { return &link{nc: nc} }

// unable says why nothing reaches the node over the connection; "" if it does.
func (l *link) unable() string {
	if l.silent.Load() {
		return "its connection to NATS is cut"
	}
	return ""
}

// run watches until ctx ends.
func (l *link) run(ctx context.Context) error {
	ticker := time.NewTicker(linkInterval)
	defer ticker.Stop()
	for {
		bound, cancel := context.WithTimeout(ctx, linkMax)
		err := l.nc.FlushWithContext(bound)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		l.silent.Store(err != nil)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
