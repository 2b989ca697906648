//go:build fdb

package fdb_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
	"github.com/seed-551dd829/braid/sequencer/kv/kvtest"
)

var prefixes atomic.Int64

// open returns a store with a prefix that no other has.
func open(t *testing.T, s *fdbtest.Server, patience time.Duration) kv.Store {
	t.Helper()
	store, err := fdb.Open(fdb.Options{ClusterFile: s.ClusterFile, Patience: patience,
		Prefix: fmt.Sprint("test", prefixes.Add(1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestSuite(t *testing.T) {
	s := fdbtest.Start(t)
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, s, 0) })
}

// TestPrefixesKeepStoresApart: two clusters on one FoundationDB see nothing of each other, also where one prefix
// begins like the other.
func TestPrefixesKeepStoresApart(t *testing.T) {
	s := fdbtest.Start(t)
	var stores []kv.Store
	for _, prefix := range []string{"braid", "braid2", "b"} {
		store, err := fdb.Open(fdb.Options{ClusterFile: s.ClusterFile, Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, store)
		if err := store.Update(t.Context(), func(x kv.Txn) error {
			x.Set([]byte("k"), []byte(prefix))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, prefix := range []string{"braid", "braid2", "b"} {
		if err := stores[i].View(t.Context(), func(r kv.Reader) error {
			pairs, err := r.Range([]byte{0}, []byte{0xff}, 0, false)
			if len(pairs) != 1 || string(pairs[0].Key) != "k" || string(pairs[0].Value) != prefix {
				t.Errorf("%s sees %q", prefix, pairs)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMissingClusterFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.cluster")
	if _, err := fdb.Open(fdb.Options{ClusterFile: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("%v", err)
	}
}

// TestAwayIsUnavailableAndRecovers: while the cluster is away every call ends within its patience, and nothing is
// counted that did not happen; when it is back the same store goes on.
func TestAwayIsUnavailableAndRecovers(t *testing.T) {
	s := fdbtest.Start(t)
	store := open(t, s, 500*time.Millisecond)
	bump(t, store)
	s.Freeze()
	err := store.Update(t.Context(), func(x kv.Txn) error { x.Set([]byte("away"), nil); return nil })
	if !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, kv.ErrUnknown) {
		t.Errorf("Update while away: %v", err)
	}
	read := func(r kv.Reader) error { _, err := r.Get([]byte("n")); return err }
	if err := store.View(t.Context(), read); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("View while away: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := store.View(ctx, read); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("View with a context that ends: %v", err)
	}
	s.Thaw()
	bump(t, store)
	s.Kill()
	s.Restart()
	if n := bump(t, store); n != 3 {
		t.Errorf("counted to %d, want 3", n)
	}
}

// bump counts the key n up by one, and tries until the store is certain. The key of the attempt makes a repetition
// harmless, as identities do for commits.
func bump(t *testing.T, store kv.Store) (n uint64) {
	t.Helper()
	attempt := fmt.Appendf(nil, "attempt%d", prefixes.Add(1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := store.Update(ctx, func(x kv.Txn) error {
			v, err := x.Get([]byte("n"))
			if err != nil {
				return err
			}
			if n = 0; v != nil {
				n = binary.BigEndian.Uint64(v)
			}
			done, err := x.Get(attempt)
			if err != nil || done != nil {
				return err
			}
			n++
			x.Set(attempt, []byte{1})
			x.Set([]byte("n"), binary.BigEndian.AppendUint64(nil, n))
			return nil
		})
		switch {
		case err == nil:
			return n
		case !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, kv.ErrUnknown), ctx.Err() != nil:
			t.Fatal(err)
		}
	}
}

// TestALostCommitDoesNotHappenLate: commits whose callers gave up in the middle either have happened when a later
// transaction of the store has been answered, or never do.
func TestALostCommitDoesNotHappenLate(t *testing.T) {
	s := fdbtest.Start(t)
	store := open(t, s, 0)
	count := func() (n int) {
		if err := store.View(t.Context(), func(r kv.Reader) error {
			pairs, err := r.Range([]byte("lost"), []byte("losu"), 0, false)
			n = len(pairs)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	unknown := 0
	for i := range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%30)*100*time.Microsecond)
		err := store.Update(ctx, func(x kv.Txn) error { x.Set(fmt.Appendf(nil, "lost%d", i), nil); return nil })
		cancel()
		if errors.Is(err, kv.ErrUnknown) {
			unknown++
			bump(t, store)
			before := count()
			bump(t, store)
			if after := count(); after != before {
				t.Fatalf("a lost commit happened late: %d keys, then %d", before, after)
			}
		}
	}
	if unknown == 0 {
		t.Skip("NOT SHOWN: no commit was lost in the middle on this machine")
	}
	t.Logf("%d commits of unknown outcome", unknown)
}
