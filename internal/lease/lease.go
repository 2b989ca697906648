// Package lease elects one of several instances without comparing clocks: a lease is a counter in the store that its
// holder bumps, and another instance takes it after it has seen it unchanged for long enough by its own clock. It does
// not promise that there is one holder at a time: a holder that was paused believes that it still is. What a holder
// does must be harmless when two do it.
package lease

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Lease is one instance's view of a lease. It is a state machine without a clock: time is passed in, this instance's
// own, from any origin.
type Lease struct {
	Self string
	TTL  time.Duration // how long a counter must stand still before another takes the lease
	seen api.Lease
	at   time.Duration // when seen was first seen; meaningful once look is set
	look bool
}

// May says, of a lease seen at now, whether this instance may bump it: it holds it, nobody does, or its holder has not
// bumped it for TTL of this instance's time.
func (l *Lease) May(now time.Duration, v api.Lease) bool {
	if !l.look || v != l.seen {
		l.look, l.seen, l.at = true, v, now
	}
	return v.Holder == l.Self || v.Holder == "" || now-l.at >= l.TTL
}
