package client

import (
	"context"
	"sync"
	"time"
)

// A gateway that is stopped, or cut off from NATS, still gets its share of the requests to the cluster's address, and
// nobody can tell its silence from slowness. So a write that has had no answer for gatewayPatience is sent again, under
// its identity, to whichever gateway NATS picks next. Where the whole cluster is slow that would only make it slower;
// hence a budget, as in "The Tail at Scale" (Dean and Barroso, 2013): of the writes that are answered, a small share may
// be sent again early. What is over it waits for the attempt's timeout.
const (
	gatewayPatience = 500 * time.Millisecond
	repeatShare     = 0.02 // of the answered writes
	repeatsMax      = 32   // that may be saved up
)

// repeats is that budget. It is safe for concurrent use.
type repeats struct {
	mu    sync.Mutex
	saved float64
}

func newRepeats() *repeats { return &repeats{saved: repeatsMax} }

// earn counts an answered write.
func (r *repeats) earn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved = min(r.saved+repeatShare, repeatsMax)
}

// spend says whether one more write may be sent again early.
func (r *repeats) spend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved < 1 {
		return false
	}
	r.saved--
	return true
}

// impatient returns a context for one attempt through a gateway, which ends early where the budget allows it. ended is
// called with the attempt's error.
func (c *Client) impatient(ctx context.Context) (_ context.Context, ended func(error)) {
	ctx, giveUp := context.WithCancel(ctx)
	timer := time.AfterFunc(gatewayPatience, func() {
		if c.repeats.spend() {
			giveUp()
		}
	})
	return ctx, func(err error) {
		timer.Stop()
		giveUp()
		if err == nil {
			c.repeats.earn()
		}
	}
}
