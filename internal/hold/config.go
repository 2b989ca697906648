package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Config is what an operator may set. Zero fields get their defaults.
type Config struct {
	ID string // of the node
	// SegmentsDir is the folder of the node's segment files; copies go below its folder .held.
	SegmentsDir string
	// BytesMax bounds what is held; 1 GB. Past it primaries are refused and look for another node. It has to cover what
	// the others commit while the object store is away.
	BytesMax int64
	// SegmentsMax bounds the number of segments that are held; 4,096.
	SegmentsMax int
	// LookAfter is how long a copy is left to its primary before the node looks what became of it; 5 s. A fence is
	// looked after at once.
	LookAfter time.Duration
	// LookMax is the longest pause between two looks; 1 min.
	LookMax time.Duration
}

func (c Config) withDefaults() Config {
	orDefault(&c.BytesMax, 1<<30)
	orDefault(&c.SegmentsMax, 4096)
	orDefault(&c.LookAfter, 5*time.Second)
	orDefault(&c.LookMax, time.Minute)
	return c
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c Config) check() error {
	if err := api.CheckNode(c.ID); err != nil {
		return fmt.Errorf("holder: %w", err)
	}
	if c.SegmentsDir == "" || c.BytesMax < 1 || c.SegmentsMax < 1 || c.LookAfter < 0 || c.LookMax < 0 {
		return errors.New("holder: SegmentsDir must be set, bounds and times must be positive")
	}
	return nil
}

// Sequencer is what a holder asks of the sequencer: bus.Sequencer. Every call is one attempt, bounded by its context.
type Sequencer interface {
	SegmentState(ctx context.Context, id api.SegmentID) (api.SegmentStateAnswer, error)
	Confirm(ctx context.Context, id api.SegmentID) (confirmed int, err error)
	Pending(ctx context.Context, r api.PendingRequest) (api.PendingAnswer, error)
}

// Deps is what the process hands over. All of it stays the process's to close.
type Deps struct {
	FS        disk.FS
	Objects   objstore.Store
	Sequencer Sequencer
	// Stands says whether a table of this node stands at a pending record; then the node looks into the object store for
	// those of fenced epochs. nil: never.
	Stands     func() bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

func (d Deps) check() error {
	if d.FS == nil || d.Objects == nil || d.Sequencer == nil || d.Logger == nil {
		return errors.New("holder: FS, Objects, Sequencer and Logger must be given")
	}
	return nil
}
