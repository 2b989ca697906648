//go:build fdb

package fdb

import (
	"errors"
	"testing"

	"github.com/apple/foundationdb/bindings/go/src/fdb"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/fdb/fdbtest"
)

// TestACommitThatArrivesLateConflicts: a transaction whose caller has given up, and whose commit is still on its way,
// cannot happen any more once another one of the store has been answered, also if neither touches a key of the other.
func TestACommitThatArrivesLateConflicts(t *testing.T) {
	s, err := Open(Options{ClusterFile: fdbtest.Start(t).ClusterFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []bool{false, true} {
		late, err := s.db.CreateTransaction()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := late.GetReadVersion().Get(); err != nil {
			t.Fatal(err)
		}
		fence := newFence(s.prefix)
		if _, err := s.fences.raise(late, fence); err != nil {
			t.Fatal(err)
		}
		late.Set(fdb.Key("late"), nil)
		if given {
			s.fences.add(fence)
		}
		if err := s.Update(t.Context(), func(x kv.Txn) error { x.Set([]byte("other"), nil); return nil }); err != nil {
			t.Fatal(err)
		}
		err = late.Commit().Get()
		var code fdb.Error
		if conflict := errors.As(err, &code) && code.Code == 1020; conflict != given || !given && err != nil {
			t.Errorf("given up: %t; the late commit ends with %v", given, err)
		}
		if n := len(s.fences.open); n > 0 {
			t.Errorf("given up: %t; %d fences are still open", given, n)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
