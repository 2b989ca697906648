package objstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-551dd829/braid/internal/disk"
)

// Dir is a store in a directory: an object is a file with its key as its path. A name appears by
// link(2), which never replaces anything, and only when the bytes are synced; Put returns when the
// name is synced too. Several processes may share the directory, as far as its file system has hard
// links.
type Dir struct {
	fs   disk.FS
	root string

	mu sync.Mutex
	// durable are the directories whose names this process has synced up to root: of a directory
	// that was there before, nobody knows whether the process that made it came to its sync.
	durable map[string]bool
}

const (
	tempDir    = ".tmp" // below root; no key begins with a dot
	tempPrefix = "put-"
	tempSuffix = ".tmp"
	// durableMax bounds the memory of synced directories; past it, it starts anew.
	durableMax = 10_000
	// strayAge is the age from which a temporary file is taken for one that a crash left behind. A
	// put takes seconds. Nothing rests on the guess: should the writer be alive after all, its link
	// finds no file, its put fails without effect and is sent again.
	strayAge = time.Hour
)

// OpenDir opens the store at root, which it makes if need be. It removes temporary files that
// crashed puts left behind, and tries whether the file system has hard links that never replace a
// file.
func OpenDir(ctx context.Context, fsys disk.FS, root string) (*Dir, error) {
	return openDir(ctx, fsys, root, time.Now())
}

func openDir(ctx context.Context, fsys disk.FS, root string, now time.Time) (*Dir, error) {
	d := &Dir{fs: fsys, root: filepath.Clean(root), durable: map[string]bool{}}
	if err := fsys.MkdirAll(filepath.Join(d.root, tempDir)); err != nil {
		return nil, fmt.Errorf("open object store %s: %w", root, err)
	}
	// The root's own name too; where its parent may not be read, it was made by somebody else.
	err := fsys.SyncDir(filepath.Dir(d.root))
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open object store %s: %w", root, err)
	}
	if err := d.sweep(ctx, now); err != nil {
		return nil, fmt.Errorf("open object store %s: %w", root, err)
	}
	if err := d.probe(); err != nil {
		return nil, fmt.Errorf("open object store %s: %w", root, err)
	}
	return d, nil
}

// sweep removes what crashed puts left behind: files with a temporary's name that are old enough.
// Anything else in the folder is left alone.
func (d *Dir) sweep(ctx context.Context, now time.Time) error {
	entries, err := d.fs.ReadDir(filepath.Join(d.root, tempDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !isTemp(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its put has just ended
		}
		if err != nil {
			return err
		}
		if now.Sub(info.ModTime()) < strayAge {
			continue
		}
		err = d.fs.Remove(filepath.Join(d.root, tempDir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (d *Dir) tempName() string {
	var random [16]byte
	rand.Read(random[:])
	return filepath.Join(d.root, tempDir, tempPrefix+hex.EncodeToString(random[:])+tempSuffix)
}

func isTemp(name string) bool {
	middle, ok1 := strings.CutPrefix(name, tempPrefix)
	middle, ok2 := strings.CutSuffix(middle, tempSuffix)
	_, err := hex.DecodeString(middle)
	return ok1 && ok2 && len(middle) == 32 && err == nil
}

// probe links a file to a name twice: the first must work and the second must be refused. A store
// that replaced objects would lose acknowledged writes, so it is better not to start.
func (d *Dir) probe() error {
	first, second := d.tempName(), d.tempName()
	f, err := d.fs.Create(first)
	if err != nil {
		return err
	}
	defer d.fs.Remove(first) // leftovers are swept one day
	if err := f.Close(); err != nil {
		return err
	}
	defer d.fs.Remove(second)
	if err := d.fs.Link(first, second); err != nil {
		return fmt.Errorf("the file system must have hard links: %w", err)
	}
	if err := d.fs.Link(first, second); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the file system linked to a name that was taken: %v", err)
	}
	return nil
}

func (d *Dir) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d *Dir) Put(ctx context.Context, key string, body Body) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if err := d.put(ctx, d.path(key), body); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (d *Dir) put(ctx context.Context, path string, body Body) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.makeDurable(filepath.Dir(path)); err != nil {
		return err
	}
	_, err := d.find(path)
	if err == nil {
		err = fs.ErrExist // seen without writing the body to a temporary file first
	} else if errors.Is(err, ErrNotFound) {
		err = d.link(ctx, path, body)
	}
	if errors.Is(err, fs.ErrExist) {
		err = d.compare(ctx, path, body)
	}
	if errors.Is(err, fs.ErrNotExist) {
		d.forget() // somebody removed a directory; the next try makes it again
	}
	if err != nil {
		return err
	}
	// Also for an object that was there: who put it may not have come to this line.
	return d.fs.SyncDir(filepath.Dir(path))
}

// link gives the body's bytes the name path: fs.ErrExist if it is taken.
func (d *Dir) link(ctx context.Context, path string, body Body) error {
	if body.Path != "" && sameFS(body.fs(), d.fs) {
		info, err := d.fs.Stat(body.Path)
		if err != nil {
			return err
		}
		if info.Size() != body.Size {
			return fmt.Errorf("%s has %d bytes, not %d: %w",
				body.Path, info.Size(), body.Size, ErrBody)
		}
		if err := d.fs.Link(body.Path, path); !cannotLink(err) {
			return err
		}
	}
	temp := d.tempName()
	defer d.fs.Remove(temp) // with or without success; leftovers are swept one day
	if err := d.write(ctx, temp, body); err != nil {
		return err
	}
	return d.fs.Link(temp, path)
}

// sameFS compares file systems; one whose type cannot be compared is another one, and its files are
// copied.
func sameFS(a, b disk.FS) bool { return reflect.TypeOf(a).Comparable() && a == b }

// cannotLink says whether a local file cannot be linked into the store, so that it must be copied:
// it is on another file system, belongs to somebody else (fs.protected_hardlinks), or has too many
// links.
func cannotLink(err error) bool {
	for _, reason := range []error{syscall.EXDEV, syscall.EPERM, syscall.EACCES, syscall.EMLINK,
		syscall.ENOTSUP, errors.ErrUnsupported} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

func (d *Dir) write(ctx context.Context, temp string, body Body) error {
	f, err := d.fs.Create(temp)
	if err != nil {
		return err
	}
	if err = body.copyTo(ctx, f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// compare returns nil if the object at path has the body's length and checksum.
func (d *Dir) compare(ctx context.Context, path string, body Body) error {
	f, size, err := d.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if size != body.Size {
		return fmt.Errorf("%w: %d bytes are there, not %d", ErrDifferent, size, body.Size)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, readerWithContext{ctx, Sized(f, size)}); err != nil {
		return err
	}
	if got := sum.Sum32(); got != body.CRC {
		return fmt.Errorf("%w: checksum %08x is there, not %08x", ErrDifferent, got, body.CRC)
	}
	return nil
}

type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// makeDurable makes dir and makes sure, once in the life of the process, that its name and those
// above it are synced.
func (d *Dir) makeDurable(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.durable[dir] {
		return nil
	}
	if err := d.fs.MkdirAll(dir); err != nil {
		return err
	}
	for at := dir; at != d.root; at = filepath.Dir(at) {
		if err := d.fs.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	if len(d.durable) >= durableMax {
		clear(d.durable)
	}
	d.durable[dir] = true
	return nil
}

func (d *Dir) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.durable)
}
