package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// Mender is a store whose objects may rot where they are, and that lets a damaged one be replaced. It
// is the only way by which the bytes under a key ever change.
type Mender interface {
	// Mend puts body under a key that has no object, or a damaged one. The object is read first, and
	// only if judge finds damage in it is it replaced, at once and as a whole; readers see the old
	// bytes or the new ones. nil means that the object is durable with exactly the body's bytes,
	// ErrDifferent that a sound object has other bytes. errors.ErrUnsupported: this store cannot do it.
	// Any other error leaves the object as it was or mended; the same Mend may be sent again.
	Mend(ctx context.Context, key string, body Body, judge Judge) error
}

// Judge reads a whole object and says what is damaged in it: nothing, if damage is nil. It goes by
// what the object itself proves (checksums); bytes that could not be read prove nothing, and are err.
type Judge func(r io.ReaderAt, size int64) (damage, err error)

// mendLock is held while an object is judged and replaced, so that nobody replaces what somebody else
// has just mended.
const mendLock = "mend.lock"

// Mend implements Mender. The body is copied, never linked: its own file may rot one day.
func (d *Dir) Mend(ctx context.Context, key string, body Body, judge Judge) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("mend: %w", err)
	}
	if err := d.mend(ctx, d.path(key), body, judge); err != nil {
		return fmt.Errorf("mend %s: %w", key, err)
	}
	return nil
}

func (d *Dir) mend(ctx context.Context, path string, body Body, judge Judge) (err error) {
	lock, err := d.fs.Lock(filepath.Join(d.root, tempDir, mendLock))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	damage, err := d.judge(path, judge)
	missing := errors.Is(err, ErrNotFound)
	switch {
	case err == nil && damage == nil:
		return d.compare(ctx, path, body)
	case err != nil && !missing:
		return err
	}
	if err := d.makeDurable(filepath.Dir(path)); err != nil {
		return err
	}
	temp := d.tempName()
	defer d.fs.Remove(temp) // with or without success; leftovers are swept one day
	if err := d.write(ctx, temp, body); err != nil {
		return err
	}
	if missing { // a put may come in between, and wins
		err = d.fs.Link(temp, path)
	} else {
		err = d.fs.Rename(temp, path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = d.compare(ctx, path, body)
	}
	if err != nil {
		return err
	}
	return d.fs.SyncDir(filepath.Dir(path))
}

func (d *Dir) judge(path string, judge Judge) (damage, err error) {
	f, size, err := d.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return judge(f, size)
}

// Mend implements Mender, if the store behind does.
func (i instrumented) Mend(ctx context.Context, key string, body Body, judge Judge) error {
	m, ok := i.next.(Mender)
	if !ok {
		return fmt.Errorf("mend %s: %w", key, errors.ErrUnsupported)
	}
	begin := time.Now()
	err := m.Mend(ctx, key, body, judge)
	i.done("mend", begin, err)
	return err
}
