// Package disk is the file operations that durability depends on, behind an interface, so that a
// test can take the disk away at any moment and look at what is left.
//
// OS is the real disk. Memory is a strict one for tests: it keeps exactly what was synced (file
// contents by File.Sync, names by FS.SyncDir) and may tear the rest. What works on Memory works on
// every POSIX file system, because Memory promises nothing that POSIX does not. The package does
// not promise portability to systems without hard links, and it does not lock anything but what
// Lock locks.
package disk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// ErrLocked says that another process (or another Lock of this one) holds the lock. Nothing was
// changed.
var ErrLocked = errors.New("locked by another process")

// FS is a file system. Its methods may be called from many goroutines. Errors are those of package
// os: errors.Is with fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC and the like tells the kind.
type FS interface {
	// MkdirAll makes path and its missing parents. The directories that this call made are durable
	// when it returns nil; nothing is said about those that were there before.
	MkdirAll(path string) error
	// Create makes a new, empty file for reading and writing. A file that had the name loses the
	// name and is not truncated: its bytes may be linked elsewhere (a sealed segment in a `dir:`
	// object store), and files of Braid are never changed in place. The name is durable after
	// SyncDir of its directory.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	// OpenAppend opens a file for reading and for writing at its end, and makes it if it is not
	// there.
	OpenAppend(path string) (File, error)
	// Rename gives a file another name, in place of a file that has that name. It is atomic; it is
	// durable after SyncDir of both directories.
	Rename(from, to string) error
	// Link gives a file a second name. It fails with fs.ErrExist if the name is taken, with
	// syscall.EXDEV if `to` is on another file system. It is durable after SyncDir of the directory
	// of `to`.
	Link(from, to string) error
	// Remove takes a name of a file, or an empty directory, away.
	Remove(path string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(path string) ([]fs.DirEntry, error)
	Stat(path string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable: what was created, renamed, linked and removed
	// there.
	SyncDir(path string) error
	// WriteFileSync replaces the file's whole content. After a crash the file has its old content
	// or the new one, and after nil the new one.
	WriteFileSync(path string, data []byte) error
	// Lock takes an exclusive lock on the file path, which it makes if need be, until Close or the
	// end of the process. It does not wait: ErrLocked says that somebody has it.
	Lock(path string) (io.Closer, error)
}

// File is an open file. Reads and ReadAt may run beside each other; writes need one writer.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	// Sync makes the content durable, not the name. After an error the content is lost as far as
	// anyone can know, and a second Sync that returns nil proves nothing: the system may have
	// dropped the pages. Give the file up.
	Sync() error
	// Truncate sets the length. Durable after Sync.
	Truncate(size int64) error
	Size() (int64, error)
	// Name is the path that the file was opened with.
	Name() string
}

// ReadFile reads a whole file.
func ReadFile(fsys FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); err != nil && !(err == io.EOF && int64(n) == size) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// TempSuffix ends the names of WriteFileSync's temporary files. A crash may leave one behind; it is
// never read.
const TempSuffix = ".braid-tmp"

// writeFileSync is WriteFileSync by means of the other operations, so that a crash test meets every
// step of it.
func writeFileSync(fsys FS, path string, data []byte) error {
	var random [6]byte
	rand.Read(random[:])
	temp := path + "." + hex.EncodeToString(random[:]) + TempSuffix
	if err := writeTemp(fsys, temp, data); err != nil {
		fsys.Remove(temp) // as far as possible; the first error is the one that matters
		return err
	}
	if err := fsys.Rename(temp, path); err != nil {
		fsys.Remove(temp)
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

func writeTemp(fsys FS, temp string, data []byte) error {
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// mkdirAll makes path by means of single steps: stat and mkdir from the outside in, then a sync of
// every directory that got a new entry.
func mkdirAll(fsys FS, mkdir func(string) error, path string) error {
	path = filepath.Clean(path)
	switch info, err := fsys.Stat(path); {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: errNotDir}
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := mkdirAll(fsys, mkdir, parent); err != nil {
			return err
		}
	}
	if err := mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}
