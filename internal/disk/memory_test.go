package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func absent(t *testing.T, fsys FS, path string) {
	t.Helper()
	if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: %v, want that it does not exist", path, err)
	}
}

func TestCrashKeepsWhatWasSyncedAndNothingElse(t *testing.T) {
	for _, test := range []struct {
		name   string
		run    func(t *testing.T, m *Memory)
		remain map[string]string // "-": does not exist
	}{
		{"name without SyncDir", func(t *testing.T, m *Memory) {
			create(t, m, "f", "synced content")
		}, map[string]string{"f": "-"}},
		{"name without content", func(t *testing.T, m *Memory) {
			f, err := m.Create("f")
			must(t, err)
			_, err = f.Write([]byte("never synced"))
			must(t, err)
			must(t, m.SyncDir("."))
		}, map[string]string{"f": ""}},
		{"content synced, more written", func(t *testing.T, m *Memory) {
			create(t, m, "f", "synced")
			must(t, m.SyncDir("."))
			f, err := m.OpenAppend("f")
			must(t, err)
			_, err = f.Write([]byte(" and not"))
			must(t, err)
		}, map[string]string{"f": "synced"}},
		{"truncated without sync", func(t *testing.T, m *Memory) {
			create(t, m, "f", "synced")
			must(t, m.SyncDir("."))
			f, err := m.OpenAppend("f")
			must(t, err)
			must(t, f.Truncate(2))
		}, map[string]string{"f": "synced"}},
		{"renamed without SyncDir", func(t *testing.T, m *Memory) {
			create(t, m, "a", "a")
			must(t, m.SyncDir("."))
			must(t, m.Rename("a", "b"))
		}, map[string]string{"a": "a", "b": "-"}},
		{"removed without SyncDir", func(t *testing.T, m *Memory) {
			create(t, m, "a", "a")
			must(t, m.SyncDir("."))
			must(t, m.Remove("a"))
		}, map[string]string{"a": "a"}},
		{"moved, only the target synced", func(t *testing.T, m *Memory) {
			must(t, m.MkdirAll("dir"))
			create(t, m, "a", "a")
			must(t, m.SyncDir("."))
			must(t, m.Rename("a", "dir/a"))
			must(t, m.SyncDir("dir"))
		}, map[string]string{"a": "a", "dir/a": "a"}},
		{"linked and synced", func(t *testing.T, m *Memory) {
			must(t, m.MkdirAll("dir"))
			create(t, m, "a", "a")
			must(t, m.Link("a", "dir/a"))
			must(t, m.SyncDir("dir"))
		}, map[string]string{"a": "-", "dir/a": "a"}},
		{"MkdirAll is durable", func(t *testing.T, m *Memory) {
			must(t, m.MkdirAll("x/y/z"))
			create(t, m, "x/y/z/f", "f")
			must(t, m.SyncDir("x/y/z"))
		}, map[string]string{"x/y/z/f": "f"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := NewMemory()
			test.run(t, m)
			m.Crash()
			for path, want := range test.remain {
				if want == "-" {
					absent(t, m, path)
				} else {
					holds(t, m, path, want)
				}
			}
		})
	}
}

func TestCrashKillsFilesAndFreesLocks(t *testing.T) {
	m := NewMemory()
	f, err := m.Create("f")
	must(t, err)
	lock, err := m.Lock("lock")
	must(t, err)
	m.Crash()
	_, err = f.Write([]byte("x"))
	wants(t, err, ErrCrashed)
	wants(t, f.Sync(), ErrCrashed)
	must(t, f.Close())
	again, err := m.Lock("lock")
	must(t, err)
	must(t, lock.Close()) // of before the crash: it must not free the new one
	_, err = m.Lock("lock")
	wants(t, err, ErrLocked)
	must(t, again.Close())
}

// TestWriteFileSyncIsAtomic crashes after every operation: the file has its old content or the new
// one, and the new one once WriteFileSync has returned.
func TestWriteFileSyncIsAtomic(t *testing.T) {
	for torn := range 20 {
		for n := 0; ; n++ {
			m := NewMemory()
			must(t, m.MkdirAll("dir"))
			must(t, m.WriteFileSync("dir/state", []byte("old")))
			m.StopAfter(n)
			err := m.WriteFileSync("dir/state", []byte("new content"))
			if torn == 0 {
				m.Crash()
			} else {
				m.Crash(Torn(uint64(torn)))
			}
			data, readErr := ReadFile(m, "dir/state")
			must(t, readErr)
			if s := string(data); s != "new content" && (s != "old" || err == nil) {
				t.Fatalf("crash after operation %d: %q, WriteFileSync said %v", n, s, err)
			}
			if err == nil {
				if n < 4 {
					t.Fatalf("only %d operations", n)
				}
				break
			}
			wants(t, err, ErrCrashed)
		}
	}
}

func TestTornKeepsAPrefix(t *testing.T) {
	const synced, loose = "synced ", "0123456789"
	lengths, zeros := map[int]bool{}, false
	for seed := range uint64(200) {
		var before string
		for range 2 { // the same seed leaves the same
			m := NewMemory()
			create(t, m, "f", synced)
			must(t, m.SyncDir("."))
			f, err := m.OpenAppend("f")
			must(t, err)
			_, err = f.Write([]byte(loose))
			must(t, err)
			m.Crash(Torn(seed))
			data, err := ReadFile(m, "f")
			must(t, err)
			tail, ok := strings.CutPrefix(string(data), synced)
			if !ok || !strings.HasPrefix(loose, strings.TrimRight(tail, "\x00")) || len(tail) > len(loose) {
				t.Fatalf("seed %d: %q", seed, data)
			}
			if before != "" && before != string(data) {
				t.Fatalf("seed %d: %q, then %q", seed, before, data)
			}
			before = string(data)
			lengths[len(tail)] = true
			zeros = zeros || strings.HasSuffix(tail, "\x00")
		}
	}
	if len(lengths) != len(loose)+1 || !zeros {
		t.Errorf("lengths %v, zeros %v: the seeds do not reach everything", lengths, zeros)
	}
}

// TestAFailedSyncLosesBytes: Linux marks pages clean whose write failed, so that the next sync says
// nil about nothing.
func TestAFailedSyncLosesBytes(t *testing.T) {
	m := NewMemory()
	f, err := m.Create("f")
	must(t, err)
	must(t, m.SyncDir("."))
	write := func(s string) {
		_, err := f.Write([]byte(s))
		must(t, err)
	}
	write("good ")
	must(t, f.Sync())
	write("lost ")
	m.Hook(func(op Op) error {
		if op.Kind == OpSync {
			return syscall.EIO
		}
		return nil
	})
	wants(t, f.Sync(), syscall.EIO)
	m.Hook(nil)
	write("new")
	must(t, f.Sync())
	holds(t, m, "f", "good lost new")
	m.Crash()
	holds(t, m, "f", "good \x00\x00\x00\x00\x00new")
}

func TestFullDiskWritesWhatFits(t *testing.T) {
	m := NewMemory()
	m.SetCapacity(10)
	create(t, m, "a", "123456")
	f, err := m.Create("b")
	must(t, err)
	n, err := f.Write([]byte("123456"))
	if wants(t, err, syscall.ENOSPC); n != 4 {
		t.Errorf("%d bytes fit", n)
	}
	must(t, m.Remove("a"))
	_, err = f.Write([]byte("56"))
	must(t, err)
	holds(t, m, "b", "123456")
}

func TestStopAfterCountsWhatChanges(t *testing.T) {
	m := NewMemory()
	before := m.Ops()
	create(t, m, "f", "x") // create, write, sync
	must(t, m.SyncDir("."))
	if n := m.Ops() - before; n != 4 {
		t.Fatalf("%d operations, want 4", n)
	}
	holds(t, m, "f", "x")
	if n := m.Ops() - before; n != 4 {
		t.Fatalf("reading counts: %d", n)
	}
	m.StopAfter(1)
	must(t, m.Remove("f"))
	_, err := m.Stat("f")
	wants(t, err, ErrCrashed)
	wants(t, m.Link("f", "g"), ErrCrashed)
	m.Crash()
	holds(t, m, "f", "x")
}

// TestOrderOfWriteFileSync is the reason that a crash leaves the old file or the new one, as a
// list.
func TestOrderOfWriteFileSync(t *testing.T) {
	m := NewMemory()
	must(t, m.MkdirAll("d"))
	var order []string
	m.Hook(func(op Op) error {
		order = append(order, string(op.Kind))
		return nil
	})
	must(t, m.WriteFileSync("d/f", []byte("x")))
	if got, want := fmt.Sprint(order), "[create write sync rename syncdir]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestErrorsLeaveNoTemporaryFile(t *testing.T) {
	for _, kind := range []OpKind{OpWrite, OpSync, OpRename} {
		m := NewMemory()
		m.Hook(func(op Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		})
		wants(t, m.WriteFileSync("f", []byte("x")), syscall.EIO)
		m.Hook(nil)
		list, err := m.ReadDir(".")
		must(t, err)
		if len(list) > 0 {
			t.Errorf("%s failed and left %s", kind, list[0].Name())
		}
	}
}
