package replicator

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// scrub reads everything that this node's tables rest on, again and again and slowly, so that damage is found while
// there are good copies elsewhere, and not when somebody needs the bytes.
func (s *Service) scrub(ctx context.Context) error {
	if s.cfg.ScrubBytes < 0 {
		return nil
	}
	for rest(ctx, s.cfg.ScrubPause) == nil {
		r := &round{s: s, ctx: ctx, seen: make(map[run]*bits)}
		if err := r.all(); err == nil {
			s.metrics.scrubRounds.Inc()
		}
	}
	return nil
}

// rest waits for d, or until ctx ends, whose error it returns.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// round is one pass over everything. Its errors are the end of ctx, no others: what is damaged is repaired, or waits.
type round struct {
	s    *Service
	ctx  context.Context // of the round: it lives no longer
	seen map[run]*bits   // segments that were read in this round
	debt int64           // bytes that were read and not yet rested for
}

// run is a primary's process, whose segments are numbered densely.
type run struct {
	node  string
	epoch uint64
}

// bits is a set of small numbers: a bit for each segment of a run.
type bits []uint64

// add returns false if n was there already.
func (b *bits) add(n uint64) bool {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	word, bit := &(*b)[n/64], uint64(1)<<(n%64)
	added := *word&bit == 0
	*word |= bit
	return added
}

func (r *round) all() error {
	for _, name := range r.s.tables.Names() {
		if err := r.table(name); err != nil {
			return err
		}
	}
	if err := r.s.tables.CheckCheckpoint(); err != nil {
		// The checkpoints' own loop writes it anew.
		r.s.metrics.damage.WithLabelValues("checkpoint").Inc()
		r.s.deps.Logger.Warn("checkpoint is damaged, it is written anew", "error", err)
	}
	return r.ctx.Err()
}

// table checks a table's record file, and the segments that its records point into.
func (r *round) table(name string) error {
	err := r.s.tables.Check(name, func(size int64, record *api.LogRecord) bool {
		r.spend(size)
		if record.State == api.Confirmed && r.first(record.Segment) {
			r.segment(record)
		}
		return r.ctx.Err() == nil
	})
	switch {
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case err != nil:
		r.s.repairTable(name, err)
	}
	return nil
}

// first says whether a segment is met for the first time in this round.
func (r *round) first(id api.SegmentID) bool {
	of := run{id.Node, id.Epoch}
	if r.seen[of] == nil {
		r.seen[of] = new(bits)
	}
	return r.seen[of].add(id.Sequence)
}

// segment checks every byte of a segment's file, against itself and against a commit record.
func (r *round) segment(record *api.LogRecord) {
	id, found := record.Segment, segment.Summary{}
	err := disk.Read(r.s.deps.FS, segment.Path(r.s.cfg.SegmentsDir, id), func(f disk.File, size int64) error {
		reader, summary, err := segment.Check(slow{f, r}, size, id)
		if err != nil {
			return err
		}
		found = summary
		return prove(id, reader.Groups(), []*api.LogRecord{record})
	})
	if r.ctx.Err() != nil {
		return
	}
	if err == nil {
		r.object(id, found)
		return
	}
	r.s.metrics.damage.WithLabelValues("segment").Inc()
	r.s.admit(ailment{segment: id}, record.Table, err)
}

// object checks the object of one of this node's own segments, in a store that lets objects be mended. Any other store
// checks its objects itself.
func (r *round) object(id api.SegmentID, want segment.Summary) {
	if _, ok := r.s.deps.Objects.(objstore.Mender); !ok || id.Node != r.s.cfg.ID {
		return
	}
	size, crc, err := r.sum(id)
	switch {
	case r.ctx.Err() != nil:
	case errors.Is(err, objstore.ErrNotFound):
		r.s.lostObject(id, err)
	case err != nil:
		r.s.metrics.errors.WithLabelValues("scrub").Inc()
		r.s.deps.Logger.Warn("object cannot be checked", "segment", id.String(), "error", err)
	case size != want.Length || crc != want.CRC:
		r.s.lostObject(id, segment.ErrCorrupt)
	}
}

func (r *round) sum(id api.SegmentID) (size int64, crc uint32, err error) {
	body, size, err := r.s.deps.Objects.Get(r.ctx, id.Key())
	if err != nil {
		return 0, 0, err
	}
	defer body.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, err = io.CopyBuffer(sum, readerFunc(func(b []byte) (int, error) {
		n, err := body.Read(b)
		r.spend(int64(n))
		return n, err
	}), make([]byte, copyBytes))
	return size, sum.Sum32(), err
}

// slow reads a file no faster than a round may.
type slow struct {
	io.ReaderAt
	r *round
}

func (s slow) ReadAt(b []byte, offset int64) (int, error) {
	if err := s.r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.ReaderAt.ReadAt(b, offset)
	s.r.spend(int64(n))
	return n, err
}

// restBytes is how much is read between two rests.
const restBytes = 64 << 10

// spend counts bytes that were read, and rests as long as they should have taken.
func (r *round) spend(n int64) {
	r.s.metrics.scrubBytes.Add(float64(n))
	if r.debt += n; r.debt < restBytes {
		return
	}
	pause := time.Duration(float64(r.debt) / float64(r.s.cfg.ScrubBytes) * float64(time.Second))
	r.debt = 0
	_ = rest(r.ctx, pause) // callers look at ctx
}
