package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/table"
)

// admit takes in something that is damaged; table, if not "", cannot be read because of it.
func (s *Service) admit(a ailment, table string, why error) {
	s.wardMu.Lock()
	fresh := s.ward.admit(s.now(), a, table, why)
	s.wardMu.Unlock()
	if !fresh {
		return
	}
	s.deps.Logger.Error("damaged, it is repaired as soon as there is a good copy", "what", a.String(), "table", table,
		"error", why)
	select {
	case s.admitted <- struct{}{}:
	default:
	}
}

// lostObject is told of objects that are damaged or gone, while there is a sound copy on this node.
func (s *Service) lostObject(id api.SegmentID, why error) {
	s.metrics.damage.WithLabelValues("object").Inc()
	s.admit(ailment{segment: id, object: true}, "", why)
}

// heal looks after what is damaged until ctx ends.
func (s *Service) heal(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.wardMu.Lock()
		a, due, ok := s.ward.next()
		s.wardMu.Unlock()
		wait := time.Hour
		if ok {
			wait = time.Until(due)
		}
		timer.Reset(max(wait, 0))
		select {
		case <-timer.C:
			if ok {
				s.attempt(ctx, a)
			}
		case <-s.admitted:
		case <-ctx.Done():
			return nil
		}
	}
}

// attempt tries once to cure an ailment.
func (s *Service) attempt(ctx context.Context, a ailment) {
	err := s.cure(ctx, a)
	if ctx.Err() != nil {
		return
	}
	s.wardMu.Lock()
	attempts := 0
	if err == nil {
		s.ward.dismiss(a)
	} else {
		attempts = s.ward.failed(s.now(), a, err)
	}
	s.wardMu.Unlock()
	switch {
	case err == nil:
		s.metrics.repairs.WithLabelValues(a.what()).Inc()
		s.deps.Logger.Info("repaired", "what", a.String())
	case attempts&(attempts-1) == 0: // the 1st, 2nd, 4th, 8th …
		s.deps.Logger.Warn("not repaired yet, trying again", "what", a.String(), "attempts", attempts, "error", err)
	}
}

func (s *Service) cure(ctx context.Context, a ailment) error {
	switch {
	case a.table != "":
		return s.cureTable(a.table)
	case a.object:
		return s.mendObject(ctx, a.segment)
	}
	sound := func() error {
		return s.sound(ctx, a.segment, func(disk.File, segment.Summary) error { return nil })
	}
	if sound() == nil {
		return nil // somebody has fetched it meanwhile
	}
	if err := s.segments.get(ctx, a.segment, nil); err != nil {
		return err
	}
	return sound()
}

func (s *Service) cureTable(name string) error {
	err := s.tables.Check(name, func(int64, *api.LogRecord) bool { return true })
	if corrupt := new(table.CorruptError); !errors.As(err, &corrupt) {
		return err
	}
	if err := s.tables.Repair(name); err != nil {
		return err
	}
	s.shards[api.Shard(name, len(s.shards))].poke(Hint{})
	return nil
}

// mendObject puts this node's copy of a segment into the object store, in place of an object that is damaged or gone.
//
// It is only done with a copy that is sound in itself, and that has the group of every commit record of this node that
// points into the segment, of which there must be one: only a segment that the log refers to is put back, never one
// that may have been removed on purpose. What is there is replaced only if its own checksums prove it damaged.
func (s *Service) mendObject(ctx context.Context, id api.SegmentID) error {
	return s.sound(ctx, id, func(f disk.File, summary segment.Summary) error {
		// A reader: the copy is never linked, so that the two do not rot together.
		body := objstore.Body{Reader: io.NewSectionReader(f, 0, summary.Length), Size: summary.Length, CRC: summary.CRC}
		err := errors.ErrUnsupported
		if m, ok := s.deps.Objects.(objstore.Mender); ok {
			err = m.Mend(ctx, id.Key(), body, func(r io.ReaderAt, size int64) (damage, err error) {
				return judgeSegment(r, size, id)
			})
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if _, gone := s.deps.Objects.Stat(ctx, id.Key()); !errors.Is(gone, objstore.ErrNotFound) {
			return fmt.Errorf("the object is damaged, and its store lets nobody replace it: %w", err)
		}
		return s.deps.Objects.Put(ctx, id.Key(), body)
	})
}

// sound calls fn with this node's file of a segment, if it is sound in itself and as the commit records have it.
func (s *Service) sound(ctx context.Context, id api.SegmentID, fn func(disk.File, segment.Summary) error) error {
	return disk.Read(s.deps.FS, segment.Path(s.cfg.SegmentsDir, id), func(f disk.File, size int64) error {
		r, summary, err := segment.Check(f, size, id)
		if err != nil {
			return fmt.Errorf("the copy on this node is not sound: %w", err)
		}
		if err := s.proveAll(ctx, r); err != nil {
			return err
		}
		return fn(f, summary)
	})
}

// judgeSegment says what is damaged in the bytes of a segment. A newer format is no damage.
func judgeSegment(r io.ReaderAt, size int64, id api.SegmentID) (damage, err error) {
	_, _, err = segment.Check(r, size, id)
	if errors.Is(err, segment.ErrCorrupt) {
		return err, nil
	}
	return nil, err
}

// proveAll checks a segment against all commit records that this node's tables have of it.
func (s *Service) proveAll(ctx context.Context, r *segment.Reader) error {
	var names []string
	for i := range r.Groups() {
		g, err := r.Group(i)
		if err != nil {
			return err
		}
		if !slices.Contains(names, g.Header.Table) {
			names = append(names, g.Header.Table)
		}
	}
	proofs := 0
	for _, name := range names {
		for record, err := range s.tables.Read(name, 1, 1<<64-1) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && record.State == api.Confirmed && record.Segment == r.ID() {
				err = prove(r.ID(), r.Groups(), []*api.LogRecord{&record})
				proofs++
			}
			if err != nil {
				return err
			}
		}
	}
	if proofs == 0 {
		return fmt.Errorf("no commit record of segment %s is applied here yet", r.ID())
	}
	return nil
}

// Standing are the tables that this node cannot apply or read, each with the reason. They stand alone, and go on by
// themselves.
func (s *Service) Standing() map[string]error {
	s.wardMu.Lock()
	all := s.ward.tables()
	s.wardMu.Unlock()
	for _, sh := range s.shards {
		for _, t := range *sh.standing.Load() {
			all[t.Table] = fmt.Errorf("stands at TxID %d: %w", t.Applied, t.Why)
		}
	}
	return all
}

func (s *Service) damaged() int {
	s.wardMu.Lock()
	defer s.wardMu.Unlock()
	return len(s.ward.patients)
}
