package table

import (
	"container/list"
	"errors"
	"sync"

	"github.com/seed-551dd829/braid/internal/disk"
)

// files keeps the record files that were used last open for appending, at most max of them besides those in use.
type files struct {
	fsys disk.FS
	max  int

	mu     sync.Mutex
	open   map[string]*handle
	recent list.List // of *handle, most recently used first
}

type handle struct {
	path  string
	file  disk.File
	users int
	el    *list.Element
}

func newFiles(fsys disk.FS, max int) *files {
	return &files{fsys: fsys, max: max, open: make(map[string]*handle)}
}

// with calls fn with the file at path, open for appending.
func (f *files) with(path string, fn func(disk.File) error) error {
	h, err := f.take(path)
	if err != nil {
		return err
	}
	return errors.Join(fn(h.file), f.release(h))
}

func (f *files) take(path string) (*handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.open[path]
	if h == nil {
		file, err := f.fsys.OpenAppend(path)
		if err != nil {
			return nil, err
		}
		h = &handle{path: path, file: file}
		h.el = f.recent.PushFront(h)
		f.open[path] = h
	}
	f.recent.MoveToFront(h.el)
	h.users++
	return h, nil
}

func (f *files) release(h *handle) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.users--
	return f.trim(f.max)
}

// trim closes what was not used for longest. What it has written stays to be synced through another handle.
func (f *files) trim(keep int) (err error) {
	for el := f.recent.Back(); el != nil && f.recent.Len() > keep; {
		h, next := el.Value.(*handle), el.Prev()
		if h.users == 0 {
			f.recent.Remove(el)
			delete(f.open, h.path)
			err = errors.Join(err, h.file.Close())
		}
		el = next
	}
	return err
}

// forget closes the handle of path, if there is one, because the file behind the name has changed.
func (f *files) forget(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.open[path]
	if h == nil {
		return nil
	}
	f.recent.Remove(h.el)
	delete(f.open, path)
	return h.file.Close()
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trim(0)
}
