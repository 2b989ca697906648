package sequencer

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Config is what an operator may set. A zero field gets the value in its comment.
type Config struct {
	// ID names this instance among the living ones; a new one at every start. It must be given.
	ID string
	// TickInterval is how long a tick lasts: 1 s. Windows and idle times stretch with it.
	TickInterval time.Duration
	// LeaseTTL is how long the holder of the ticks may be silent before another instance takes over: 3 s. Below some
	// ticks it changes hands without need; nothing expires in the meantime.
	LeaseTTL time.Duration
	// KeyWindow is how long a plain key is remembered: 2 minutes.
	KeyWindow time.Duration
	// ProducerIdle is how long a producer is remembered that neither renews nor writes: 7 days. A client that
	// returns later cannot learn what became of what it had sent.
	ProducerIdle time.Duration
	// Patience is how long a request is tried again whose outcome is unknown, or while the store is away: 5 s.
	Patience time.Duration
	// QueueRequestsMax and QueueBytesMax bound what waits for a shard: 8,192 and 32 MB. Past them primaries are told
	// to slow down.
	QueueRequestsMax, QueueBytesMax int
	// GatherBytesMax bounds what is gathered into one transaction, by about the bytes that it writes: 2 MB. A store
	// has limits (kv.TransactionBytesMax, and 5 s on FoundationDB), and all requests in it wait for the last.
	GatherBytesMax int
	// Shards and Cluster are used when a cluster is created: the store's number of shards, a random id.
	Shards  int
	Cluster string
	// DrainFor bounds how long Run finishes what waits once it is asked to stop: 5 s.
	DrainFor time.Duration
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.TickInterval, time.Second)
	orDefault(&c.LeaseTTL, 3*time.Second)
	orDefault(&c.KeyWindow, 2*time.Minute)
	orDefault(&c.ProducerIdle, 7*24*time.Hour)
	orDefault(&c.Patience, 5*time.Second)
	orDefault(&c.QueueRequestsMax, 8192)
	orDefault(&c.QueueBytesMax, 32<<20)
	orDefault(&c.GatherBytesMax, 2<<20)
	orDefault(&c.DrainFor, 5*time.Second)
	return c
}

func (c Config) check() error {
	if err := api.CheckNode(c.ID); err != nil {
		return fmt.Errorf("sequencer: %w", err)
	}
	if c.TickInterval < time.Millisecond || c.LeaseTTL <= c.TickInterval || c.KeyWindow < c.TickInterval ||
		c.ProducerIdle < c.TickInterval {
		return fmt.Errorf("sequencer: tick %s, lease %s, key window %s, producer idle %s: a tick must be the shortest",
			c.TickInterval, c.LeaseTTL, c.KeyWindow, c.ProducerIdle)
	}
	if c.QueueRequestsMax < 1 || c.QueueBytesMax < 1 || c.GatherBytesMax < 1 ||
		c.GatherBytesMax > kv.TransactionBytesMax/2 || c.Shards < 0 || c.Shards > 1<<16 {
		return fmt.Errorf("sequencer: queue of %d requests and %d bytes, %d bytes gathered (at most %d), %d shards",
			c.QueueRequestsMax, c.QueueBytesMax, c.GatherBytesMax, kv.TransactionBytesMax/2, c.Shards)
	}
	return nil
}

// Deps is what the process hands over; all of it stays the process's.
type Deps struct {
	Conn       *nats.Conn
	Subjects   api.Subjects
	Store      kv.Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}
