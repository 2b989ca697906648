package primary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// openSuffix ends the name of a segment that is not sealed. After a crash such a file is worth nothing, unless it has
// its end: then it is a sealed one whose new name was not durable.
const openSuffix = ".open"

// walFile is a segment on its way from its first frame into the object store.
type walFile struct {
	id      api.SegmentID
	level   api.Durability
	path    string // when it is sealed
	file    disk.File
	writer  *segment.Writer
	offsets []uint64 // of its groups
	summary segment.Summary
}

// appender writes segments, one after the other, and hands sealed ones on: the next is written while those before it
// are synced. It belongs to one goroutine.
type appender struct {
	s      *Service
	open   [levels]*walFile
	sealed map[uint64]*walFile // without a place in flight

	effects []effect // those that are being done
	failed  bool
}

// appendLoop does the core's disk effects in order.
func (s *Service) appendLoop(ctx context.Context) {
	a := newAppender(s)
	for {
		select {
		case <-ctx.Done():
			a.close()
			return
		case <-s.diskWork:
			a.work()
		}
	}
}

func newAppender(s *Service) *appender {
	return &appender{s: s, sealed: make(map[uint64]*walFile)}
}

// work does what there is to do. After an error it does nothing more: the core has ended.
func (a *appender) work() {
	s := a.s
	s.mu.Lock()
	a.effects, s.disk = s.disk, a.effects[:0]
	s.mu.Unlock()
	for i := 0; i < len(a.effects) && !a.failed; i++ {
		if err := a.do(&a.effects[i]); err != nil {
			a.failed = true
			s.step(func(c *core, _ time.Duration) { c.stop(err) })
		}
	}
	clear(a.effects)
}

func (a *appender) do(e *effect) error {
	switch e.kind {
	case doAppend:
		return a.append(e.segment, e.level, e.group)
	case doSeal:
		return a.seal(e.level, e.reason)
	case doLaunch:
		f := a.sealed[e.segment]
		delete(a.sealed, e.segment)
		a.s.keep(f)
		a.s.spawn(func(ctx context.Context) { a.s.makeDurable(ctx, f) })
	case doHold:
		f, node := a.s.kept(e.segment), e.node
		a.s.spawn(func(ctx context.Context) { a.s.hold(ctx, f, node) })
	}
	return nil
}

func (a *appender) append(sequence uint64, d api.Durability, g *group) error {
	if a.open[d] == nil {
		if err := a.create(a.s.segmentID(sequence), d); err != nil {
			return err
		}
	}
	f := a.open[d]
	offset, err := f.writer.Append(g.frame)
	if err != nil {
		return fmt.Errorf("append to segment %s: %w", f.id, err)
	}
	f.offsets = append(f.offsets, offset)
	a.s.metrics.appended(g)
	g.frame = nil
	return nil
}

func (a *appender) create(id api.SegmentID, d api.Durability) error {
	f := &walFile{id: id, level: d, path: segment.Path(a.s.cfg.SegmentsDir, id)}
	file, err := a.s.deps.FS.Create(f.path + openSuffix)
	if err != nil {
		return fmt.Errorf("create segment %s: %w", id, err)
	}
	a.open[d], f.file = f, file
	if f.writer, err = segment.NewWriter(file, id); err != nil {
		return fmt.Errorf("begin segment %s: %w", id, err)
	}
	return nil
}

func (a *appender) seal(d api.Durability, reason string) error {
	f := a.open[d]
	var err error
	if f.summary, err = f.writer.Finish(); err != nil {
		return fmt.Errorf("seal segment %s: %w", f.id, err)
	}
	a.s.metrics.sealed(reason, f.summary.Length)
	a.sealed[f.id.Sequence], a.open[d] = f, nil
	return nil
}

// close lets go of the files of a process that ends. Their content does not matter any more.
func (a *appender) close() {
	files := slices.Collect(maps.Values(a.sealed))
	for _, f := range append(files, a.open[:]...) {
		if f == nil {
			continue
		}
		if err := f.file.Close(); err != nil {
			a.s.log.Debug("unsealed segment not closed", "segment", f.id.String(), "error", err)
		}
	}
}

// makeDurable syncs a sealed segment and gives it its name. At level `object` it puts it into the object store; the name
// need not be durable then: what counts is the object store's copy, and a file that is still called .open after a crash
// is fetched again like any other. At level `wal` this file is one of the copies that count.
func (s *Service) makeDurable(ctx context.Context, f *walFile) {
	if err := s.syncFile(f); err != nil {
		s.step(func(c *core, _ time.Duration) { c.stop(err) })
		return
	}
	if f.level == api.DurabilityWAL {
		s.step(func(c *core, now time.Duration) { c.synced(now, f.id.Sequence, f.offsets) })
		return
	}
	s.put(ctx, f)
}

// syncFile makes the file's bytes durable. A sync that failed is never tried again: the pages may be gone, and the
// next sync would say nothing about them.
func (s *Service) syncFile(f *walFile) error {
	began := s.now()
	if err := f.file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync segment %s, its file is given up: %w", f.id, err), f.file.Close())
	}
	s.metrics.syncSeconds.Observe((s.now() - began).Seconds())
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close segment %s: %w", f.id, err)
	}
	if err := s.deps.FS.Rename(f.path+openSuffix, f.path); err != nil {
		return fmt.Errorf("name segment %s: %w", f.id, err)
	}
	if f.level == api.DurabilityWAL {
		if err := s.deps.FS.SyncDir(filepath.Dir(f.path)); err != nil {
			return fmt.Errorf("sync the name of segment %s: %w", f.id, err)
		}
	}
	return nil
}

// put is one attempt to get a synced segment into the object store. Its result is the core's to act on: the next
// attempt comes as an effect.
func (s *Service) put(ctx context.Context, f *walFile) {
	attempt, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	began, ended := s.now(), s.attempt(&s.needs.objects)
	err := s.deps.Objects.Put(attempt, f.id.Key(),
		objstore.File(s.deps.FS, f.path, f.summary.Length, f.summary.CRC))
	ended(err)
	switch {
	case err == nil:
		s.metrics.putSeconds.Observe((s.now() - began).Seconds())
		s.stored(f)
	case errors.Is(err, objstore.ErrDifferent):
		err = fmt.Errorf("%w: do two clusters share this object store, or was the sequencer's store set back? "+
			"Keep both: this file is %s", err, f.path)
		s.step(func(c *core, _ time.Duration) { c.stop(fmt.Errorf("put segment %s: %w", f.id, err)) })
	case errors.Is(err, objstore.ErrBody), errors.Is(err, objstore.ErrKey):
		// The file is not what was written: no further attempt can be right.
		s.step(func(c *core, _ time.Duration) { c.stop(fmt.Errorf("put segment %s: %w", f.id, err)) })
	default:
		s.metrics.putRetries.Inc()
		s.putFailed(ctx, f, err)
	}
}

// stored brings it to the core that a segment is in the object store.
func (s *Service) stored(f *walFile) {
	if f.level == api.DurabilityWAL {
		s.step(func(c *core, now time.Duration) { c.uploaded(now, f.id.Sequence) })
		return
	}
	s.step(func(c *core, now time.Duration) {
		delete(s.files, f.id.Sequence)
		c.durable(now, f.id.Sequence, f.offsets)
	})
}

// putTimeout bounds one attempt. It is long, because a put that is given up may still arrive.
const putTimeout = 30 * time.Second

func (s *Service) putFailed(ctx context.Context, f *walFile, err error) {
	failures := 0
	s.step(func(c *core, now time.Duration) {
		c.putFailed(now, f.id.Sequence)
		if w := c.find(f.id.Sequence); w != nil {
			failures = w.putFailures
		}
	})
	if ctx.Err() == nil && failures&(failures-1) == 0 { // the 1st, 2nd, 4th, 8th …
		s.log.Warn("segment not put, it is put again", "segment", f.id.String(), "attempts", failures, "error", err)
	}
}
