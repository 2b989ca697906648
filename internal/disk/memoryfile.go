package disk

import (
	"io"
	"io/fs"
	"syscall"
)

// memoryFile is an open file of a Memory. Writes go to the end, as those of Braid always do.
type memoryFile struct {
	m        *Memory
	node     *node
	path     string
	epoch    int
	offset   int
	writable bool
	closed   bool
}

func (f *memoryFile) Name() string { return f.path }

// do runs an operation on the file unless the file is closed or of before a crash.
func (f *memoryFile) do(kind OpKind, bytes int, body func() error) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	op := Op{Kind: kind, Path: f.path, Bytes: bytes}
	wrap := func(err error) error { return &fs.PathError{Op: string(kind), Path: f.path, Err: err} }
	switch {
	case f.epoch != f.m.epoch:
		return wrap(ErrCrashed)
	case f.closed:
		return wrap(fs.ErrClosed)
	case kind.changes() && kind != OpSync && !f.writable:
		return wrap(fs.ErrPermission)
	}
	if err := f.m.begin(op); err != nil {
		if kind == OpSync {
			f.node.failSync()
		}
		return err
	}
	if err := body(); err == io.EOF {
		return err
	} else if err != nil {
		return wrap(err)
	}
	return nil
}

func (f *memoryFile) Read(p []byte) (n int, err error) {
	err = f.do(OpRead, len(p), func() (err error) {
		n, err = f.readAt(p, int64(f.offset))
		f.offset += n
		if n > 0 {
			return nil
		}
		return err
	})
	return n, err
}

func (f *memoryFile) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.do(OpRead, len(p), func() (err error) {
		n, err = f.readAt(p, offset)
		return err
	})
	return n, err
}

func (f *memoryFile) readAt(p []byte, offset int64) (int, error) {
	switch {
	case f.node.dir:
		return 0, syscall.EISDIR
	case offset < 0:
		return 0, fs.ErrInvalid
	case offset >= int64(len(f.node.data)):
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Write(p []byte) (n int, err error) {
	err = f.do(OpWrite, len(p), func() error {
		n = len(p)
		if f.m.capacity > 0 {
			n = int(max(0, min(int64(n), f.m.capacity-f.m.root.used(map[*node]bool{}))))
		}
		f.node.data = append(f.node.data, p[:n]...)
		f.node.modified = f.m.now()
		if n < len(p) {
			return syscall.ENOSPC
		}
		return nil
	})
	return n, err
}

func (f *memoryFile) Sync() error {
	return f.do(OpSync, 0, func() error {
		if f.node.dir {
			return syscall.EISDIR
		}
		f.node.sync()
		return nil
	})
}

func (f *memoryFile) Truncate(size int64) error {
	return f.do(OpTruncate, 0, func() error {
		if size < 0 {
			return fs.ErrInvalid
		}
		data := make([]byte, size)
		copy(data, f.node.data)
		f.node.data = data
		f.node.forget(int(size))
		f.node.modified = f.m.now()
		return nil
	})
}

func (f *memoryFile) Size() (size int64, err error) {
	err = f.do(OpStat, 0, func() error {
		size = int64(len(f.node.data))
		return nil
	})
	return size, err
}

// Close always works: a file that outlived a crash may be closed too.
func (f *memoryFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
