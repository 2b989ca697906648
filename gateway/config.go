package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// Config is what an operator may set. Zero values mean the defaults, which the comments name.
type Config struct {
	// ID names the gateway to primaries, logs and metrics. Two gateways with one id count as one
	// sender, and then take more than their share of a primary.
	ID string
	// Durability of a write that does not say.
	Durability api.Durability
	// MergeInterval is how long a small write waits for company while a group of its table is on
	// its way (1 ms). Longer makes larger groups and later answers. Negative: no write waits.
	MergeInterval time.Duration
	// RequestTimeout is how long a write is pursued before its sender is told 503 (10 s). A client
	// that waits less than this learns nothing instead.
	RequestTimeout time.Duration
	// AttemptTimeout is how long one primary is waited for while it is heard (4 s). Too short sends
	// groups twice whenever the object store is slow; that is harmless, and a waste.
	AttemptTimeout time.Duration
	// OverloadWait is how long a group waits for room at a primary before its senders are told 429
	// (250 ms).
	OverloadWait time.Duration
	// NoPrimaryWait is how long a write waits while no primary is live at all (3 s): longer than
	// failover needs.
	NoPrimaryWait time.Duration
	// BodyTimeout is how long the body of an HTTP request may take to arrive (1 min). Longer lets slow senders hold
	// the room of others.
	BodyTimeout time.Duration
	// DrainFor is how long Run goes on with what it has taken after it was told to stop (10 s).
	DrainFor time.Duration
	// HeldBytesMax bounds the payloads and rows in memory (256 MB), HeldRequestsMax the requests
	// (65,536). Past either, a request is answered 429 at once.
	HeldBytesMax    int64
	HeldRequestsMax int
	// RequestBytesMax bounds one payload as it arrives (8 MB), UnpackedBytesMax the same unpacked
	// (64 MB).
	RequestBytesMax  int
	UnpackedBytesMax int
	// Workers is how many payloads are parsed at once (GOMAXPROCS).
	Workers int
}

// Sequencer is what the gateway asks of the sequencer; each call is one attempt, with the errors of
// bus.Request.
type Sequencer interface {
	RegisterProducer(context.Context, api.RegisterProducerRequest) (api.RegisterProducerAnswer, error)
	RenewProducer(context.Context, api.RenewProducerRequest) error
	Topology(context.Context) (api.Topology, error)
}

// Catalog is what the gateway needs of catalog.Cache. With a context that has ended, Schema answers
// from memory or not at all.
type Catalog interface {
	Schema(ctx context.Context, table string) (api.Schema, error)
	Refresh(ctx context.Context, table string) (api.Schema, error)
	Grow(ctx context.Context, table string, columns []api.Column) (api.Schema, error)
}

// Deps is what the process hands over.
type Deps struct {
	Conn *nats.Conn // stays the caller's, as Beats does
	// Beats hears heartbeats and topologies; nil is Conn. On one of its own no payload delays them: a primary that is
	// heard too late counts as silent, and what is under way there as lost.
	Beats      *nats.Conn
	Subjects   api.Subjects
	Sequencer  Sequencer
	Catalog    Catalog
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Transport carries reads to nodes; nil is http.DefaultTransport.
	Transport http.RoundTripper
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) setDefaults() {
	setDefault(&c.MergeInterval, time.Millisecond)
	setDefault(&c.RequestTimeout, 10*time.Second)
	setDefault(&c.AttemptTimeout, 4*time.Second)
	setDefault(&c.OverloadWait, 250*time.Millisecond)
	setDefault(&c.NoPrimaryWait, 3*time.Second)
	setDefault(&c.BodyTimeout, time.Minute)
	setDefault(&c.DrainFor, 10*time.Second)
	setDefault(&c.HeldBytesMax, 256<<20)
	setDefault(&c.HeldRequestsMax, 65536)
	setDefault(&c.RequestBytesMax, api.RequestBytesMax)
	setDefault(&c.UnpackedBytesMax, api.UnpackedBytesMax)
	setDefault(&c.Workers, runtime.GOMAXPROCS(0))
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("gateway: no id")
	case c.Durability != api.DurabilityObject && c.Durability != api.DurabilityWAL:
		return fmt.Errorf("gateway: unknown durability %s", c.Durability)
	case min(c.RequestTimeout, c.AttemptTimeout, c.OverloadWait, c.NoPrimaryWait, c.BodyTimeout,
		c.DrainFor) < 0:
		return errors.New("gateway: a timeout is negative")
	case c.HeldBytesMax < int64(c.RequestBytesMax) || c.HeldRequestsMax < 1:
		return fmt.Errorf("gateway: %d bytes held at most are fewer than one request of %d may have",
			c.HeldBytesMax, c.RequestBytesMax)
	case c.Workers < 1 || c.RequestBytesMax < 1 || c.UnpackedBytesMax < 1:
		return errors.New("gateway: workers and sizes must be positive")
	}
	return nil
}

func (d *Deps) check() error {
	if d.Conn == nil || d.Sequencer == nil || d.Catalog == nil || d.Logger == nil {
		return errors.New("gateway: Deps needs Conn, Sequencer, Catalog and Logger")
	}
	return nil
}
