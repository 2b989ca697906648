package primary

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// SettleConfig says whose segments are settled.
type SettleConfig struct {
	ID          string
	Epoch       uint64 // of this process: earlier ones are settled
	SegmentsDir string
}

// Registry tells what the store knows of a segment. It is bus.Sequencer.
type Registry interface {
	SegmentState(ctx context.Context, id api.SegmentID) (api.SegmentStateAnswer, error)
}

// SettleDeps is what the process hands over.
type SettleDeps struct {
	FS       disk.FS
	Objects  objstore.Store
	Registry Registry
	Logger   *slog.Logger
}

// Report counts what Settle found.
type Report struct {
	Unsealed int // .open files: deleted
	Stored   int // segments that the object store has: kept, they are this node's copies
	Useless  int // segments that no record can name any more: deleted
	Kept     int // segments whose fate is not known: kept, and logged one by one
}

// LogValue is the report in one log line.
func (r Report) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("unsealed", r.Unsealed), slog.Int("stored", r.Stored),
		slog.Int("useless", r.Useless), slog.Int("kept", r.Kept))
}

// Settle decides about the segment files that this node's earlier processes left behind. The caller has registered,
// which fenced those epochs: whatever is looked up now stays true. Register, look, act; any other order loses data.
//
// An unsealed file is deleted: nothing in it can have been committed. A sealed file that the object store has is
// kept. One that it has not is deleted only if the store says that its epoch is fenced and none of its records is
// unconfirmed; with any doubt, also if nobody answers, it is kept and reported. Other files are left alone.
//
// An error means that a folder could not be read or a file not deleted.
func Settle(ctx context.Context, cfg SettleConfig, deps SettleDeps) (Report, error) {
	s := settler{cfg: cfg, deps: deps}
	root := filepath.Join(cfg.SegmentsDir, cfg.ID)
	epochs, err := readDir(deps.FS, root)
	if err != nil {
		return s.report, fmt.Errorf("settle segments: %w", err)
	}
	for _, name := range epochs {
		epoch, err := strconv.ParseUint(name, 10, 64)
		if err != nil || epoch >= cfg.Epoch {
			continue
		}
		if err := s.folder(ctx, epoch, filepath.Join(root, name)); err != nil {
			return s.report, fmt.Errorf("settle segments of epoch %d: %w", epoch, err)
		}
	}
	return s.report, nil
}

type settler struct {
	cfg    SettleConfig
	deps   SettleDeps
	report Report
}

// folder settles one epoch, and takes its folder away if nothing is left in it.
func (s *settler) folder(ctx context.Context, epoch uint64, dir string) error {
	files, err := readDir(s.deps.FS, dir)
	if err != nil {
		return err
	}
	left := len(files)
	for _, name := range files {
		remove, err := s.decide(ctx, epoch, dir, name)
		if err != nil {
			return err
		}
		if remove {
			if err := s.deps.FS.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
			left--
		}
	}
	if left > 0 {
		return nil
	}
	return s.deps.FS.Remove(dir)
}

// decide says whether a file is to be deleted, and counts it.
func (s *settler) decide(ctx context.Context, epoch uint64, dir, name string) (remove bool, err error) {
	if strings.HasSuffix(name, ".seg"+openSuffix) {
		s.report.Unsealed++
		return true, nil
	}
	number, sealed := strings.CutSuffix(name, ".seg")
	sequence, err := strconv.ParseUint(number, 10, 64)
	if !sealed || err != nil {
		return false, nil // not ours to judge
	}
	info, err := s.deps.FS.Stat(filepath.Join(dir, name))
	if err != nil {
		return false, err
	}
	id := api.SegmentID{Node: s.cfg.ID, Epoch: epoch, Sequence: sequence}
	remove, why := s.judge(ctx, id, info.Size())
	switch {
	case why != nil:
		s.report.Kept++
		s.deps.Logger.Warn("old segment kept", "segment", id.String(), "reason", why)
	case remove:
		s.report.Useless++
	default:
		s.report.Stored++
	}
	return remove, nil
}

// judge looks at the object store and then at the registry. why is not nil if there is a doubt.
func (s *settler) judge(ctx context.Context, id api.SegmentID, size int64) (remove bool, why error) {
	object, err := s.deps.Objects.Stat(ctx, id.Key())
	switch {
	case err == nil && object.Size == size:
		return false, nil
	case err == nil:
		return false, fmt.Errorf("the object store has %d bytes of it, the file has %d", object.Size, size)
	case !errors.Is(err, objstore.ErrNotFound):
		return false, fmt.Errorf("look into the object store: %w", err)
	}
	state, err := s.deps.Registry.SegmentState(ctx, id)
	switch {
	case err != nil:
		return false, fmt.Errorf("ask the registry: %w", err)
	case !state.Fenced:
		return false, errors.New("its epoch is not fenced")
	case len(state.Unconfirmed) > 0:
		return false, fmt.Errorf("%d records of it are not confirmed", len(state.Unconfirmed))
	}
	return true, nil
}

// readDir lists names; a folder that is not there has none.
func readDir(f disk.FS, path string) ([]string, error) {
	entries, err := f.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
