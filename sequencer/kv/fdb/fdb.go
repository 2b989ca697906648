//go:build fdb

// Package fdb is the store on FoundationDB, through its official Go binding and its C client library. Any number of
// processes may use one cluster; transactions are optimistic, and serialisable across all of them.
//
// All keys lie in a subspace of their own, so that several Braid clusters and other layers share one FoundationDB.
//
// The binding's own retry loop is not used: it takes a commit whose result is unknown for one that failed. Here such a
// commit is kv.ErrUnknown, and is kept from happening late (fences).
package fdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/apple/foundationdb/bindings/go/src/fdb"
	"github.com/apple/foundationdb/bindings/go/src/fdb/tuple"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// apiVersion is the version of the client's API that is used; a client library of 7.3 or later has it.
const apiVersion = 730

// Options of a store. A zero field gets the value in its comment.
type Options struct {
	// ClusterFile names the cluster's coordinators. It must be given.
	ClusterFile string
	// Prefix keeps this cluster's keys apart from others': they begin with the tuple (Prefix). "braid".
	Prefix string
	// Patience bounds a View or Update with all its repetitions: 4 s. It must stay below the 5 s after which
	// FoundationDB refuses a transaction as too old.
	Patience time.Duration
}

// Store implements kv.Store.
type Store struct {
	db       fdb.Database
	prefix   []byte
	patience time.Duration
	fences   fences

	mu     sync.RWMutex // held for reading by transactions, for writing by Close
	closed bool
}

// shards is what a new cluster gets: enough for several transactions in flight, few enough to follow.
const shards = 16

// Open returns a store on a cluster. It does not wait for the cluster to answer: while it is away, transactions end
// with kv.ErrUnavailable.
func Open(o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "braid"
	}
	if o.Patience == 0 {
		o.Patience = 4 * time.Second
	}
	// The client would wait for ever for a file that is not there.
	if f, err := os.Open(o.ClusterFile); err != nil {
		return nil, fmt.Errorf("open FoundationDB: cluster file: %w", err)
	} else if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open FoundationDB: cluster file: %w", err)
	}
	if err := fdb.APIVersion(apiVersion); err != nil {
		return nil, fmt.Errorf("open FoundationDB: API version %d: %w; is the client library of version 7.3?",
			apiVersion, err)
	}
	db, err := fdb.OpenDatabase(o.ClusterFile)
	if err != nil {
		return nil, fmt.Errorf("open FoundationDB with %s: %w", o.ClusterFile, err)
	}
	return &Store{db: db, prefix: tuple.Tuple{o.Prefix}.Pack(), patience: o.Patience}, nil
}

// Shards implements kv.Store.
func (s *Store) Shards() int { return shards }

func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.mu.TryRLock() { // only Close ever locks it
		return errClosed
	}
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	return nil
}

var errClosed = fmt.Errorf("%w: closed", kv.ErrUnavailable)

// begin makes a transaction that ends with ctx, or when patience has. done must be called.
func (s *Store) begin(ctx context.Context) (t fdb.Transaction, done func(), err error) {
	if err := s.enter(ctx); err != nil {
		return t, nil, err
	}
	if t, err = s.db.CreateTransaction(); err == nil {
		// Both outlive the repetitions of the transaction. The delay bounds how long a loser of conflicts waits.
		err = errors.Join(t.Options().SetTimeout(s.patience.Milliseconds()), t.Options().SetMaxRetryDelay(retryDelayMax))
	}
	if err != nil {
		s.mu.RUnlock()
		return t, nil, fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	stop := context.AfterFunc(ctx, t.Cancel)
	return t, func() { stop(); s.mu.RUnlock() }, nil
}

const retryDelayMax = 100 // milliseconds

// View implements kv.Store.
func (s *Store) View(ctx context.Context, f func(kv.Reader) error) error {
	t, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	for {
		err := f(&txn{t: t, prefix: s.prefix})
		var code fdb.Error
		if err == nil || !errors.As(err, &code) {
			return err
		}
		if again := s.repeat(ctx, t, code); again != nil {
			return again
		}
	}
}

// repeat waits until a transaction that had no effect may run again, or says why it may not.
func (s *Store) repeat(ctx context.Context, t fdb.Transaction, code fdb.Error) error {
	if err := t.OnError(code).Get(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	return nil
}

// Update implements kv.Store.
func (s *Store) Update(ctx context.Context, f func(kv.Txn) error) error {
	t, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	fence := newFence(s.prefix)
	for {
		x := &txn{t: t, prefix: s.prefix}
		err := f(x)
		if err == nil {
			err = x.meter.Err()
		}
		var code fdb.Error
		if err == nil {
			if err = s.commit(ctx, t, fence); err == nil {
				return nil
			}
		}
		if errors.Is(err, kv.ErrUnknown) || !errors.As(err, &code) {
			return err
		}
		if again := s.repeat(ctx, t, code); again != nil {
			return again
		}
	}
}

// commit returns nil, the code of an error after which nothing was written, or kv.ErrUnknown.
func (s *Store) commit(ctx context.Context, t fdb.Transaction, fence []byte) error {
	open, err := s.fences.raise(t, fence)
	if err != nil {
		return fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	err = t.Commit().Get()
	var code fdb.Error
	switch {
	case err == nil:
		s.fences.passed(open)
		return nil
	case errors.As(err, &code) && notCommitted(code.Code):
		return code
	}
	s.fences.add(fence)
	return fmt.Errorf("%w: commit: %w", kv.ErrUnknown, err)
}

// notCommitted says of the error of a commit that nothing was written, and nothing will be. Every other error may be
// one of a commit that happens: 1021 (commit_unknown_result), 1025 (cancelled by us), 1031 (timed out), 1039
// (cluster_version_changed), and whatever a later version adds.
func notCommitted(code int) bool {
	switch code {
	case 1020, // not_committed: a conflict
		1007,       // transaction_too_old
		1009,       // future_version
		1037,       // process_behind
		1038,       // database_locked
		1042, 1078, // proxy_memory_limit_exceeded
		1051, 1213, 1223, // throttled
		2101, 2102, 2103: // transaction, key, value too large
		return true
	}
	return false
}

// Watch implements kv.Store.
func (s *Store) Watch(ctx context.Context, key []byte) (<-chan struct{}, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	// A transaction without a time-out: a watch lives in it, and dies of it.
	t, err := s.db.CreateTransaction()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	w := t.Watch(fdb.Key(append(s.prefix[:len(s.prefix):len(s.prefix)], key...)))
	if err := s.establish(ctx, t); err != nil {
		w.Cancel()
		return nil, err
	}
	changed := make(chan struct{})
	stop := context.AfterFunc(ctx, w.Cancel)
	go func() { // ends with the watch
		defer stop()
		defer close(changed)
		// An error ends the watch too: the caller looks, and watches again.
		_ = w.Get()
	}()
	return changed, nil
}

// establish commits the transaction of a watch, which writes nothing, within patience.
func (s *Store) establish(ctx context.Context, t fdb.Transaction) error {
	bound, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	defer context.AfterFunc(bound, t.Cancel)()
	if err := t.Commit().Get(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: watch: %w", kv.ErrUnavailable, err)
	}
	return nil
}

// Close implements kv.Store. The client's connection stays for the process: others may use the same cluster file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
