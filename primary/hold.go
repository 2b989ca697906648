package primary

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// keep remembers a launched segment's file until the core is done with it.
func (s *Service) keep(f *walFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f.id.Sequence] = f
}

// kept is the file of a segment, nil if the core is done with it.
func (s *Service) kept(sequence uint64) *walFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[sequence]
}

// hold is one attempt to bring a segment to another node, while or after it is synced here.
func (s *Service) hold(ctx context.Context, f *walFile, node string) {
	if f == nil {
		return
	}
	began := s.now()
	err := s.send(ctx, f, node)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		s.metrics.holdFailures.Inc()
		s.log.Warn("segment not held, another node is asked", "segment", f.id.String(), "holder", node, "error", err)
		s.step(func(c *core, now time.Duration) { c.holdFailed(now, f.id.Sequence, node) })
		return
	}
	s.metrics.holdSeconds.Observe((s.now() - began).Seconds())
	s.step(func(c *core, now time.Duration) { c.held(now, f.id.Sequence, node) })
}

func (s *Service) send(ctx context.Context, f *walFile, node string) (err error) {
	attempt, cancel := context.WithTimeout(ctx, s.cfg.HoldAttempt)
	defer cancel()
	file, err := s.openSealed(f)
	if err != nil {
		return fmt.Errorf("read segment %s: %w", f.id, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return s.deps.Holders.Send(attempt, node, f.id, file, f.summary.Length)
}

// openSealed opens a sealed segment under whichever name it has at this moment.
func (s *Service) openSealed(f *walFile) (disk.File, error) {
	file, err := s.deps.FS.Open(f.path + openSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = s.deps.FS.Open(f.path)
	}
	return file, err
}

// confirm is one attempt to state that a segment is in the object store.
func (s *Service) confirm(ctx context.Context, id api.SegmentID) {
	attempt, cancel := context.WithTimeout(ctx, s.cfg.CommitAttempt)
	defer cancel()
	_, err := s.deps.Sequencer.Confirm(attempt, id)
	if err == nil {
		s.step(func(c *core, now time.Duration) { c.confirmed(now, id.Sequence) })
		return
	}
	s.metrics.confirmRetries.Inc()
	if ctx.Err() == nil {
		s.log.Warn("segment not confirmed, it is tried again", "segment", id.String(), "error", err)
	}
	s.step(func(c *core, now time.Duration) { c.confirmFailed(now, id.Sequence) })
}

// drop tells holders that they may let a settled segment go. One that does not hear it looks for itself.
func (s *Service) drop(ctx context.Context, id api.SegmentID, nodes []string) {
	for _, node := range nodes {
		attempt, cancel := context.WithTimeout(ctx, s.cfg.HoldAttempt)
		err := s.deps.Holders.Drop(attempt, node, id)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.Debug("holder not told", "segment", id.String(), "holder", node, "error", err)
		}
	}
}
