package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// segments are the node's segment files. A file that is missing or damaged is fetched, whole and checked, and put in
// its place by a rename, so that a file under a segment's name only ever gets better. A fixed number of workers
// fetches; callers that want the same segment share one fetch.
type segments struct {
	fsys    disk.FS
	dir     string
	objects source
	peers   func(context.Context) ([]source, error) // who else may have it
	// obtain fetches a segment: get, with workers behind it, or fetchNow.
	obtain  func(context.Context, api.SegmentID, []*api.LogRecord) error
	workers int
	timeout time.Duration // without a byte, until a source is given up
	wait    time.Duration // of a caller, for a fetch that has begun
	metrics *metrics
	log     *slog.Logger
	queue   chan *flight
	landed  atomic.Uint64 // fetches that have ended
	// lost is told of an object that is damaged or gone, once a sound copy from elsewhere is here.
	lost func(id api.SegmentID, why error)

	mu      sync.Mutex
	flights map[api.SegmentID]*flight // in the queue or with a worker
	names   uint64                    // of temporary files
}

// flight is one fetch that any number of callers wait for.
type flight struct {
	id      api.SegmentID
	proof   []*api.LogRecord // commit records that what is fetched must have the groups of
	begun   chan struct{}    // closed when a worker has it
	done    chan struct{}    // closed when entries or err stand
	entries []segment.Entry
	err     error
}

var (
	// errStuck says that a fetch takes longer than a caller waits. It goes on.
	errStuck = errors.New("fetch takes long and goes on in the background")
	errQueue = errors.New("too many segments are waited for")
)

// queueMax bounds the segments that are waited for. Shards and readers have a few each.
const queueMax = 4096

// fetchDir holds what is being fetched. No node's id begins with a dot.
func (s *segments) fetchDir() string { return filepath.Join(s.dir, ".fetch") }

// prepare makes the folder for fetches, and removes what a crash left there.
func (s *segments) prepare() error {
	if err := s.fsys.MkdirAll(s.fetchDir()); err != nil {
		return err
	}
	left, err := s.fsys.ReadDir(s.fetchDir())
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := s.fsys.Remove(filepath.Join(s.fetchDir(), f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// work fetches until ctx ends. It runs `workers` times.
func (s *segments) work(ctx context.Context) error {
	for {
		select {
		case f := <-s.queue:
			close(f.begun)
			f.entries, f.err = s.fetch(ctx, f)
			s.land(f)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *segments) land(f *flight) {
	s.mu.Lock()
	delete(s.flights, f.id)
	s.mu.Unlock()
	s.landed.Add(1)
	close(f.done)
}

// get fetches a segment into its place, all of it checked, and with the groups of these commit records. It returns
// errStuck if that takes long; the fetch goes on then, so that a later call finds it done.
func (s *segments) get(ctx context.Context, id api.SegmentID, records []*api.LogRecord) error {
	f, err := s.want(id, records)
	if err != nil {
		return err
	}
	patience := time.NewTimer(s.wait)
	defer patience.Stop()
	begun := f.begun
	for landed := s.landed.Load(); ; {
		select {
		case <-begun:
			begun = nil
			patience.Reset(s.wait)
		case <-f.done:
			if f.err != nil {
				return f.err
			}
			return prove(id, f.entries, records) // the fetch may have been begun for others
		case <-patience.C:
			// In the queue, it is patient for as long as fetches end in front of it.
			now := s.landed.Load()
			if begun == nil || now == landed {
				return errStuck
			}
			landed = now
			patience.Reset(s.wait)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fetchNow fetches a segment without a worker. Two callers at once fetch it twice, which does no harm.
func (s *segments) fetchNow(ctx context.Context, id api.SegmentID, records []*api.LogRecord) error {
	entries, err := s.fetch(ctx, &flight{id: id, proof: records})
	if err != nil {
		return err
	}
	return prove(id, entries, records)
}

// want returns the fetch of a segment that is on its way, or puts a new one into the queue.
func (s *segments) want(id api.SegmentID, proof []*api.LogRecord) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[id]; f != nil {
		return f, nil
	}
	f := &flight{id: id, proof: proof, begun: make(chan struct{}), done: make(chan struct{})}
	select {
	case s.queue <- f:
		s.flights[id] = f
		return f, nil
	default:
		return nil, errQueue
	}
}

// fetch takes what this node holds, else tries the object store, and then the other nodes, until one gives a whole,
// sound segment.
func (s *segments) fetch(ctx context.Context, f *flight) ([]segment.Entry, error) {
	if entries, err := s.fetchHeld(f); err == nil {
		return entries, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("held segment is of no use here", "segment", f.id.String(), "error", err)
	}
	begun := time.Now()
	entries, objectErr := s.fetchFrom(ctx, s.objects, f)
	err := objectErr
	if err != nil {
		entries, err = s.fetchFromPeers(ctx, f, err)
	}
	if err != nil {
		s.metrics.errors.WithLabelValues("fetch").Inc()
		return nil, fmt.Errorf("fetch segment %s: %w", f.id, err)
	}
	if errors.Is(objectErr, segment.ErrCorrupt) || errors.Is(objectErr, objstore.ErrNotFound) {
		s.lost(f.id, objectErr)
	}
	s.metrics.fetchSeconds.Observe(time.Since(begun).Seconds())
	return entries, nil
}

func (s *segments) fetchFromPeers(ctx context.Context, f *flight, first error) ([]segment.Entry, error) {
	ask, cancel := context.WithTimeout(ctx, peerTimeout)
	peers, err := s.peers(ask)
	cancel()
	errs := []error{first, err}
	for _, from := range peers {
		entries, err := s.fetchFrom(ctx, from, f)
		if err == nil {
			return entries, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *segments) fetchFrom(ctx context.Context, from source, f *flight) ([]segment.Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(s.timeout, cancel)
	defer quiet.Stop()
	open, err := from(ctx, f.id)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	body := readerFunc(func(b []byte) (int, error) {
		quiet.Reset(s.timeout)
		return open.Read(b)
	})
	temp := s.tempName()
	defer s.fsys.Remove(temp) // it is gone if all went well
	if err := s.store(temp, body); err != nil {
		return nil, err
	}
	entries, err := s.inspect(temp, f.id)
	if err != nil {
		return nil, err
	}
	if err := prove(f.id, entries, f.proof); err != nil {
		return nil, err
	}
	path := segment.Path(s.dir, f.id)
	if err := s.fsys.MkdirAll(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return entries, s.fsys.Rename(temp, path)
}

// fetchHeld gives a copy that this node holds for the segment's primary a second name, as its own file. The copy stays
// what it is until the holder lets it go.
func (s *segments) fetchHeld(f *flight) ([]segment.Entry, error) {
	held, temp, path := segment.HeldPath(s.dir, f.id), s.tempName(), segment.Path(s.dir, f.id)
	if err := s.fsys.Link(held, temp); err != nil {
		return nil, err
	}
	defer s.fsys.Remove(temp) // it is gone if all went well
	entries, err := s.inspect(temp, f.id)
	if err == nil {
		err = prove(f.id, entries, f.proof)
	}
	if err == nil {
		err = s.fsys.MkdirAll(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	return entries, s.fsys.Rename(temp, path)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func (s *segments) tempName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names++
	return filepath.Join(s.fetchDir(), fmt.Sprintf("%d.seg", s.names))
}

// copyBytes is the buffer of one fetch: a segment is never in memory as a whole.
const copyBytes = 128 << 10

// store writes body to a file. It is not synced: see the package's comment.
func (s *segments) store(path string, body io.Reader) error {
	f, err := s.fsys.Create(path)
	if err != nil {
		return err
	}
	// Not the file's own copy method: it brings a buffer of its own.
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, body, make([]byte, copyBytes))
	s.metrics.fetchBytes.Add(float64(n))
	return errors.Join(err, f.Close())
}

// inspect checks every byte of a file, and returns the places of its groups.
func (s *segments) inspect(path string, id api.SegmentID) (entries []segment.Entry, err error) {
	err = disk.Read(s.fsys, path, func(f disk.File, size int64) error {
		r, _, err := segment.Check(f, size, id)
		if err == nil {
			entries = r.Groups()
		}
		return err
	})
	return entries, err
}

// prove checks that a segment has the groups that commit records name.
func prove(id api.SegmentID, entries []segment.Entry, records []*api.LogRecord) error {
	for _, r := range records {
		if !contains(entries, r) {
			return fmt.Errorf("log record %d of table %s names no group of segment %s", r.Index, r.Table, id)
		}
	}
	return nil
}

// ensure sees to it that the bytes of records, all of segment id, are here and have their checksums.
func (s *segments) ensure(ctx context.Context, id api.SegmentID, records []*api.LogRecord) error {
	err := s.check(id, records)
	if err == nil {
		return nil
	}
	missing := errors.Is(err, fs.ErrNotExist) // which it usually is, before the first fetch
	if !missing {
		s.log.Warn("segment file is damaged, fetching it again", "segment", id.String(), "error", err)
		s.metrics.damage.WithLabelValues("segment").Inc()
	}
	if err := s.obtain(ctx, id, records); err != nil {
		return err
	}
	if !missing {
		s.metrics.repairs.WithLabelValues("segment").Inc()
	}
	return nil
}

// check reads the groups of records from the local file.
func (s *segments) check(id api.SegmentID, records []*api.LogRecord) (err error) {
	f, err := s.fsys.Open(segment.Path(s.dir, id))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, r := range records {
		if _, err := segment.ReadGroup(f, r.Offset, r.Length, r.CRC); err != nil {
			return err
		}
	}
	return nil
}

func contains(entries []segment.Entry, r *api.LogRecord) bool {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Offset >= r.Offset })
	return i < len(entries) && entries[i] == segment.Entry{Offset: r.Offset, Length: r.Length, CRC: r.CRC}
}
