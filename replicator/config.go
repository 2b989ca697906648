package replicator

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Config is what an operator may set. Zero values of what is not a path or a name are replaced by the defaults.
type Config struct {
	ID          string // of the node
	DataDir     string // tables and their checkpoint go below it
	SegmentsDir string // segment files, by segment.Path; shared with the primary of the same node

	// PollInterval is how often the sequencer is asked how far the logs go, without a hint; 0: 200 ms. Longer saves
	// requests and is how stale a node gets when hints are lost.
	PollInterval time.Duration
	// PieceRecords is the most records that are read and applied at once; 0: 1,024. It bounds memory.
	PieceRecords int
	// FetchParallel is how many segments are fetched at once; 0: 4.
	FetchParallel int
	// FetchTimeout is how long a source may send no byte of a segment before it is given up; 0: 15 s.
	FetchTimeout time.Duration
	// PieceWait is how long a piece of the log waits for a fetch that has begun, before the tables that need it are
	// left behind and the others go on; 0: 3 s.
	PieceWait time.Duration
	// RetryMax is the longest pause between attempts at something that failed; 0: 5 s.
	RetryMax time.Duration
	// CheckpointInterval is how often tables are synced; 0: 1 s. Longer means more log to read after a crash.
	CheckpointInterval time.Duration
	// RepairWait is how long a read waits for a damaged file to be fetched again before it is broken off; 0: 15 s.
	RepairWait time.Duration
	// ScrubBytes is how many bytes a second the background check of all files reads; 0: 4 MB, negative: it is off. More
	// finds damage sooner, and takes disk bandwidth from everything else.
	ScrubBytes int64
	// ScrubPause is the rest before each round of it; 0: 10 min.
	ScrubPause time.Duration
	// ReadsMax is the most HTTP reads at once, past which they are answered 429; 0: 64.
	ReadsMax int
	// WaitersMax is the most reads that wait for rows at once, past which they are answered 429; 0: 1,024.
	WaitersMax int
	// WaitMax is the longest that such a read waits, whatever it asks for; 0: 30 s.
	WaitMax time.Duration
	// WriteTimeout is how long a reader may take no bytes before it is given up; 0: 1 min.
	WriteTimeout time.Duration
}

func (c *Config) check() error {
	if err := api.CheckNode(c.ID); err != nil {
		return err
	}
	if c.DataDir == "" || c.SegmentsDir == "" {
		return errors.New("replicator: DataDir and SegmentsDir must be set")
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&c.PollInterval, 200 * time.Millisecond}, {&c.FetchTimeout, 15 * time.Second}, {&c.PieceWait, 3 * time.Second},
		{&c.RetryMax, 5 * time.Second}, {&c.CheckpointInterval, time.Second}, {&c.RepairWait, 15 * time.Second},
		{&c.WriteTimeout, time.Minute}, {&c.ScrubPause, 10 * time.Minute}, {&c.WaitMax, 30 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < 0 {
			return errors.New("replicator: durations must not be negative")
		}
	}
	if c.ScrubBytes == 0 {
		c.ScrubBytes = 4 << 20
	}
	for _, n := range []struct {
		value *int
		usual int
	}{{&c.PieceRecords, 1024}, {&c.FetchParallel, 4}, {&c.ReadsMax, 64}, {&c.WaitersMax, 1024}} {
		if *n.value == 0 {
			*n.value = n.usual
		}
		if *n.value < 0 {
			return errors.New("replicator: limits must not be negative")
		}
	}
	return nil
}

// Deps is what the process hands over.
type Deps struct {
	Conn      *nats.Conn // stays the caller's
	Subjects  api.Subjects
	FS        disk.FS
	Objects   objstore.Store
	Sequencer Sequencer
	Catalog   Catalog
	Shards    int
	// Topology says who else may have a segment, for repairs; nil: nobody.
	Topology func(context.Context) (api.Topology, error)
	// Trust and Token are for asking them: certificates, where they serve over TLS, and the bearer token, "" for none.
	Trust      *tls.Config
	Token      string
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics are shown
}

func (d *Deps) check() error {
	if d.FS == nil || d.Objects == nil || d.Sequencer == nil || d.Catalog == nil ||
		d.Shards < 1 || d.Logger == nil {
		return errors.New("replicator: FS, Objects, Sequencer, Catalog, Shards and Logger must be set")
	}
	if d.Topology == nil {
		d.Topology = func(context.Context) (api.Topology, error) { return api.Topology{}, nil }
	}
	return nil
}

// Sequencer reads commit logs: bus.Sequencer. Log may be called from many goroutines.
type Sequencer interface {
	// Heads is how far each shard's log goes.
	Heads(ctx context.Context) ([]uint64, error)
	Log(ctx context.Context, shard int, r api.LogRequest) (api.LogAnswer, error)
}

// Catalog knows schemas: catalog.Cache.
type Catalog interface {
	Schema(ctx context.Context, table string) (api.Schema, error)
	Refresh(ctx context.Context, table string) (api.Schema, error)
	Resolve(ctx context.Context, table string, f api.Fingerprint) (api.Schema, error)
}
