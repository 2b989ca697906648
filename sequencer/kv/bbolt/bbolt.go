// Package bbolt is the embedded store: one file, one process, every commit fsynced. Transactions that write run one
// after the other; reads run beside them on their own snapshot.
package bbolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// FileName is the store's file in its folder.
const FileName = "store.db"

// mmapBytes is address space reserved for the file: growing past it makes writers wait for readers.
const mmapBytes = 1 << 30

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = 500 * time.Millisecond

var bucketName = []byte("braid")

// Store implements kv.Store.
type Store struct {
	db      *bbolt.DB
	watches kv.Watches
	writing chan struct{} // holds a token while a transaction writes
	failed  atomic.Pointer[error]

	mu      sync.RWMutex // held for reading by transactions, for writing by Close
	closed  bool
	closing chan struct{}
	close   sync.Once // closes closing
}

// Open opens or creates the store in a folder. It fails if another process has it open.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path := filepath.Join(dir, FileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mmapBytes,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: another process has it open; an embedded store serves one process: "+
			"stop the other one (`braid up` holds it too), or give this one another folder", path)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{db: db, writing: make(chan struct{}, 1), closing: make(chan struct{})}
	if err := s.prepare(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepare makes the bucket, and the file's name durable.
func (s *Store) prepare(dir string) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketName)
		return err
	})
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Shards implements kv.Store: one file has one writer, so more than one shard would gain nothing.
func (s *Store) Shards() int { return 1 }

// enter holds Close back until leave.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.mu.TryRLock() { // only Close ever locks it
		return fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	if s.closed {
		s.mu.RUnlock()
		return fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	if err := s.failed.Load(); err != nil {
		s.mu.RUnlock()
		return fmt.Errorf("%w: %w", kv.ErrUnavailable, *err)
	}
	return nil
}

func (s *Store) leave() { s.mu.RUnlock() }

// View implements kv.Store.
func (s *Store) View(ctx context.Context, f func(kv.Reader) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.db.View(func(tx *bbolt.Tx) error { return f(&txn{bucket: tx.Bucket(bucketName)}) })
}

// Update implements kv.Store. There are no conflicts: f runs once.
func (s *Store) Update(ctx context.Context, f func(kv.Txn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("%w: %w", kv.ErrUnavailable, *err)
	}
	return s.update(f)
}

func (s *Store) update(f func(kv.Txn) error) error {
	tx, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	t := &txn{bucket: tx.Bucket(bucketName), watched: s.watches.Watched()}
	done := false
	defer func() { // also when f panics
		if !done {
			_ = tx.Rollback() // it only fails if the transaction has ended
		}
	}()
	if err = f(t); err == nil {
		err = t.meter.Err()
	}
	if err == nil {
		err = t.err
	}
	if err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		err = fmt.Errorf("%w: commit to %s: %w", kv.ErrFailed, s.db.Path(), err)
		s.failed.Store(&err)
		return fmt.Errorf("%w: %w", kv.ErrUnknown, err)
	}
	if t.watched {
		s.watches.Written(t.wrote)
	}
	return nil
}

// Watch implements kv.Store. It waits for the transaction that is writing, so that this one does not end the watch.
func (s *Store) Watch(ctx context.Context, key []byte) (<-chan struct{}, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.watches.Add(ctx, key), nil
}

// Close implements kv.Store.
func (s *Store) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// txn works in a bbolt transaction.
type txn struct {
	bucket  *bbolt.Bucket
	meter   kv.Meter
	err     error
	watched bool
	spans   []span
}

type span struct{ begin, end string }

func (t *txn) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, nil // bbolt has no empty key
	}
	return t.bucket.Get(key), nil
}

func (t *txn) Range(begin, end []byte, limit int, reverse bool) ([]kv.Pair, error) {
	var pairs []kv.Pair
	c := t.bucket.Cursor()
	k, v := c.Seek(begin)
	next := c.Next
	if reverse {
		next = c.Prev
		if k, v = c.Seek(end); k == nil {
			k, v = c.Last()
		}
		for k != nil && bytes.Compare(k, end) >= 0 {
			k, v = c.Prev()
		}
	}
	for k != nil && bytes.Compare(k, begin) >= 0 && bytes.Compare(k, end) < 0 {
		pairs = append(pairs, kv.Pair{Key: k, Value: v})
		if len(pairs) == limit {
			break
		}
		k, v = next()
	}
	return pairs, nil
}

func (t *txn) Set(key, value []byte) {
	if !t.meter.Write(key, value) {
		return
	}
	t.note(key, nil)
	if err := t.bucket.Put(key, value); err != nil && t.err == nil {
		t.err = fmt.Errorf("set %x: %w", key, err)
	}
}

func (t *txn) Clear(key []byte) {
	if t.meter.Write(key, nil) {
		t.note(key, nil)
		t.delete(key)
	}
}

func (t *txn) delete(key []byte) {
	if err := t.bucket.Delete(key); err != nil && t.err == nil {
		t.err = fmt.Errorf("clear %x: %w", key, err)
	}
}

func (t *txn) ClearRange(begin, end []byte) {
	if !t.meter.Write(begin, nil) || !t.meter.Write(end, nil) {
		return
	}
	t.note(begin, end)
	c := t.bucket.Cursor()
	for {
		// Sought anew each time: a cursor does not survive a deletion.
		k, _ := c.Seek(begin)
		if k == nil || bytes.Compare(k, end) >= 0 {
			return
		}
		t.delete(bytes.Clone(k))
		if t.err != nil {
			return
		}
	}
}

func (t *txn) note(begin, end []byte) {
	if !t.watched {
		return
	}
	s := span{begin: string(begin), end: string(end)}
	if end == nil {
		s.end = s.begin + "\x00"
	}
	t.spans = append(t.spans, s)
}

func (t *txn) wrote(key string) bool {
	for _, s := range t.spans {
		if s.begin <= key && key < s.end {
			return true
		}
	}
	return false
}
