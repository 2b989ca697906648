package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// SettleConfig says whose segments are settled.
type SettleConfig struct {
	ID          string
	Epoch       uint64 // of this process: earlier ones are settled
	SegmentsDir string
}

// SettleDeps is what the process hands over.
type SettleDeps struct {
	FS      disk.FS
	Objects objstore.Store
	Logger  *slog.Logger
}

// Report counts what Settle found.
type Report struct {
	Unsealed int // .open files without an end: deleted
	Stored   int // segments that the object store has: kept, they are this node's copies
	Restored int // segments that the object store had not: put into it, and kept
	Kept     int // segments that could not be put or looked up: kept, and logged one by one
}

// LogValue is the report in one log line.
func (r Report) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("unsealed", r.Unsealed), slog.Int("stored", r.Stored),
		slog.Int("restored", r.Restored), slog.Int("kept", r.Kept))
}

// Settle decides about the segment files that this node's earlier processes left behind. The caller has registered,
// which fenced those epochs: whatever is looked up now stays true. Register, look, act; any other order loses data.
//
// An .open file without its end is deleted: a segment is committed only after it was sealed and synced. One that is
// whole lost its name in a crash, and gets it back. A sealed segment is never deleted, because nobody can prove here
// that no record refers to it:
//
//   - A record that is not confirmed (`wal` durability) names this node as a holder; the store lists such records.
//   - A confirmed record says that the object store has the segment. If the object is not there, the object store has
//     lost it, and this file may be the last copy (invariant 9). The store has no index from a segment to its confirmed
//     records; the node's tables know only those that they have applied, and a table that stands, or a log that has
//     grown since, has more of them.
//
// So a sealed segment that the object store has not is put into it, if every byte of it is sound. That is right
// whatever refers to it. With a confirmed record, the object is back. With a pending one, it is what a holder may do at
// any time. With none, nothing can come to refer to it, since its epoch is fenced: it is an object that no record
// names, like that of a primary that died between its put and its commit, and goes when such objects are trimmed. A
// crash leaves at most a few, those that were in flight. Putting never replaces anything. The file stays as this node's
// copy. With any doubt, also if the object store does not answer, it is kept and reported; other files are left alone.
//
// An error means that a folder could not be read or a file not deleted.
func Settle(ctx context.Context, cfg SettleConfig, deps SettleDeps) (Report, error) {
	s := settler{cfg: cfg, deps: deps}
	root := filepath.Join(cfg.SegmentsDir, cfg.ID)
	epochs, err := disk.Names(deps.FS, root)
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
	files, err := disk.Names(s.deps.FS, dir)
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
	if err := s.deps.FS.Remove(dir); err != nil {
		// A replicator that runs already may have fetched a segment into it meanwhile.
		if now, dirErr := disk.Names(s.deps.FS, dir); dirErr != nil || len(now) == 0 {
			return err
		}
	}
	return nil
}

// decide says whether a file is to be deleted, and counts it.
func (s *settler) decide(ctx context.Context, epoch uint64, dir, name string) (remove bool, err error) {
	sealed, open := strings.CutSuffix(name, openSuffix)
	number, ok := strings.CutSuffix(sealed, ".seg")
	sequence, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return false, nil // not ours to judge
	}
	id := api.SegmentID{Node: s.cfg.ID, Epoch: epoch, Sequence: sequence}
	path := filepath.Join(dir, sealed)
	if open {
		if _, err := s.summary(path+openSuffix, id); err != nil {
			s.report.Unsealed++
			return true, nil
		}
		if err := s.deps.FS.Rename(path+openSuffix, path); err != nil {
			return false, err
		}
	}
	if err := s.secure(ctx, id, path); err != nil {
		s.report.Kept++
		s.deps.Logger.Warn("old segment kept", "segment", id.String(), "reason", err)
	}
	return false, nil
}

// summary reads a whole file and tells what it takes to store it, if it is sound.
func (s *settler) summary(path string, id api.SegmentID) (summary segment.Summary, err error) {
	err = disk.Read(s.deps.FS, path, func(f disk.File, size int64) error {
		_, summary, err = segment.Check(f, size, id)
		return err
	})
	return summary, err
}

// secure sees to it that the object store has a segment. An error is a reason why that is not certain.
func (s *settler) secure(ctx context.Context, id api.SegmentID, path string) (err error) {
	info, err := s.deps.FS.Stat(path)
	if err != nil {
		return err
	}
	object, err := s.deps.Objects.Stat(ctx, id.Key())
	switch {
	case err == nil && object.Size == info.Size():
		s.report.Stored++
		return nil
	case err == nil:
		return fmt.Errorf("the object store has %d bytes of it, the file has %d", object.Size, info.Size())
	case !errors.Is(err, objstore.ErrNotFound):
		return fmt.Errorf("look into the object store: %w", err)
	}
	summary, err := s.summary(path, id)
	if err != nil {
		return fmt.Errorf("the object store has not got it, and the file is not sound: %w", err)
	}
	return s.restore(ctx, id, path, summary)
}

func (s *settler) restore(ctx context.Context, id api.SegmentID, path string, summary segment.Summary) (err error) {
	f, err := s.deps.FS.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	attempt, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	// From a reader, so that it is copied and not linked: nobody knows whether this file was ever synced.
	body := objstore.Body{Reader: io.NewSectionReader(f, 0, summary.Length), Size: summary.Length, CRC: summary.CRC}
	if err := s.deps.Objects.Put(attempt, id.Key(), body); err != nil {
		return fmt.Errorf("put into the object store: %w", err)
	}
	s.report.Restored++
	s.deps.Logger.Warn("segment was not in the object store, it has been put", "segment", id.String())
	return nil
}
