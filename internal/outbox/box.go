package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Errors that errors.Is finds in what a Box returns, beside ErrInUse and ErrCorrupt.
var (
	// ErrFull: there was no room until the context ended. The write is not on the disk and never will be.
	ErrFull = errors.New("outbox is full")
	// ErrFenced: another process has registered under this producer's id. What is on the disk stays there.
	ErrFenced = errors.New("fenced by another process of this producer")
	// ErrBroken: the disk has failed. A write that was waiting for it may be on it, or not; those that were taken
	// before are. Only another process, or another Box, may go on.
	ErrBroken = errors.New("the outbox's disk has failed")
	// ErrClosed: the Box has ended. What was taken stays on the disk, and the next process delivers it.
	ErrClosed = errors.New("outbox is closed")
)

// Box is an outbox at work. Its methods may be called from many goroutines; Run is to be called once.
type Box struct {
	cfg  Config
	deps Deps
	j    *journal // of the task that flushes, but for reading

	mu      sync.Mutex
	c       *core              // what is on the disk, synced
	changed chan struct{}      // closed at every change that somebody may wait for
	control []*item            // wait for the disk; before all writes
	pending []*item            // writes that wait for the disk, by ordinal
	writing []*item            // what is being written
	bytes   int64              // of pending
	watched map[uint64]Watcher // of writes that are on the disk, by ordinal
	ready   []string           // tables with something to deliver that nobody delivers, each once
	running int                // tasks that deliver
	tasks   int                // the others that Run has started
	// reporting is the ordinal of the write that the application is being told about; 0: none.
	reporting uint64
	err       error // why the Box has ended; nil while it works
}

// item is a record on its way to the disk.
type item struct {
	r       record
	size    int64         // of a write that is taken; 0: a record that must not wait for room
	watcher Watcher       // of a write; may be nil
	done    chan struct{} // closed once it is there, or never will be
	err     error         // read after done
}

// Watcher is told what became of a write, once: soon after the outcome is on the disk, or with an error if the Box has
// ended first. It must not block. If it returns true for a refusal, the application has its rows back by that, and
// Deps.Report is not called.
type Watcher func(o Outcome, err error) (taken bool)

// Open takes a folder and reads it. It starts nothing and sends nothing: Run does. Errors: ErrInUse, ErrCorrupt,
// *NewerFormatError, those of the disk.
func Open(cfg Config, deps Deps) (*Box, error) {
	if err := deps.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	producer, given := cfg.Producer, cfg.Producer != ""
	if !given {
		producer = "o-" + deps.NewID()
	}
	j, c, err := take(deps.FS, cfg.Dir, producer, given)
	if err != nil {
		return nil, err
	}
	b := &Box{cfg: cfg, deps: deps, j: j, c: c, changed: make(chan struct{}),
		watched: make(map[uint64]Watcher)}
	b.ready = c.names()
	return b, nil
}

// Close gives the folder back. It is to be called after Run, or in its place.
func (b *Box) Close() error {
	b.end(ErrClosed)
	return b.j.close()
}

// State is a Box at one moment.
type State struct {
	Producer string
	Epoch    uint64
	Open     int       // writes without an answer
	Refused  int       // writes that the application has not taken back
	Live     int64     // bytes of both in the folder's files
	Bytes    int64     // of the folder's files
	Limit    int64     // of Bytes, past which writes wait for room
	Oldest   time.Time // when the oldest write without an answer was taken; zero: there is none
}

// State may be asked at any time.
func (b *Box) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := State{Producer: b.c.producer, Epoch: b.c.epoch, Open: b.c.open, Refused: len(b.c.refused),
		Live: b.c.live(), Bytes: b.c.bytes(), Limit: b.cfg.writesBytesMax()}
	if at := b.c.oldest(); at != 0 {
		s.Oldest = time.Unix(0, at)
	}
	return s
}

// Add takes a write: when it returns nil, the write is on the disk, and will be delivered. It waits for room as long as
// ctx lets it. The payload must not change until it returns. The watcher, if it is not nil, is told more; if Add returns
// an error it is not. Errors: ErrFull, ErrFenced, ErrBroken, ErrClosed.
func (b *Box) Add(ctx context.Context, w Write, watcher Watcher) error {
	i := &item{r: &w, watcher: watcher, size: int64(recordHead + 64 + len(w.Table) + len(w.Payload)), done: make(chan struct{})}
	b.mu.Lock()
	for b.err == nil && !b.fitsLocked(i.size) {
		full := b.fullLocked()
		b.waitLocked(ctx, forever)
		if ctx.Err() != nil && b.err == nil && !b.fitsLocked(i.size) {
			b.mu.Unlock()
			return fmt.Errorf("%w: %s: %w", ErrFull, full, context.Cause(ctx))
		}
	}
	if b.err != nil {
		defer b.mu.Unlock()
		return b.err
	}
	w.Ordinal, w.Time = b.c.next, b.deps.Now().UnixNano()
	b.c.next++
	b.pending, b.bytes = append(b.pending, i), b.bytes+i.size
	b.changedLocked()
	b.mu.Unlock()
	return b.synced(ctx, i)
}

// synced waits until a write is on the disk. Once its bytes are being written there is no way back.
func (b *Box) synced(ctx context.Context, i *item) error {
	b.deps.Await(ctx, i.done, b.deps.Now().Add(forever))
	if ctx.Err() != nil {
		b.mu.Lock()
		at := slices.Index(b.pending, i)
		if at >= 0 {
			b.pending, b.bytes = slices.Delete(b.pending, at, at+1), b.bytes-i.size
			b.changedLocked()
			b.mu.Unlock()
			return fmt.Errorf("%w: the disk has not taken the write: %w", ErrFull, context.Cause(ctx))
		}
		b.mu.Unlock()
		b.deps.Await(context.WithoutCancel(ctx), i.done, b.deps.Now().Add(forever))
	}
	return i.err
}

// writesBytesMax bounds the folder for writes: an eighth is kept for what is to be written down of those that are there.
func (c *Config) writesBytesMax() int64 { return c.BytesMax - c.BytesMax/8 }

// fitsLocked says whether there is room for a write. Something always fits into an empty outbox.
func (b *Box) fitsLocked(size int64) bool {
	if len(b.pending) == 0 && b.c.open+len(b.c.refused) == 0 {
		return true
	}
	return b.bytes+size <= b.cfg.PendingBytesMax && b.c.open+len(b.c.refused)+len(b.pending) < b.cfg.WritesMax &&
		b.c.bytes()+b.bytes+size <= b.cfg.writesBytesMax()
}

func (b *Box) fullLocked() string {
	s := fmt.Sprintf("%d writes without an answer, %d bytes", b.c.open+len(b.pending), b.c.bytes()+b.bytes)
	if n := len(b.c.refused); n > 0 {
		s += fmt.Sprintf(", and %d writes that were refused and that the application has not taken back", n)
	}
	return s
}

// Delivered waits until every write that was taken before has its outcome. Errors: that of ctx, and why the Box has
// ended.
func (b *Box) Delivered(ctx context.Context) error {
	b.mu.Lock()
	target := b.c.next
	for b.earliestLocked(target) < target && b.err == nil && ctx.Err() == nil {
		b.waitLocked(ctx, forever)
	}
	done, left, err := b.earliestLocked(target) == target, b.c.open+len(b.pending), b.err
	b.mu.Unlock()
	switch {
	case done:
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%d writes without an answer: %w", left, context.Cause(ctx))
}

// earliestLocked is the lowest ordinal without an outcome, or target.
func (b *Box) earliestLocked(target uint64) uint64 {
	for _, i := range slices.Concat(b.writing, b.pending) {
		if w, ok := i.r.(*Write); ok {
			target = min(target, w.Ordinal)
			break
		}
	}
	for _, q := range b.c.tables {
		if len(q.open) > 0 {
			target = min(target, q.open[0].ordinal)
		}
	}
	return target
}

const forever = 1000 * time.Hour

// waitLocked waits for a change, without the lock.
func (b *Box) waitLocked(ctx context.Context, most time.Duration) {
	changed := b.changed
	b.mu.Unlock()
	b.deps.Await(ctx, changed, b.deps.Now().Add(most))
	b.mu.Lock()
}

func (b *Box) changedLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// end ends the Box. Only the first reason counts. What waits for the disk is not on it, unless it is being written.
func (b *Box) end(why error) {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return
	}
	b.err = why
	var watchers []Watcher
	failItems(slices.Concat(b.control, b.pending), why)
	b.control, b.pending, b.bytes = nil, nil, 0
	for _, o := range slices.Sorted(maps.Keys(b.watched)) {
		watchers = append(watchers, b.watched[o])
	}
	clear(b.watched)
	b.changedLocked()
	b.mu.Unlock()
	for _, w := range watchers {
		w(Outcome{}, why)
	}
}

func failItems(items []*item, why error) {
	for _, i := range items {
		i.err = why
		close(i.done)
	}
}

// put writes records down. When it returns nil they are on the disk, and in b.c.
func (b *Box) put(ctx context.Context, records ...record) error {
	if len(records) == 0 {
		return nil
	}
	items := make([]*item, len(records))
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return b.err
	}
	for n, r := range records {
		items[n] = &item{r: r, done: make(chan struct{})}
	}
	b.control = append(b.control, items...)
	b.changedLocked()
	b.mu.Unlock()
	// Not given up with ctx: only the disk knows whether it is there. The end of the Box ends it.
	for _, i := range items {
		b.deps.Await(context.WithoutCancel(ctx), i.done, b.deps.Now().Add(forever))
		if i.err != nil {
			return i.err
		}
	}
	return nil
}

// idsOf are the identities of a table's writes that are numbered.
func (b *Box) idsOf(table string, ordinals []uint64) []api.ProducerSeq {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids, settled := make([]api.ProducerSeq, len(ordinals)), b.c.settled(table)
	for n, o := range ordinals {
		q := b.c.tables[table]
		i, _ := q.find(o)
		ids[n] = api.ProducerSeq{Producer: b.c.producer, Epoch: b.c.epoch, Sequence: q.open[i].sequence, Settled: settled}
	}
	return ids
}
