package objstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/disk"
)

const testKey = "wal/p1/3/1.seg"

var testData = strings.Repeat("a sealed segment ", 100)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDisk is a disk with a synced local segment, local/1.seg, that holds testData.
func newDisk(t *testing.T) *disk.Memory {
	t.Helper()
	m := disk.NewMemory()
	must(t, m.MkdirAll("local"))
	must(t, m.WriteFileSync("local/1.seg", []byte(testData)))
	return m
}

func openTest(t *testing.T, m *disk.Memory) *Dir {
	t.Helper()
	d, err := OpenDir(t.Context(), m, "objects")
	must(t, err)
	return d
}

// bodies are the two ways into a store.
func bodies(m *disk.Memory) map[string]Body {
	reader := Bytes([]byte(testData))
	return map[string]Body{"reader": reader, "file": File(m, "local/1.seg", reader.Size, reader.CRC)}
}

// content returns what the object holds, and whether it is there.
func content(t *testing.T, s Store, key string) (string, bool) {
	t.Helper()
	r, _, err := s.Get(t.Context(), key)
	if errors.Is(err, ErrNotFound) {
		return "", false
	}
	must(t, err)
	data, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	return string(data), true
}

// TestI2_APutSurvivesACrashAfterAnyOperation runs a put, crashes after each of its operations in
// turn, and looks at what is left: after nil the object is there, and never in part. The put sent
// again then works.
func TestI2_APutSurvivesACrashAfterAnyOperation(t *testing.T) {
	for name := range bodies(nil) {
		for torn := range uint64(8) {
			for n := 0; ; n++ {
				m := newDisk(t)
				d := openTest(t, m)
				m.StopAfter(n)
				putErr := d.Put(t.Context(), testKey, bodies(m)[name])
				if torn == 0 {
					m.Crash()
				} else {
					m.Crash(disk.Torn(torn))
				}
				d = openTest(t, m)
				got, there := content(t, d, testKey)
				if there && got != testData || !there && putErr == nil {
					t.Fatalf("%s, crash after %d: there %v with %d bytes, put said %v",
						name, n, there, len(got), putErr)
				}
				must(t, d.Put(t.Context(), testKey, bodies(m)[name]))
				m.Crash()
				if got, _ := content(t, openTest(t, m), testKey); got != testData {
					t.Fatalf("%s, crash after %d: the put sent again holds %d bytes", name, n, len(got))
				}
				if putErr == nil {
					break
				}
				if !errors.Is(putErr, disk.ErrCrashed) {
					t.Fatal(putErr)
				}
			}
		}
	}
}

// failing fails every operation of a kind on paths that contain part.
func failing(kind disk.OpKind, part string, err error) func(disk.Op) error {
	return func(op disk.Op) error {
		if op.Kind == kind && strings.Contains(op.Path+" "+op.To, part) {
			return err
		}
		return nil
	}
}

func TestI2_AFailedSyncIsNeverAnAnswerOfNil(t *testing.T) {
	for name := range bodies(nil) {
		for _, test := range []struct {
			kind    disk.OpKind
			part    string
			visible bool // the outcome is unknown: it is there, though not durable
		}{
			{disk.OpSync, ".tmp", false},
			{disk.OpSyncDir, "p1", true},
			{disk.OpWrite, ".tmp", false},
			{disk.OpMkdir, "p1", false},
			{disk.OpLink, testKey, false},
		} {
			if name == "file" && strings.Contains(test.part, ".tmp") {
				continue // a linked file has no temporary one
			}
			m := newDisk(t)
			d := openTest(t, m)
			must(t, d.Put(t.Context(), "wal/p1/3/0.seg", Bytes(nil))) // the folders are there
			if test.kind == disk.OpMkdir {
				d = openTest(t, m)
				must(t, m.Remove("objects/wal/p1/3/0.seg"))
				must(t, m.Remove("objects/wal/p1/3"))
			}
			m.Hook(failing(test.kind, test.part, syscall.EIO))
			if err := d.Put(t.Context(), testKey, bodies(m)[name]); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s, failing %s: %v", name, test.kind, err)
			}
			m.Hook(nil)
			if _, there := content(t, d, testKey); there != test.visible {
				t.Errorf("%s, failing %s: visible is %v", name, test.kind, there)
			}
			must(t, d.Put(t.Context(), testKey, bodies(m)[name]))
			m.Crash()
			if got, _ := content(t, openTest(t, m), testKey); got != testData {
				t.Errorf("%s, failing %s: sent again it holds %d bytes", name, test.kind, len(got))
			}
		}
	}
}

// TestI2_FoldersOfACrashedProcessAreSynced: a folder that is there need not be durable; who made it
// may have died before its sync.
func TestI2_FoldersOfACrashedProcessAreSynced(t *testing.T) {
	for name := range bodies(nil) {
		m := newDisk(t)
		first, second := openTest(t, m), openTest(t, m)
		m.Hook(failing(disk.OpSyncDir, "objects", syscall.EIO))
		for range 5 { // gets one folder further each time
			if err := first.Put(t.Context(), testKey, bodies(m)[name]); err == nil {
				t.Fatal("a put worked without syncs")
			}
		}
		m.Hook(nil)
		must(t, second.Put(t.Context(), testKey, bodies(m)[name]))
		m.Crash()
		if got, _ := content(t, openTest(t, m), testKey); got != testData {
			t.Errorf("%s: holds %d bytes", name, len(got))
		}
	}
}

func TestALocalFileIsLinked(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	var order []string
	m.Hook(func(op disk.Op) error {
		if op.Kind != disk.OpStat {
			order = append(order, string(op.Kind))
		}
		return nil
	})
	must(t, d.Put(t.Context(), testKey, bodies(m)["file"]))
	if got, want := strings.Join(order[len(order)-2:], " "), "link syncdir"; got != want ||
		strings.Contains(strings.Join(order, " "), "write") {
		t.Errorf("operations %v", order)
	}
	order = nil
	must(t, d.Put(t.Context(), "wal/p1/3/2.seg", bodies(m)["file"]))
	if got, want := strings.Join(order, " "), "link syncdir"; got != want {
		t.Errorf("in a known folder: %s, want %s", got, want)
	}
	m.Hook(nil)
	must(t, m.Remove("local/1.seg"))
	if got, _ := content(t, d, testKey); got != testData {
		t.Errorf("the object holds %d bytes after the local name is gone", len(got))
	}
}

func TestALocalFileThatCannotBeLinkedIsCopied(t *testing.T) {
	for _, reason := range []error{syscall.EXDEV, syscall.EPERM, syscall.EMLINK} {
		m := newDisk(t)
		d := openTest(t, m)
		m.Hook(failing(disk.OpLink, "local/1.seg", reason))
		must(t, d.Put(t.Context(), testKey, bodies(m)["file"]))
		m.Hook(nil)
		m.Crash()
		if got, _ := content(t, openTest(t, m), testKey); got != testData {
			t.Errorf("%v: holds %d bytes", reason, len(got))
		}
		if list, err := m.ReadDir("objects/" + tempDir); err != nil || len(list) > 0 {
			t.Errorf("%v: temporary files %v, %v", reason, list, err)
		}
	}
	other := newDisk(t) // another file system altogether
	d := openTest(t, disk.NewMemory())
	must(t, d.Put(t.Context(), testKey, bodies(other)["file"]))
	if got, _ := content(t, d, testKey); got != testData {
		t.Errorf("holds %d bytes", len(got))
	}
}

func TestAFileOfAnotherLengthIsRefused(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	body := bodies(m)["file"]
	body.Size++
	if err := d.Put(t.Context(), testKey, body); !errors.Is(err, ErrBody) {
		t.Error(err)
	}
	if _, there := content(t, d, testKey); there {
		t.Error("it is there all the same")
	}
}

// TestI9_OnlyOldFilesOfOurOwnAreSwept: what another process is writing, and what is not ours,
// stays.
func TestI9_OnlyOldFilesOfOurOwnAreSwept(t *testing.T) {
	m := newDisk(t)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	m.Clock(func() time.Time { return now })
	d := openTest(t, m)
	name := func() string { return filepath.Base(d.tempName()) }
	old, young := name(), name()
	make := func(name string) {
		f, err := m.Create(filepath.Join("objects", tempDir, name))
		must(t, err)
		must(t, f.Close())
	}
	others := []string{"notes.txt", "put-xyz.tmp", "put-" + strings.Repeat("g", 32) + ".tmp", old + "~"}
	for _, n := range append(others, old) {
		make(n)
	}
	now = now.Add(strayAge)
	make(young)
	_, err := openDir(t.Context(), m, "objects", now.Add(strayAge-time.Second))
	must(t, err)
	for _, n := range append(others, young) {
		if _, err := m.Stat(filepath.Join("objects", tempDir, n)); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if _, err := m.Stat(filepath.Join("objects", tempDir, old)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was not swept: %v", old, err)
	}
}

func TestAPutWhoseTemporaryFileIsSweptFailsWithoutEffect(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	m.Hook(failing(disk.OpLink, "put-", fs.ErrNotExist)) // as if it had been removed under the writer
	err := d.Put(t.Context(), testKey, bodies(m)["reader"])
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	m.Hook(nil)
	must(t, d.Put(t.Context(), testKey, bodies(m)["reader"]))
}

func TestOpenRefusesAFileSystemThatReplacesOrCannotLink(t *testing.T) {
	m := newDisk(t)
	m.Hook(failing(disk.OpLink, "", syscall.EPERM))
	if _, err := OpenDir(t.Context(), m, "objects"); err == nil || !strings.Contains(err.Error(), "must have hard links") {
		t.Error(err)
	}
	_, err := OpenDir(t.Context(), replacing{newDisk(t)}, "objects")
	if err == nil || !strings.Contains(err.Error(), "name that was taken") {
		t.Error(err)
	}
}

// replacing is a file system whose links replace.
type replacing struct{ disk.FS }

func (r replacing) Link(from, to string) error {
	if err := r.FS.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return r.FS.Link(from, to)
}

func TestI2_ADamagedObjectIsDifferent(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	must(t, d.Put(t.Context(), testKey, bodies(m)["reader"]))
	must(t, m.WriteFileSync("objects/"+testKey, []byte(testData[1:]+"x"))) // same length
	if err := d.Put(t.Context(), testKey, bodies(m)["reader"]); !errors.Is(err, ErrDifferent) {
		t.Error(err)
	}
}

func TestADirectoryRemovedUnderneathIsMadeAgain(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	must(t, d.Put(t.Context(), testKey, Bytes(nil)))
	must(t, m.Remove("objects/"+testKey))
	must(t, m.Remove("objects/wal/p1/3"))
	first := d.Put(t.Context(), testKey, Bytes(nil))
	if first != nil && !errors.Is(first, fs.ErrNotExist) {
		t.Fatal(first)
	}
	must(t, d.Put(t.Context(), testKey, Bytes(nil)))
}

func TestTheEndOfTheContextEndsACopy(t *testing.T) {
	m := newDisk(t)
	d := openTest(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	m.Hook(func(op disk.Op) error {
		if op.Kind == disk.OpWrite {
			cancel()
		}
		return nil
	})
	err := d.Put(ctx, testKey, Bytes(make([]byte, 1<<20)))
	m.Hook(nil)
	if _, there := content(t, d, testKey); there || !errors.Is(err, context.Canceled) {
		t.Errorf("there %v, %v", there, err)
	}
}
