// Package memory is a store in memory, for tests and simulation. Its transactions are optimistic, as FoundationDB's
// are: they run on a snapshot, side by side, and one that read what another has written meanwhile runs again.
// Conflicts, unknown results and latency can be injected; without them it is deterministic for one goroutine.
// It does not promise durability.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Fault is what happens to one attempt of an Update. The zero Fault lets it be.
type Fault struct {
	TooOld   int  // not 0: its read of this number, from 1, is refused as too old, and its function runs again
	Conflict bool // it conflicts, and its function runs again
	Unknown  Unknown
	Delay    time.Duration // before it commits
}

// Unknown says whether an attempt ends with kv.ErrUnknown, and whether it happened.
type Unknown uint8

const (
	Known Unknown = iota
	UnknownDone
	UnknownNotDone
)

// Options of a store. The zero value injects nothing, and makes one shard.
type Options struct {
	// Inject is asked before each attempt of an Update, with the attempt's number from 1. It is called from one
	// goroutine at a time.
	Inject func(attempt uint64) Fault
	// Sleep waits for an injected delay; nil uses a timer.
	Sleep  func(context.Context, time.Duration) error
	Shards int
}

// Store implements kv.Store.
type Store struct {
	opts    Options
	watches kv.Watches
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	root     *node
	attempts uint64
	version  uint64
	history  []commit // of the last historyMax versions, the newest last
}

// historyMax bounds what is kept to find conflicts; a transaction that began before it runs again.
const historyMax = 4096

// commit is what one version wrote: spans in order.
type commit struct {
	version uint64
	spans   []span
}

// span is begin <= key < end.
type span struct{ begin, end string }

// New returns an empty store.
func New(o Options) *Store {
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Shards == 0 {
		o.Shards = 1
	}
	return &Store{opts: o}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shards implements kv.Store.
func (s *Store) Shards() int { return s.opts.Shards }

// begin returns a snapshot, and holds Close back until done is called.
func (s *Store) begin(ctx context.Context) (root *node, version uint64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	s.running.Add(1)
	return s.root, s.version, nil
}

// View implements kv.Store.
func (s *Store) View(ctx context.Context, f func(kv.Reader) error) error {
	root, _, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.running.Done()
	return f(&txn{root: root})
}

// Update implements kv.Store.
func (s *Store) Update(ctx context.Context, f func(kv.Txn) error) error {
	for {
		again, err := s.attempt(ctx, f)
		if !again {
			return err
		}
	}
}

func (s *Store) attempt(ctx context.Context, f func(kv.Txn) error) (again bool, err error) {
	root, version, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer s.running.Done()
	fault := s.fault()
	t := &txn{root: root, optimistic: true, oldAt: fault.TooOld}
	if err := f(t); err != nil || t.old {
		return t.old, err
	}
	if err := t.meter.Err(); err != nil {
		return false, err
	}
	if fault.Delay > 0 {
		if err := s.opts.Sleep(ctx, fault.Delay); err != nil {
			return false, err
		}
	}
	switch {
	case fault.Conflict:
		return true, nil
	case fault.Unknown == UnknownNotDone:
		return false, kv.ErrUnknown
	case !s.commit(t, version):
		return true, nil
	case fault.Unknown == UnknownDone:
		return false, kv.ErrUnknown
	}
	return false, nil
}

func (s *Store) fault() Fault {
	if s.opts.Inject == nil {
		return Fault{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	return s.opts.Inject(s.attempts)
}

// commit applies what t wrote to the present state, unless something that t read has changed since its version.
func (s *Store) commit(t *txn, version uint64) bool {
	if len(t.writes) == 0 {
		return true // it read one snapshot, and that is a place in the order
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == version {
		s.root = t.root
	} else {
		if s.conflicts(t.reads, version) {
			return false
		}
		for _, w := range t.writes {
			s.root = w.apply(s.root)
		}
	}
	s.version++
	s.history = append(s.history, commit{version: s.version, spans: t.spans()})
	if len(s.history) > historyMax {
		s.history = slices.Clone(s.history[historyMax/2:])
	}
	if s.watches.Watched() {
		s.watches.Written(func(key string) bool { return touches(t.spans(), key) })
	}
	return true
}

// conflicts says whether a version after the given one wrote what was read; s.mu is held.
func (s *Store) conflicts(reads []span, version uint64) bool {
	if len(s.history) == 0 || s.history[0].version > version+1 {
		return true // too old to tell
	}
	for _, c := range s.history[version+1-s.history[0].version:] {
		for _, r := range reads {
			if overlaps(c.spans, r) {
				return true
			}
		}
	}
	return false
}

// overlaps says whether one of spans, which are sorted and disjoint, overlaps r.
func overlaps(spans []span, r span) bool {
	i, _ := slices.BinarySearchFunc(spans, r.begin, func(s span, key string) int {
		if s.end <= key {
			return -1
		}
		return 1
	})
	return i < len(spans) && spans[i].begin < r.end
}

func touches(spans []span, key string) bool {
	return overlaps(spans, span{key, key + "\x00"})
}

// Watch implements kv.Store.
func (s *Store) Watch(ctx context.Context, key []byte) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	return s.watches.Add(ctx, key), ctx.Err()
}

// Close implements kv.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
