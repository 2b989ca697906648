package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/segment"
)

// Bounds of what goes on at once.
const (
	piecesMax  = 64 // pieces that are being written; a piece has at most 1 MB
	openMax    = 64 // segments that are arriving
	looksMax   = 4
	quietMax   = 30 * time.Second
	partSuffix = ".part"
)

// Replier answers a request; the first answer counts. It is a bus.Incoming.
type Replier interface {
	ReplyJSON(v any, hdr nats.Header) error
	ReplyError(e *api.Error) error
}

// Keeper is a node's holder without NATS and timers: a Service runs it on goroutines, the simulator on its own.
type Keeper struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	now     func() time.Duration
	spawn   func(func(ctx context.Context)) // runs a function beside what runs now

	mu      sync.Mutex // guards what follows; nothing that blocks happens under it
	core    *core
	files   map[api.SegmentID]disk.File // of those that are arriving
	pieces  int
	looking int
	strays  strays
}

// NewKeeper checks its arguments and reads what an earlier process has left: it takes in copies that are sound, and
// removes what had not arrived as a whole. now is since any moment and never goes back; spawn runs a function beside
// what runs now, which may block in what Deps gave, and nowhere else.
func NewKeeper(
	cfg Config, deps Deps, now func() time.Duration, spawn func(func(context.Context)),
) (*Keeper, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.check(), deps.check()); err != nil {
		return nil, err
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, err
	}
	k := &Keeper{cfg: cfg, deps: deps, log: deps.Logger, metrics: m, now: now, spawn: spawn,
		files: make(map[api.SegmentID]disk.File),
		core: newCore(limits{bytesMax: cfg.BytesMax, segmentsMax: cfg.SegmentsMax, openMax: openMax, quiet: quietMax,
			lookAfter: cfg.LookAfter, lookMax: cfg.LookMax})}
	k.strays.wanted = true // what became of this node's own segments is not known
	if err := k.scan(); err != nil {
		return nil, fmt.Errorf("holder: %w", err)
	}
	k.show()
	return k, nil
}

func (k *Keeper) dir() string { return segment.HeldDir(k.cfg.SegmentsDir) }

func (k *Keeper) path(id api.SegmentID) string { return segment.HeldPath(k.cfg.SegmentsDir, id) }

// show brings the books into metrics. It is called with the lock held, or before anybody else knows the keeper.
func (k *Keeper) show() {
	k.metrics.held.Set(float64(len(k.core.held)))
	k.metrics.bytes.Set(float64(k.core.bytes))
}

// scan takes in what is on the disk.
func (k *Keeper) scan() error {
	nodes, err := disk.Names(k.deps.FS, k.dir())
	if err != nil {
		return err
	}
	for _, node := range nodes {
		epochs, err := disk.Names(k.deps.FS, filepath.Join(k.dir(), node))
		if err != nil {
			return err
		}
		for _, name := range epochs {
			epoch, err := strconv.ParseUint(name, 10, 64)
			if err != nil || api.CheckNode(node) != nil {
				continue // not ours to judge
			}
			if err := k.scanEpoch(node, epoch, filepath.Join(k.dir(), node, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanEpoch takes in one epoch's copies, and takes its folder away if there are none.
func (k *Keeper) scanEpoch(node string, epoch uint64, dir string) error {
	files, err := disk.Names(k.deps.FS, dir)
	if err != nil {
		return err
	}
	left := len(files)
	for _, name := range files {
		if strings.HasSuffix(name, partSuffix) {
			if err := k.deps.FS.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
			left--
			continue
		}
		number, ok := strings.CutSuffix(name, ".seg")
		sequence, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			continue
		}
		id := api.SegmentID{Node: node, Epoch: epoch, Sequence: sequence}
		summary, err := k.examine(filepath.Join(dir, name), id)
		if err != nil {
			// It was whole when it got its name: the disk has damaged it. It is no copy, and it stays for whoever looks.
			k.log.Error("held segment is damaged, it does not count", "segment", id.String(), "error", err)
			continue
		}
		k.core.found(k.now(), id, summary.Length)
	}
	if left > 0 {
		return nil
	}
	return k.deps.FS.Remove(dir)
}

// examine reads a whole file. It returns no error only if every byte of it is sound.
func (k *Keeper) examine(path string, id api.SegmentID) (summary segment.Summary, err error) {
	err = disk.Read(k.deps.FS, path, func(f disk.File, size int64) error {
		_, summary, err = segment.Check(f, size, id)
		return err
	})
	return summary, err
}

// Take takes a request as it arrives. It never waits: the answer comes from beside.
func (k *Keeper) Take(data []byte, from Replier) {
	r, err := api.ParseHoldRequest(data)
	if err == nil && r.Segment.Node == k.cfg.ID {
		err = fmt.Errorf("segment %s is this node's own", r.Segment)
		if r.Kind == api.HoldSettle {
			err = nil
		}
	}
	if err != nil {
		k.refuse(from, api.Errorf(api.Invalid, "%v", err))
		return
	}
	switch r.Kind {
	case api.HoldPiece:
		k.takePiece(&r, from)
	case api.HoldDrop:
		k.spawn(func(context.Context) { k.dropped(r.Segment, from) })
	case api.HoldSettle:
		k.spawn(func(ctx context.Context) { k.settleNow(ctx, r.Segment, from) })
	}
}

// takePiece hands a piece to a writer, or refuses it.
func (k *Keeper) takePiece(r *api.HoldRequest, from Replier) {
	k.mu.Lock()
	full := k.pieces >= piecesMax
	if !full {
		k.pieces++
	}
	k.mu.Unlock()
	if full {
		k.metrics.refused.Inc()
		k.refuse(from, api.OverloadedError(retryAfterMS, "%d pieces are being written", piecesMax))
		return
	}
	k.spawn(func(context.Context) {
		answer, err := k.receive(r)
		k.mu.Lock()
		k.pieces--
		k.show()
		k.mu.Unlock()
		if err != nil {
			k.metrics.refused.Inc()
			k.refuse(from, err)
			return
		}
		k.reply(from, answer)
	})
}

func (k *Keeper) reply(from Replier, answer any) {
	if err := from.ReplyJSON(answer, nil); err != nil {
		k.log.Warn("answer not sent", "error", err)
	}
}

func (k *Keeper) refuse(from Replier, e *api.Error) {
	if err := from.ReplyError(e); err != nil {
		k.log.Warn("answer not sent", "error", err)
	}
}
