// Package objstore keeps immutable objects under keys: segments, whole or not at all. An object is
// put once and never changed, so that everybody who reads a key reads the same bytes; only one that is
// proved damaged may be put right (Mender).
//
// `dir:PATH` is a directory, for one machine or a shared file system; `s3:BUCKET` is a bucket
// behind any S3 API; `mem:` is for tests. All of them run the suite in objstoretest. The package does
// not delete: trimming is the business of whoever knows what is unreferenced, and is not built yet.
package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/disk"
)

var (
	// ErrNotFound says that no object has this key. After a Put whose outcome is unknown it proves
	// nothing for later: such a put may still land.
	ErrNotFound = errors.New("object not found")
	// ErrDifferent says that the key is taken by other bytes. One of the two writers is broken or a
	// segment's name was used twice: it is corruption, never a reason to try again.
	ErrDifferent = errors.New("object exists with other content")
	// ErrBody says that the body is not what its Size and CRC say. Nothing was stored.
	ErrBody = errors.New("body differs from its size and checksum")
	// ErrKey says that the key is not one. Nothing was done.
	ErrKey = errors.New("bad object key")
)

// Store is an object store. Its methods may be called from many goroutines.
type Store interface {
	// Put stores an object unless its key is taken. nil means that the object is durable, with
	// exactly these bytes, whoever put it. ErrDifferent, ErrBody and ErrKey are final. Any other
	// error, and the end of ctx, leave the outcome unknown: the object may be there, or come to be
	// there later. Then the same Put may be sent again.
	Put(ctx context.Context, key string, body Body) error
	// Get opens an object and tells its size. The reader ends with io.ErrUnexpectedEOF, never with
	// io.EOF, if it could not deliver that many bytes. Close it.
	Get(ctx context.Context, key string) (io.ReadCloser, int64, error)
	// Stat tells whether there is an object, without reading it.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose keys begin with prefix, sorted by key as bytes. An error ends
	// it. An object that is put meanwhile may be there or not.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// Info is what a store tells of an object.
type Info struct {
	Key  string
	Size int64
}

// Body is what is to be stored: a local file, or a reader.
type Body struct {
	// Path is a file of FS with exactly these bytes. It is complete, synced, and never changed any
	// more, because a store may link it instead of copying it.
	Path string
	FS   disk.FS // nil: disk.OS
	// Reader is used where Path is empty. It is read from its start, perhaps more than once, and
	// not after Put.
	Reader io.ReadSeeker

	Size int64
	CRC  uint32 // CRC-32C (Castagnoli)
}

// Bytes is a body in memory, a copy of b.
func Bytes(b []byte) Body {
	r := bytes.NewReader(bytes.Clone(b))
	return Body{Reader: r, Size: int64(len(b)), CRC: crc32.Checksum(b, castagnoli)}
}

// File is the body of a synced local file that is not changed any more.
func File(fsys disk.FS, path string, size int64, crc uint32) Body {
	return Body{FS: fsys, Path: path, Size: size, CRC: crc}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b Body) fs() disk.FS {
	if b.FS == nil {
		return disk.OS
	}
	return b.FS
}

// Open returns the body's bytes from the start.
func (b Body) Open() (io.ReadCloser, error) {
	switch {
	case b.Path != "":
		return b.fs().Open(b.Path)
	case b.Reader != nil:
		if _, err := b.Reader.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return io.NopCloser(b.Reader), nil
	case b.Size == 0:
		return io.NopCloser(strings.NewReader("")), nil
	}
	return nil, fmt.Errorf("neither path nor reader: %w", ErrBody)
}

// copyTo writes the body to w and checks that it is what it says. It stops soon after the end of
// ctx.
func (b Body) copyTo(ctx context.Context, w io.Writer) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, crc := int64(0), uint32(0)
	buf := make([]byte, min(b.Size+1, 256<<10)) // one more than Size, to see one that is too long
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := r.Read(buf)
		if n += int64(k); n > b.Size {
			return fmt.Errorf("more than %d bytes: %w", b.Size, ErrBody)
		}
		crc = crc32.Update(crc, castagnoli, buf[:k])
		if _, err := w.Write(buf[:k]); err != nil {
			return err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if n != b.Size || crc != b.CRC {
		return fmt.Errorf("%d bytes with checksum %08x, not %d with %08x: %w",
			n, crc, b.Size, b.CRC, ErrBody)
	}
	return nil
}

// KeyBytesMax bounds a key, as S3 does.
const KeyBytesMax = 1024

// CheckKey says why key cannot be an object's key, or nil. A key is parts with slashes between
// them; a part has 1 to 255 bytes of UTF-8 without control characters and backslashes, and does not
// begin with a dot: such names are the store's own.
func CheckKey(key string) error {
	if len(key) > KeyBytesMax || !utf8.ValidString(key) || strings.ContainsRune(key, '\\') ||
		strings.IndexFunc(key, unicode.IsControl) >= 0 {
		return fmt.Errorf("%q: %w", key, ErrKey)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' || len(part) > 255 {
			return fmt.Errorf("%q: %w", key, ErrKey)
		}
	}
	return nil
}

// Open opens the store that spec names: `dir:PATH`, `s3:BUCKET`, `s3:BUCKET/PREFIX`, or `mem:`
// (empty, and gone with the process). A store that is an io.Closer holds connections.
func Open(ctx context.Context, spec string, s S3Config) (Store, error) {
	kind, rest, ok := strings.Cut(spec, ":")
	switch {
	case ok && kind == "dir" && rest != "":
		return OpenDir(ctx, disk.OS, rest)
	case ok && kind == "mem" && rest == "":
		return NewMemory(), nil
	case ok && kind == "s3" && rest != "":
		return OpenS3(ctx, rest, s)
	}
	return nil, fmt.Errorf("object store %q is not understood: use dir:PATH or s3:BUCKET, "+
		"or mem: in tests", spec)
}

// Sized makes r deliver exactly size bytes: if it ends before, the reader's error is
// io.ErrUnexpectedEOF. Every implementation's Get returns one, so that a short body never looks
// like a whole object.
func Sized(r io.ReadCloser, size int64) io.ReadCloser { return &sized{r: r, left: size} }

type sized struct {
	r    io.ReadCloser
	left int64
}

func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *sized) Close() error { return s.r.Close() }
