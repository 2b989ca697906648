package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Config is what an operator may set. Zero fields get their defaults.
type Config struct {
	ID    string
	Epoch uint64 // of this process, from its registration
	// FirstSequence numbers the first segment; 1. A node that is primary a second time in one epoch goes on where it
	// stopped (NextSequence): a number that was used again would name two segments by one name.
	FirstSequence uint64
	// SegmentsDir is the folder of all segment files; this process writes in SegmentsDir/ID/Epoch.
	SegmentsDir string
	// SealInterval is the least time between two segments that are not full; 10 ms. Too long is latency, too short
	// is many small objects, which cost money on S3.
	SealInterval time.Duration
	// WALSealInterval is the same for segments of durability `wal`, which wait for no object store; 5 ms. They are put
	// all the same, so shorter costs more there.
	WALSealInterval time.Duration
	// WALCopies is how many nodes have a segment synced, this one included, before its groups of durability `wal` are
	// committed; 2. With 1 the loss of this node's disk loses what is not in the object store yet.
	WALCopies int
	// Uploads is how many segments of durability `wal` are put at once; 8.
	Uploads int
	// BacklogSegments and BacklogBytes bound what was sealed at `wal` and waits for the object store; 1,024 and 256 MB.
	// Past them writers get 429. The more segments wait, the longer the interval until the next.
	BacklogSegments int
	BacklogBytes    int64
	// HoldAttempt bounds one attempt to bring a segment to another node; 3 s.
	HoldAttempt time.Duration
	// InFlight is how many segments are synced and put at once; 3. One leaves the disk idle between segments, many
	// make them small.
	InFlight int
	// AdmissionBytes bounds the frames that are admitted and not decided; 64 MB. Past it senders get 429. It has to
	// hold what arrives while a segment is made durable, or the primary idles.
	AdmissionBytes int64
	// SegmentBytesMax bounds a segment file; 16 MB. It holds at least one group of the largest size.
	SegmentBytesMax int64
	// ObjectPatience and CommitPatience are how long a sender waits for the object store and then for the sequencer
	// before it hears 503; 5 s each. Longer than a sender's own timeout is of no use.
	ObjectPatience time.Duration
	CommitPatience time.Duration
	// CommitAttempt bounds one request to the sequencer before it is sent again; 3 s. Shorter than a commit under
	// load takes would repeat requests that are on their way.
	CommitAttempt time.Duration
	// DrainFor bounds how long admitted groups are finished after Run's context has ended; 10 s.
	DrainFor time.Duration
}

// Sequencer is what a primary asks of the sequencer: one attempt, bounded by its context, with the errors of
// bus.Request. It is bus.Sequencer.
type Sequencer interface {
	Commit(ctx context.Context, shard int, r *api.CommitRequest) ([]api.GroupAnswer, error)
	// Confirm states that a segment is in the object store, and returns how many records became confirmed.
	Confirm(ctx context.Context, id api.SegmentID) (int, error)
}

// Holders are the other nodes, which may be asked to hold a segment.
type Holders interface {
	// Live returns those that live. It never waits, and the slice is not changed any more.
	Live() []string
	// Send brings a segment to a node: nil means that the node has it whole and synced.
	Send(ctx context.Context, node string, id api.SegmentID, r io.ReaderAt, size int64) error
	// Drop tells a node that it may let a segment go.
	Drop(ctx context.Context, node string, id api.SegmentID) error
}

// Catalog finds the schema that a fingerprint names; api.Invalid if there is none. It is catalog.Cache.
type Catalog interface {
	Resolve(ctx context.Context, table string, f api.Fingerprint) (api.Schema, error)
}

// Deps is what the process hands over. All of it stays the process's to close.
type Deps struct {
	Conn       *nats.Conn
	Subjects   api.Subjects
	FS         disk.FS
	Objects    objstore.Store
	Sequencer  Sequencer
	Catalog    Catalog
	Holders    Holders // nil: there are none, and `wal` with more than one copy is not to be had
	Shards     int     // of the cluster
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

func (c Config) withDefaults() Config {
	setDefault(&c.FirstSequence, 1)
	setDefault(&c.SealInterval, 10*time.Millisecond)
	setDefault(&c.WALSealInterval, 5*time.Millisecond)
	setDefault(&c.WALCopies, 2)
	setDefault(&c.Uploads, 8)
	setDefault(&c.BacklogSegments, 1024)
	setDefault(&c.BacklogBytes, 256<<20)
	setDefault(&c.HoldAttempt, 3*time.Second)
	setDefault(&c.InFlight, 3)
	setDefault(&c.AdmissionBytes, 64<<20)
	setDefault(&c.SegmentBytesMax, api.SegmentBytesMax)
	setDefault(&c.ObjectPatience, 5*time.Second)
	setDefault(&c.CommitPatience, 5*time.Second)
	setDefault(&c.CommitAttempt, 3*time.Second)
	setDefault(&c.DrainFor, 10*time.Second)
	return c
}

func setDefault[T int | int64 | uint64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c Config) check() error {
	const largest = api.GroupBytesMax + walFixedBytes + walEntryBytes
	if err := api.CheckNode(c.ID); err != nil {
		return err
	}
	switch {
	case c.Epoch == 0:
		return errors.New("the node has no epoch: register it first")
	case c.SegmentsDir == "":
		return errors.New("no folder for segments")
	case c.InFlight < 1:
		return fmt.Errorf("%d segments in flight, at least 1 is needed", c.InFlight)
	case c.WALCopies < 1 || c.WALCopies > walCopiesMax:
		return fmt.Errorf("%d copies of a segment at durability wal: between 1 and %d are possible", c.WALCopies, walCopiesMax)
	case c.Uploads < 1 || c.BacklogSegments < 2 || c.BacklogBytes < 1:
		return fmt.Errorf("%d uploads at once, a backlog of %d segments and %d bytes: too little",
			c.Uploads, c.BacklogSegments, c.BacklogBytes)
	case c.AdmissionBytes < api.GroupBytesMax:
		return fmt.Errorf("an admission bound of %d bytes is less than one group (%d)", c.AdmissionBytes, api.GroupBytesMax)
	case c.SegmentBytesMax < largest:
		return fmt.Errorf("a segment of %d bytes has no room for a group (%d)", c.SegmentBytesMax, largest)
	case min(c.SealInterval, c.WALSealInterval, c.HoldAttempt, c.ObjectPatience, c.CommitPatience, c.CommitAttempt, c.DrainFor) < 0:
		return errors.New("a duration is negative")
	}
	return nil
}

// walCopiesMax bounds the holders that a commit record names.
const walCopiesMax = 16

func (d Deps) check() error {
	switch {
	case d.Conn == nil || d.FS == nil || d.Objects == nil || d.Sequencer == nil || d.Catalog == nil || d.Logger == nil:
		return errors.New("a dependency is missing")
	case d.Shards < 1:
		return fmt.Errorf("%d shards", d.Shards)
	}
	return nil
}
