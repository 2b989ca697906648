package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-551dd829/braid/internal/disk"
)

// find says whether there is an object at path. A directory is none, and neither is what lies below
// an object.
func (d *Dir) find(path string) (fs.FileInfo, error) {
	info, err := d.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, ErrNotFound
	}
	return info, nil
}

func (d *Dir) open(path string) (disk.File, int64, error) {
	if _, err := d.find(path); err != nil {
		return nil, 0, err
	}
	f, err := d.fs.Open(path)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

func (d *Dir) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := check(ctx, key); err != nil {
		return nil, 0, fmt.Errorf("get: %w", err)
	}
	f, size, err := d.open(d.path(key))
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", key, err)
	}
	return Sized(f, size), size, nil
}

func (d *Dir) Stat(ctx context.Context, key string) (Info, error) {
	if err := check(ctx, key); err != nil {
		return Info{}, fmt.Errorf("stat: %w", err)
	}
	info, err := d.find(d.path(key))
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return Info{Key: key, Size: info.Size()}, nil
}

func check(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		l := lister{d: d, ctx: ctx, prefix: prefix, yield: yield}
		if _, err := l.walk(""); err != nil {
			yield(Info{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

type lister struct {
	d      *Dir
	ctx    context.Context // of one call of List
	prefix string
	yield  func(Info, error) bool
}

// walk yields what is in the directory dir (a key with a slash at its end, or ""). It returns false
// when the receiver has had enough.
func (l *lister) walk(dir string) (more bool, err error) {
	if err := l.ctx.Err(); err != nil {
		return false, err
	}
	entries, err := l.d.fs.ReadDir(l.d.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// As keys: a directory is followed by a slash, so that "a-b" comes before "a/c".
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		return strings.Compare(sortKey(a), sortKey(b))
	})
	for _, e := range entries {
		key := dir + sortKey(e)
		if e.Name()[0] == '.' || !l.below(key) {
			continue
		}
		if e.IsDir() {
			more, err = l.walk(key)
		} else {
			more, err = l.object(key, e)
		}
		if err != nil || !more {
			return more, err
		}
	}
	return true, nil
}

func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// below says whether key, or something in the directory key, has the prefix.
func (l *lister) below(key string) bool {
	return strings.HasPrefix(key, l.prefix) ||
		strings.HasSuffix(key, "/") && strings.HasPrefix(l.prefix, key)
}

func (l *lister) object(key string, e fs.DirEntry) (more bool, err error) {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return l.yield(Info{Key: filepath.ToSlash(key), Size: info.Size()}, nil), nil
}
