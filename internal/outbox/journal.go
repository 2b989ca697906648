package outbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-551dd829/braid/internal/disk"
)

// Names in the folder.
const (
	lockName    = "lock"
	reserveName = "reserve"
	fileSuffix  = ".outbox"
)

// errFull says that the disk has no room. Nothing of what was to be written is there.
var errFull = errors.New("the disk is full")

// journal is the files of a folder. One task writes; read may be called beside it.
type journal struct {
	fs     disk.FS
	dir    string
	lock   io.Closer
	active disk.File
	number uint64 // of the active file
	size   int64  // of it, all of it synced
	spare  bool   // the reserve is there
}

func (j *journal) path(number uint64) string {
	return filepath.Join(j.dir, fmt.Sprintf("%016d%s", number, fileSuffix))
}

// fileNumber reads the name of a file; ok is false for every other file.
func fileNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// append writes a chunk and syncs it. errFull leaves the file as it was; after any other error nobody knows what is in
// it, and it must not be used again.
func (j *journal) append(chunk []byte) error {
	if _, err := j.active.Write(chunk); err != nil {
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("write %s: %w", j.active.Name(), err)
		}
		// Part of it may be there, and a crash could bring it to light after the application was told that it is
		// not: so the cut is synced, too.
		if err := j.cut(); err != nil {
			return err
		}
		return errFull
	}
	if err := j.active.Sync(); err != nil {
		// What the next process may read is at best in memory. It is cut off as far as that is still possible.
		return errors.Join(fmt.Errorf("sync %s: %w", j.active.Name(), err), j.active.Truncate(j.size))
	}
	j.size += int64(len(chunk))
	return nil
}

// cut takes what is behind the last synced chunk off.
func (j *journal) cut() error {
	if err := j.active.Truncate(j.size); err != nil {
		return fmt.Errorf("cut %s at byte %d: %w", j.active.Name(), j.size, err)
	}
	if err := j.active.Sync(); err != nil {
		return fmt.Errorf("sync %s after a cut: %w", j.active.Name(), err)
	}
	return nil
}

// rotate begins the next file. The one before is synced whole.
func (j *journal) rotate(h header) error {
	b := appendHeader(nil, h)
	if err := j.fs.WriteFileSync(j.path(h.Number), b); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return errFull
		}
		return fmt.Errorf("begin a file: %w", err)
	}
	f, err := j.fs.OpenAppend(j.path(h.Number))
	if err != nil {
		return fmt.Errorf("open a new file: %w", err)
	}
	if j.active != nil {
		if err := j.active.Close(); err != nil {
			return errors.Join(fmt.Errorf("close %s: %w", j.active.Name(), err), f.Close())
		}
	}
	j.active, j.number, j.size = f, h.Number, int64(len(b))
	return nil
}

// remove takes a file away, for good before the next is: what a later file says of its writes is needed as long as it
// could come back.
func (j *journal) remove(number uint64) error {
	if err := j.fs.Remove(j.path(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old file: %w", err)
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return fmt.Errorf("sync folder %s: %w", j.dir, err)
	}
	return nil
}

// reading is the file that was read from last.
type reading struct {
	number uint64
	file   disk.File
}

func (r *reading) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// read reads a write back.
func (j *journal) read(r *reading, at place) (*Write, error) {
	if r.file == nil || r.number != at.file {
		if err := r.close(); err != nil {
			return nil, fmt.Errorf("close outbox file %d: %w", r.number, err)
		}
		f, err := j.fs.Open(j.path(at.file))
		if err != nil {
			return nil, fmt.Errorf("read a write back: %w", err)
		}
		r.number, r.file = at.file, f
	}
	b := make([]byte, at.size)
	if n, err := r.file.ReadAt(b, at.offset); n < len(b) {
		return nil, fmt.Errorf("read a write back: %w", err)
	}
	w, reason := writeIn(b, at.offset)
	if reason != "" {
		return nil, &CorruptError{Path: j.path(at.file), Offset: at.offset, Reason: reason}
	}
	return w, nil
}

// writeIn parses a record that was read from an offset and must be a write's.
func writeIn(b []byte, offset int64) (*Write, string) {
	body, reason := bodyIn(b, offset)
	if reason != "" {
		return nil, reason
	}
	r, err := parseBody(body)
	if err != nil {
		return nil, err.Error()
	}
	switch r := r.(type) {
	case *Write:
		return r, ""
	case movedRecord:
		return r.Write, ""
	}
	return nil, "the record is not a write's"
}

// setAside keeps room for answers: when the disk is full of writes, only answers can make it emptier. It is no error if
// there is no room for it.
func (j *journal) setAside(bytes int) error {
	if j.spare {
		return nil
	}
	// Not zeros, which a file system may keep without taking room for them.
	room := make([]byte, bytes)
	x := uint32(1)
	for i := range room {
		x = x*1664525 + 1013904223
		room[i] = byte(x >> 24)
	}
	switch err := j.fs.WriteFileSync(filepath.Join(j.dir, reserveName), room); {
	case err == nil:
		j.spare = true
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
	default:
		return fmt.Errorf("set room aside: %w", err)
	}
	return nil
}

// giveUp gives the reserve's room to what is written next; there is none if it returns false.
func (j *journal) giveUp() (bool, error) {
	if !j.spare {
		return false, nil
	}
	j.spare = false
	if err := j.fs.Remove(filepath.Join(j.dir, reserveName)); err != nil {
		return false, fmt.Errorf("give the reserve up: %w", err)
	}
	return true, nil
}

func (j *journal) close() error {
	var err error
	if j.active != nil {
		err = j.active.Close()
	}
	return errors.Join(err, j.lock.Close())
}
