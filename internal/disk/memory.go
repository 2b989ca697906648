package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrCrashed is every answer of a Memory that has stopped (see StopAfter), and of a file that was
// opened before a crash.
var ErrCrashed = errors.New("the disk has crashed")

// OpKind is a kind of operation on a Memory.
type OpKind string

// The kinds of operations. MkdirAll and WriteFileSync are made of these.
const (
	OpMkdir    OpKind = "mkdir"
	OpCreate   OpKind = "create"
	OpOpen     OpKind = "open"
	OpAppend   OpKind = "append" // OpenAppend
	OpRead     OpKind = "read"
	OpWrite    OpKind = "write"
	OpSync     OpKind = "sync"
	OpTruncate OpKind = "truncate"
	OpRename   OpKind = "rename"
	OpLink     OpKind = "link"
	OpRemove   OpKind = "remove"
	OpReadDir  OpKind = "readdir"
	OpStat     OpKind = "stat"
	OpSyncDir  OpKind = "syncdir"
	OpLock     OpKind = "lock"
)

// changes says whether the operation can change what a crash leaves behind.
func (k OpKind) changes() bool {
	switch k {
	case OpOpen, OpRead, OpReadDir, OpStat, OpLock:
		return false
	}
	return true
}

// Op is one operation, as a hook sees it.
type Op struct {
	Kind  OpKind
	Path  string
	To    string // of rename and link
	Bytes int    // of write and read
}

func (o Op) String() string {
	s := string(o.Kind) + " " + o.Path
	if o.To != "" {
		s += " " + o.To
	}
	if o.Bytes > 0 {
		s += fmt.Sprintf(" (%d)", o.Bytes)
	}
	return s
}

// Memory is a file system in memory that can crash. Relative and absolute paths start at the same
// root, which is there from the beginning. The zero value is not ready; use NewMemory.
type Memory struct {
	mu       sync.Mutex
	root     *node
	epoch    int // number of crashes; files of an earlier one are dead
	ops      int // operations that change something, since NewMemory
	stopAt   int // operation after which nothing works any more; -1: never
	capacity int64
	hook     func(Op) error
	locks    map[string]bool
	now      func() time.Time
}

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	return &Memory{root: newDir(), stopAt: -1, locks: map[string]bool{}, now: time.Now}
}

// Hook has f called before every operation; an error of f is the operation's answer, and the
// operation has no effect, except that a sync that fails this way loses the bytes that it should
// have made durable for good, as Linux does. f must not call the Memory. A hook that only records
// gives the order of disk operations.
func (m *Memory) Hook(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// Clock sets the time of day that files are stamped with. The default is time.Now.
func (m *Memory) Clock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// SetCapacity bounds the bytes in files. A write over it writes what fits and returns
// syscall.ENOSPC. 0: no bound.
func (m *Memory) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Ops is the number of operations so far that change something. Run a workload once to learn how
// many it has, then once for each of them with StopAfter.
func (m *Memory) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// StopAfter lets n more operations that change something have their effect; then every operation
// fails with ErrCrashed, until Crash.
func (m *Memory) StopAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopAt = m.ops + n
}

// CrashOption says what a crash leaves of what was not synced.
type CrashOption func(*crash)

type crash struct{ random *rand.Rand }

// Torn lets a random part of what was not synced survive: of each file a prefix of the appended
// bytes, of each directory a prefix of the changes; sometimes a file grows without its bytes and
// reads as zeros there. The same seed on the same state gives the same remains.
func Torn(seed uint64) CrashOption {
	return func(c *crash) { c.random = rand.New(rand.NewPCG(seed, 0x746f726e)) }
}

// Crash takes the power away and puts it back: what was not synced is lost, open files are dead,
// locks are free. A stop set by StopAfter is over, and so is nothing else: hook, capacity and clock
// stay.
func (m *Memory) Crash(options ...CrashOption) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var c crash
	for _, o := range options {
		o(&c)
	}
	m.epoch++
	m.stopAt = -1
	clear(m.locks)
	m.root.crash(&c, map[*node]bool{})
}

// begin is called with the lock held, before every operation.
func (m *Memory) begin(op Op) error {
	if m.stopAt >= 0 && m.ops >= m.stopAt {
		return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: ErrCrashed}
	}
	if m.hook != nil {
		if err := m.hook(op); err != nil {
			return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
		}
	}
	if op.Kind.changes() {
		m.ops++
	}
	return nil
}

func split(path string) []string {
	path = strings.Trim(filepath.ToSlash(filepath.Clean(path)), "/")
	if path == "." || path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// find returns the node at path.
func (m *Memory) find(path string) (*node, error) {
	n := m.root
	for _, name := range split(path) {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		child, ok := n.entries[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = child
	}
	return n, nil
}

// place returns the directory of path and the name in it.
func (m *Memory) place(path string) (*node, string, error) {
	parts := split(path)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	parent, err := m.find(strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	if !parent.dir {
		return nil, "", syscall.ENOTDIR
	}
	return parent, parts[len(parts)-1], nil
}

// do runs f as the operation op, under the lock.
func (m *Memory) do(op Op, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(op); err != nil {
		return err
	}
	if err := f(); err != nil {
		return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
	}
	return nil
}

func (m *Memory) MkdirAll(path string) error {
	return mkdirAll(m, m.mkdir, path)
}

func (m *Memory) mkdir(path string) error {
	return m.do(Op{Kind: OpMkdir, Path: path}, func() error {
		parent, name, err := m.place(path)
		if err != nil {
			return err
		}
		if parent.entries[name] != nil {
			return fs.ErrExist
		}
		parent.change(change{put: name, node: newDir()})
		return nil
	})
}

func (m *Memory) Create(path string) (file File, err error) {
	err = m.do(Op{Kind: OpCreate, Path: path}, func() error {
		parent, name, err := m.place(path)
		if err != nil {
			return err
		}
		if old := parent.entries[name]; old != nil && old.dir {
			return syscall.EISDIR
		}
		n := &node{modified: m.now()}
		parent.change(change{put: name, node: n})
		file = &memoryFile{m: m, node: n, path: path, epoch: m.epoch, writable: true}
		return nil
	})
	return file, err
}

func (m *Memory) Open(path string) (file File, err error) {
	err = m.do(Op{Kind: OpOpen, Path: path}, func() error {
		n, err := m.find(path)
		if err != nil {
			return err
		}
		file = &memoryFile{m: m, node: n, path: path, epoch: m.epoch}
		return nil
	})
	return file, err
}

func (m *Memory) OpenAppend(path string) (file File, err error) {
	err = m.do(Op{Kind: OpAppend, Path: path}, func() error {
		parent, name, err := m.place(path)
		if err != nil {
			return err
		}
		n := parent.entries[name]
		if n == nil {
			n = &node{modified: m.now()}
			parent.change(change{put: name, node: n})
		}
		if n.dir {
			return syscall.EISDIR
		}
		file = &memoryFile{m: m, node: n, path: path, epoch: m.epoch, writable: true}
		return nil
	})
	return file, err
}

func (m *Memory) Rename(from, to string) error {
	return m.do(Op{Kind: OpRename, Path: from, To: to}, func() error {
		source, oldName, err := m.place(from)
		if err != nil {
			return err
		}
		target, newName, err := m.place(to)
		if err != nil {
			return err
		}
		n := source.entries[oldName]
		if n == nil {
			return fs.ErrNotExist
		}
		if old := target.entries[newName]; old != nil && (old.dir || n.dir) {
			return fs.ErrExist
		}
		if source == target {
			if oldName != newName {
				source.change(change{put: newName, node: n, drop: oldName})
			}
			return nil
		}
		target.change(change{put: newName, node: n})
		source.change(change{drop: oldName})
		return nil
	})
}

func (m *Memory) Link(from, to string) error {
	return m.do(Op{Kind: OpLink, Path: from, To: to}, func() error {
		n, err := m.find(from)
		if err != nil {
			return err
		}
		if n.dir {
			return fs.ErrPermission
		}
		target, name, err := m.place(to)
		if err != nil {
			return err
		}
		if target.entries[name] != nil {
			return fs.ErrExist
		}
		target.change(change{put: name, node: n})
		return nil
	})
}

func (m *Memory) Remove(path string) error {
	return m.do(Op{Kind: OpRemove, Path: path}, func() error {
		parent, name, err := m.place(path)
		if err != nil {
			return err
		}
		n := parent.entries[name]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && len(n.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		parent.change(change{drop: name})
		return nil
	})
}

func (m *Memory) ReadDir(path string) (list []fs.DirEntry, err error) {
	err = m.do(Op{Kind: OpReadDir, Path: path}, func() error {
		n, err := m.find(path)
		if err != nil {
			return err
		}
		if !n.dir {
			return syscall.ENOTDIR
		}
		for name, child := range n.entries {
			list = append(list, fs.FileInfoToDirEntry(child.info(name)))
		}
		slices.SortFunc(list, func(a, b fs.DirEntry) int {
			return strings.Compare(a.Name(), b.Name())
		})
		return nil
	})
	return list, err
}

func (m *Memory) Stat(path string) (info fs.FileInfo, err error) {
	err = m.do(Op{Kind: OpStat, Path: path}, func() error {
		n, err := m.find(path)
		if err != nil {
			return err
		}
		info = n.info(filepath.Base(path))
		return nil
	})
	return info, err
}

func (m *Memory) SyncDir(path string) error {
	return m.do(Op{Kind: OpSyncDir, Path: path}, func() error {
		n, err := m.find(path)
		if err != nil {
			return err
		}
		if !n.dir {
			return syscall.ENOTDIR
		}
		n.syncDir()
		return nil
	})
}

func (m *Memory) WriteFileSync(path string, data []byte) error {
	return writeFileSync(m, path, data)
}

func (m *Memory) Lock(path string) (closer io.Closer, err error) {
	f, err := m.OpenAppend(path)
	if err != nil {
		return nil, err
	}
	key := strings.Join(split(path), "/")
	err = m.do(Op{Kind: OpLock, Path: path}, func() error {
		if m.locks[key] {
			return ErrLocked
		}
		m.locks[key] = true
		closer = &memoryLock{m: m, key: key, epoch: m.epoch}
		return nil
	})
	return closer, errors.Join(err, f.Close())
}

type memoryLock struct {
	m     *Memory
	key   string
	epoch int
}

func (l *memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.epoch == l.m.epoch {
		delete(l.m.locks, l.key)
		l.epoch = -1
	}
	return nil
}
