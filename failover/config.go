// Package failover declares dead what is silent and cannot be reached, by a transaction that fences it, puts the best
// replica in a dead primary's place, and publishes the topology. Any number of instances watch; the one that holds the
// lease acts.
//
// The core decides (core.go and the files beside it): heartbeats, topologies and answers go in with the time at which
// they arrived, actions come out. The shell (service.go) speaks NATS. It does not promise that a node which is declared
// dead is dead, nor that one instance acts at a time: every action is one transaction, conditional on the topology that
// it was decided on, and the epoch that it fences can commit nothing afterwards, whatever its process believes.
//
// The way back needs no failover: a node that has caught up says itself that it is live, and the same transaction makes
// its stand-in a replica (sequencer).
package failover

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// Config is what an operator may set. A zero field gets the value in its comment.
type Config struct {
	// ID names this instance as a holder of the lease. It must be given, and differ from those of the other instances.
	ID string
	// FailureTimeout is how long a node may be silent before it is declared dead: 1.5 s. Below a few heartbeats a busy
	// machine or a short pause of the network costs a failover; above, writers that use no other primary wait longer.
	FailureTimeout time.Duration
	// AskTimeout bounds how long a silent node has to answer when it is asked directly: a third of FailureTimeout. It
	// is asked that long before its time is over, so that asking costs no time.
	AskTimeout time.Duration
	// PauseMax is how long this instance's own loop may stand still before it concludes that it was paused itself, and
	// counts everybody's silence anew: a third of FailureTimeout.
	PauseMax time.Duration
	// LeaseInterval is how often the lease is bumped: 300 ms. Each is a small transaction.
	LeaseInterval time.Duration
	// LeaseTTL is how long the lease stands still before another instance takes it: 1.5 s.
	LeaseTTL time.Duration
	// PublishInterval is how often the topology is published for whoever missed it: 5 s.
	PublishInterval time.Duration
	// RequestTimeout bounds a request to the sequencer: 2 s.
	RequestTimeout time.Duration
}

func orDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.FailureTimeout, 1500*time.Millisecond)
	orDefault(&c.AskTimeout, c.FailureTimeout/3)
	orDefault(&c.PauseMax, c.FailureTimeout/3)
	orDefault(&c.LeaseInterval, 300*time.Millisecond)
	orDefault(&c.LeaseTTL, 1500*time.Millisecond)
	orDefault(&c.PublishInterval, 5*time.Second)
	orDefault(&c.RequestTimeout, 2*time.Second)
	return c
}

func (c Config) check() error {
	if err := api.CheckProducer(c.ID); err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	if c.FailureTimeout < 3*heartbeatInterval || c.AskTimeout <= 0 || c.AskTimeout >= c.FailureTimeout ||
		c.PauseMax <= tickInterval {
		return fmt.Errorf("failover: failure timeout %s, ask timeout %s, pause %s: a node beats every %s and needs three",
			c.FailureTimeout, c.AskTimeout, c.PauseMax, heartbeatInterval)
	}
	if c.LeaseInterval <= 0 || c.LeaseTTL < 2*c.LeaseInterval || c.PublishInterval <= 0 || c.RequestTimeout <= 0 {
		return fmt.Errorf("failover: lease of %s every %s, publishing every %s, requests of %s: a lease must outlast two "+
			"bumps", c.LeaseTTL, c.LeaseInterval, c.PublishInterval, c.RequestTimeout)
	}
	return nil
}

const (
	heartbeatInterval = 200 * time.Millisecond // of nodes
	tickInterval      = 50 * time.Millisecond  // of this instance's loop
	recentMax         = 3 * heartbeatInterval  // a replica that stands in was heard in this time
	topologyInterval  = 2 * time.Second        // how often the topology is read, as publications may be lost
	againInterval     = 250 * time.Millisecond // and what has failed, or looks stale, is tried again
)

// Deps is what the process hands over; all of it stays the process's.
type Deps struct {
	Conn       *nats.Conn
	Subjects   api.Subjects
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}
