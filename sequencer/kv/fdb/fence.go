//go:build fdb

package fdb

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/apple/foundationdb/bindings/go/src/fdb"
)

// fences keep commits of unknown outcome from happening late. Every transaction that writes claims a key of its own
// for reading: nobody else does, so it never conflicts there. If its outcome is not known, every transaction after it
// claims that key for writing until one has committed. From then on the lost one either has happened or conflicts.
// (The client library does the same before it reports commit_unknown_result, but not before a time-out or a cancel.)
//
// The keys hold no data and are never written: they only stand in conflict ranges.
type fences struct {
	mu   sync.Mutex
	open map[string]struct{}
}

// fencesMax bounds what is remembered while the cluster is away; transactions wait for it, so few can be open.
const fencesMax = 10_000

// newFence returns a key that nobody else has. 0xff is behind every key of the store.
func newFence(prefix []byte) []byte {
	var random [16]byte
	rand.Read(random[:])
	return append(append(slices.Clone(prefix), 0xff), random[:]...)
}

// raise adds the fences to a transaction that is about to commit, and returns those of others.
func (f *fences) raise(t fdb.Transaction, own []byte) (open []string, err error) {
	f.mu.Lock()
	open = slices.Collect(maps.Keys(f.open))
	f.mu.Unlock()
	err = t.AddReadConflictKey(fdb.Key(own))
	// A transaction without a write would not be looked at by the resolvers.
	err = errors.Join(err, t.AddWriteConflictKey(fdb.Key(own)))
	for _, key := range open {
		err = errors.Join(err, t.AddWriteConflictKey(fdb.Key(key)))
	}
	return open, err
}

// passed says that a transaction with these fences has committed.
func (f *fences) passed(open []string) {
	if len(open) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range open {
		delete(f.open, key)
	}
}

// add remembers the fence of a transaction whose outcome is unknown.
func (f *fences) add(own []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = make(map[string]struct{})
	}
	if len(f.open) < fencesMax {
		f.open[string(own)] = struct{}{}
	}
}
