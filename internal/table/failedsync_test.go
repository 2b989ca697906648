package table

import (
	"errors"
	"testing"

	"github.com/seed-551dd829/braid/internal/disk"
)

// TestI2_FailedSyncAtOpenEndsTheProcess: a torn end is cut off and the cut is synced; if that sync fails nobody knows
// what the file holds, so the store does not open on it. (Seed 565 of the simulation.)
func TestI2_FailedSyncAtOpenEndsTheProcess(t *testing.T) {
	fsys := disk.NewMemory()
	s := open(t, fsys)
	mustFollow(t, s, commitLog(1, 1, 20), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenAppend(s.tabs["table0"].path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("torn")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("injected")
	fsys.Hook(func(op disk.Op) error {
		if op.Kind == disk.OpSync {
			return failed
		}
		return nil
	})
	if _, err := Open(Config{Dir: root, FS: fsys, Shards: 1}); !errors.Is(err, failed) {
		t.Errorf("opened although the sync of the cut failed: %v", err)
	}
	fsys.Hook(nil)
	open(t, fsys)
}
