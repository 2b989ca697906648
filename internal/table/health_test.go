package table

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// unreadable makes every operation below a folder fail, as a folder does that may not be read.
func unreadable(m *disk.Memory, folder string) (readable func()) {
	m.Hook(func(op disk.Op) error {
		if strings.HasPrefix(op.Path, folder) {
			return syscall.EACCES
		}
		return nil
	})
	return func() { m.Hook(nil) }
}

// TestI8_OneTablesFolderHoldsUpNoOther: a table whose folder cannot be used stands and says why; the others are
// applied, checkpoints are written, and it goes on when the folder is there again. It is the same whether that comes
// while the node runs or before it starts.
func TestI8_OneTablesFolderHoldsUpNoOther(t *testing.T) {
	log := commitLog(12, 3, 90)
	reference := open(t, disk.NewMemory())
	mustFollow(t, reference, log, 1)
	for _, restart := range []bool{false, true} {
		mem := disk.NewMemory()
		s := open(t, mem)
		if _, err := s.Apply(0, log[:30], nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		readable := unreadable(mem, filepath.Join(root, "tables", "table1"))
		if restart {
			s = open(t, mem)
		}
		mustFollow(t, s, log, 2)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		all := s.Standing(0)
		if len(all) != 1 || all[0].Table != "table1" || !errors.Is(all[0].Why, syscall.EACCES) {
			t.Fatalf("restart %v: standing %+v", restart, all)
		}
		for _, other := range []string{"table0", "table2"} {
			if got, want := s.AppliedTxID(other), reference.AppliedTxID(other); got != want {
				t.Fatalf("restart %v: %s is at %d of %d", restart, other, got, want)
			}
		}
		readable()
		for at, ok := s.Stalled(0, 0); ok; at, ok = s.Stalled(0, 0) {
			if _, err := s.Apply(0, log[at-1:], nil); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := describe(s), describe(reference); got != want || len(s.Standing(0)) != 0 {
			t.Fatalf("restart %v: after it was readable again:\n%swant:\n%s", restart, got, want)
		}
	}
}

// TestCheckFindsEveryDamage flips each byte of a record file in turn, and damages it in other ways: Check says so, and
// after Repair and the log the table is as it was.
func TestCheckFindsEveryDamage(t *testing.T) {
	log := commitLog(13, 2, 12)
	mem := disk.NewMemory()
	s := open(t, mem)
	mustFollow(t, s, log, 1)
	want, path := describe(s), s.find("table1").path()
	good, err := disk.ReadFile(mem, path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := disk.ReadFile(mem, s.find("table0").path())
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, damaged []byte) {
		t.Helper()
		if err := mem.WriteFileSync(path, damaged); err != nil {
			t.Fatal(err)
		}
		err := s.Check("table1", func(int64, *api.LogRecord) bool { return true })
		if corrupt := new(CorruptError); !errors.As(err, &corrupt) {
			t.Fatalf("%s: Check says %v", what, err)
		}
		if err := s.Repair("table1"); err != nil {
			t.Fatal(err)
		}
		if all := s.Standing(0); len(all) != 1 || all[0].Table != "table1" {
			t.Fatalf("%s: standing %+v", what, all)
		}
		for at, ok := s.Stalled(0, 0); ok; at, ok = s.Stalled(0, 0) {
			if _, err := s.Apply(0, log[at-1:], nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := describe(s); got != want {
			t.Fatalf("%s: after the repair:\n%swant:\n%s", what, got, want)
		}
		records := 0
		err = s.Check("table1", func(int64, *api.LogRecord) bool { records++; return true })
		if err != nil || uint64(records) != s.find("table1").state.records {
			t.Fatalf("%s: %d records after the repair, %v", what, records, err)
		}
	}
	for i := range good {
		b := append([]byte(nil), good...)
		b[i] ^= 1
		check("a flipped byte", b)
	}
	check("cut short", good[:len(good)-1])
	check("empty", nil)
	check("another table's file", other)
}

func TestCheckOfAFileThatIsGone(t *testing.T) {
	mem := disk.NewMemory()
	s := open(t, mem)
	mustFollow(t, s, commitLog(14, 1, 5), 1)
	if err := mem.Remove(s.find("table0").path()); err != nil {
		t.Fatal(err)
	}
	corrupt := new(CorruptError)
	if err := s.Check("table0", func(int64, *api.LogRecord) bool { return true }); !errors.As(err, &corrupt) {
		t.Fatalf("Check says %v", err)
	}
}

func TestDamagedCheckpointIsWrittenAnew(t *testing.T) {
	mem := disk.NewMemory()
	s := open(t, mem)
	mustFollow(t, s, commitLog(15, 2, 20), 1)
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	want, err := disk.ReadFile(mem, checkpointPath(root))
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func() error{
		"flipped": func() error {
			return rewrite(mem, checkpointPath(root), func(b []byte) []byte { b[9] ^= 1; return b })
		},
		"gone": func() error { return mem.Remove(checkpointPath(root)) },
	} {
		if err := errors.Join(s.CheckCheckpoint(), damage()); err != nil {
			t.Fatal(what, err)
		}
		if s.CheckCheckpoint() == nil {
			t.Errorf("%s: not noticed", what)
		}
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if got, err := disk.ReadFile(mem, checkpointPath(root)); err != nil || string(got) != string(want) {
			t.Errorf("%s: %v, %d bytes are there", what, err, len(got))
		}
	}
}
