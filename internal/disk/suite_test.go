package disk

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFS runs one suite on the real disk and on the one in memory, so that the latter cannot drift
// away.
func TestFS(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (FS, string){
		"OS":     func(t *testing.T) (FS, string) { return OS, t.TempDir() },
		"Memory": func(*testing.T) (FS, string) { return NewMemory(), "." },
	} {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				name string
				run  func(t *testing.T, fsys FS, root string)
			}{
				{"WriteAndRead", writeAndRead},
				{"CreateDoesNotTruncateALinkedFile", createLeavesLinksAlone},
				{"OpenAppend", openAppend},
				{"Truncate", truncate},
				{"Rename", rename},
				{"LinkNeverReplaces", linkNeverReplaces},
				{"Remove", remove},
				{"MkdirAll", mkdirs},
				{"ReadDirIsSorted", readDirSorted},
				{"WriteFileSyncReplaces", writeFileSyncReplaces},
				{"LockExcludes", lockExcludes},
				{"Missing", missing},
				{"Closed", closed},
			} {
				t.Run(test.name, func(t *testing.T) {
					fsys, root := open(t)
					test.run(t, fsys, root)
				})
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func create(t *testing.T, fsys FS, path, data string) {
	t.Helper()
	f, err := fsys.Create(path)
	must(t, err)
	n, err := f.Write([]byte(data))
	must(t, err)
	if n != len(data) {
		t.Fatalf("wrote %d of %d bytes", n, len(data))
	}
	must(t, f.Sync())
	must(t, f.Close())
}

func holds(t *testing.T, fsys FS, path, want string) {
	t.Helper()
	data, err := ReadFile(fsys, path)
	must(t, err)
	if string(data) != want {
		t.Fatalf("%s holds %q, want %q", path, data, want)
	}
}

func writeAndRead(t *testing.T, fsys FS, root string) {
	path := filepath.Join(root, "f")
	create(t, fsys, path, "hello")
	holds(t, fsys, path, "hello")
	f, err := fsys.Open(path)
	must(t, err)
	if f.Name() != path {
		t.Errorf("name %q", f.Name())
	}
	all, err := io.ReadAll(f)
	must(t, err)
	var part [3]byte
	n, err := f.ReadAt(part[:], 3)
	if string(all) != "hello" || n != 2 || err != io.EOF || string(part[:n]) != "lo" {
		t.Errorf("read %q, then %q with %v", all, part[:n], err)
	}
	if n, err := f.ReadAt(part[:], 1); n != 3 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a file that was opened for reading can be written")
	}
	must(t, f.Close())
	create(t, fsys, path, "")
	holds(t, fsys, path, "")
}

func createLeavesLinksAlone(t *testing.T, fsys FS, root string) {
	segment, object := filepath.Join(root, "1.seg"), filepath.Join(root, "object")
	create(t, fsys, segment, "sealed")
	must(t, fsys.Link(segment, object))
	create(t, fsys, segment, "new")
	holds(t, fsys, segment, "new")
	holds(t, fsys, object, "sealed")
	must(t, fsys.MkdirAll(filepath.Join(root, "dir")))
	if _, err := fsys.Create(filepath.Join(root, "dir")); err == nil {
		t.Error("a file was created in place of a directory")
	}
}

func openAppend(t *testing.T, fsys FS, root string) {
	path := filepath.Join(root, "log")
	for _, part := range []string{"one ", "two ", "three"} {
		f, err := fsys.OpenAppend(path)
		must(t, err)
		_, err = f.Write([]byte(part))
		must(t, err)
		must(t, f.Close())
	}
	holds(t, fsys, path, "one two three")
}

func truncate(t *testing.T, fsys FS, root string) {
	path := filepath.Join(root, "f")
	create(t, fsys, path, "0123456789")
	f, err := fsys.OpenAppend(path)
	must(t, err)
	must(t, f.Truncate(4))
	size, err := f.Size()
	must(t, err)
	if size != 4 {
		t.Errorf("size %d", size)
	}
	_, err = f.Write([]byte("x"))
	must(t, err)
	must(t, f.Truncate(7))
	must(t, f.Close())
	holds(t, fsys, path, "0123x\x00\x00")
}

func rename(t *testing.T, fsys FS, root string) {
	a, b, dir := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "dir")
	must(t, fsys.MkdirAll(dir))
	create(t, fsys, a, "a")
	create(t, fsys, b, "b")
	must(t, fsys.Rename(a, b))
	holds(t, fsys, b, "a")
	must(t, fsys.Rename(b, b))
	must(t, fsys.Rename(b, filepath.Join(dir, "c")))
	holds(t, fsys, filepath.Join(dir, "c"), "a")
	wants(t, fsys.Rename(a, b), fs.ErrNotExist)
	_, err := fsys.Stat(b)
	wants(t, err, fs.ErrNotExist)
}

func linkNeverReplaces(t *testing.T, fsys FS, root string) {
	a, b, c := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "c")
	create(t, fsys, a, "a")
	create(t, fsys, b, "b")
	wants(t, fsys.Link(a, b), fs.ErrExist)
	holds(t, fsys, b, "b")
	must(t, fsys.Link(a, c))
	must(t, fsys.Remove(a))
	holds(t, fsys, c, "a")
	wants(t, fsys.Link(a, filepath.Join(root, "d")), fs.ErrNotExist)
	wants(t, fsys.Link(c, filepath.Join(root, "none", "d")), fs.ErrNotExist)
}

func remove(t *testing.T, fsys FS, root string) {
	dir := filepath.Join(root, "dir")
	must(t, fsys.MkdirAll(dir))
	create(t, fsys, filepath.Join(dir, "f"), "f")
	if err := fsys.Remove(dir); err == nil {
		t.Error("a directory with a file was removed")
	}
	must(t, fsys.Remove(filepath.Join(dir, "f")))
	must(t, fsys.Remove(dir))
	wants(t, fsys.Remove(dir), fs.ErrNotExist)
}

func mkdirs(t *testing.T, fsys FS, root string) {
	deep := filepath.Join(root, "a", "b", "c")
	must(t, fsys.MkdirAll(deep))
	must(t, fsys.MkdirAll(deep))
	info, err := fsys.Stat(deep)
	must(t, err)
	if !info.IsDir() || info.Name() != "c" {
		t.Errorf("%s is %v", info.Name(), info.Mode())
	}
	create(t, fsys, filepath.Join(root, "f"), "f")
	if fsys.MkdirAll(filepath.Join(root, "f")) == nil || fsys.MkdirAll(filepath.Join(root, "f", "g")) == nil {
		t.Error("a directory was made over a file")
	}
	must(t, fsys.SyncDir(deep))
	wants(t, fsys.SyncDir(filepath.Join(root, "none")), fs.ErrNotExist)
}

func readDirSorted(t *testing.T, fsys FS, root string) {
	must(t, fsys.MkdirAll(filepath.Join(root, "d", "b")))
	for _, name := range []string{"c", "a", "aa"} {
		create(t, fsys, filepath.Join(root, "d", name), name)
	}
	list, err := fsys.ReadDir(filepath.Join(root, "d"))
	must(t, err)
	var names []string
	for _, e := range list {
		info, err := e.Info()
		must(t, err)
		if !e.IsDir() && info.Size() != int64(len(e.Name())) {
			t.Errorf("%s has %d bytes", e.Name(), info.Size())
		}
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{"a", "aa", "b", "c"}) || !list[2].IsDir() || list[0].IsDir() {
		t.Errorf("%v", list)
	}
	_, err = fsys.ReadDir(filepath.Join(root, "none"))
	wants(t, err, fs.ErrNotExist)
}

func writeFileSyncReplaces(t *testing.T, fsys FS, root string) {
	path := filepath.Join(root, "state")
	for _, data := range []string{"first, the longer one", "second", ""} {
		must(t, fsys.WriteFileSync(path, []byte(data)))
		holds(t, fsys, path, data)
	}
	if err := fsys.WriteFileSync(filepath.Join(root, "none", "f"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	list, err := fsys.ReadDir(root)
	must(t, err)
	for _, e := range list {
		if strings.HasSuffix(e.Name(), TempSuffix) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func lockExcludes(t *testing.T, fsys FS, root string) {
	path := filepath.Join(root, "lock")
	first, err := fsys.Lock(path)
	must(t, err)
	_, err = fsys.Lock(path)
	wants(t, err, ErrLocked)
	must(t, first.Close())
	second, err := fsys.Lock(path)
	must(t, err)
	must(t, second.Close())
	_, err = fsys.Lock(filepath.Join(root, "none", "lock"))
	wants(t, err, fs.ErrNotExist)
}

func missing(t *testing.T, fsys FS, root string) {
	_, err := fsys.Open(filepath.Join(root, "none"))
	wants(t, err, fs.ErrNotExist)
	_, err = fsys.Create(filepath.Join(root, "none", "f"))
	wants(t, err, fs.ErrNotExist)
	_, err = fsys.OpenAppend(filepath.Join(root, "none", "f"))
	wants(t, err, fs.ErrNotExist)
	_, err = ReadFile(fsys, filepath.Join(root, "none"))
	wants(t, err, fs.ErrNotExist)
}

func closed(t *testing.T, fsys FS, root string) {
	f, err := fsys.Create(filepath.Join(root, "f"))
	must(t, err)
	must(t, f.Close())
	wants(t, f.Close(), fs.ErrClosed)
	wants(t, f.Sync(), fs.ErrClosed)
	_, err = f.Write([]byte("x"))
	wants(t, err, fs.ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	wants(t, err, fs.ErrClosed)
}
