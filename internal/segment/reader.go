package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/seed-551dd829/braid/internal/api"
)

// Reader reads a whole segment. Its methods may be called from many goroutines if the underlying
// reader's can.
type Reader struct {
	r       io.ReaderAt
	size    int64
	id      api.SegmentID
	entries []Entry
}

// Open reads header and footer of a segment of size bytes and checks both; the groups are checked
// when they are read, or all at once by Verify. A file without its footer is a CorruptError here:
// see Recover.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	id, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	if size < headerSize+footerSize(0) {
		return nil, corrupt("footer", size, "cut short: the file ends before it")
	}
	var tail [footerTail]byte
	if err := readFull(r, tail[:], size-footerTail, "footer"); err != nil {
		return nil, err
	}
	if string(tail[8:]) != endMagic {
		return nil, corrupt("footer", size-footerTail, "the last bytes are not %q", endMagic)
	}
	length := int64(binary.LittleEndian.Uint32(tail[4:]))
	if length < footerSize(0) || length > size-headerSize {
		return nil, corrupt("footer", size-footerTail, "length of %d bytes is impossible", length)
	}
	footer := make([]byte, length)
	if err := readFull(r, footer, size-length, "footer"); err != nil {
		return nil, err
	}
	entries, err := parseFooter(footer, size-length)
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, size: size, id: id, entries: entries}, nil
}

// ID is the segment's name, as its header has it.
func (r *Reader) ID() api.SegmentID { return r.id }

// Groups are the places of the groups, in order. The caller must not change the slice.
func (r *Reader) Groups() []Entry { return r.entries }

// Group reads and checks group i.
func (r *Reader) Group(i int) (Group, error) {
	e := r.entries[i]
	frame, err := ReadGroup(r.r, e.Offset, e.Length, e.CRC)
	if err != nil {
		return Group{}, err
	}
	return parseChecked(frame, e.Offset, e)
}

// Verify reads the whole file once and checks every group. Only a segment that passed it is worth
// uploading. The summary is what storing it takes.
func (r *Reader) Verify() (Summary, error) {
	crc, end := uint32(0), int64(headerSize)
	head := make([]byte, headerSize)
	if err := readFull(r.r, head, 0, "header"); err != nil {
		return Summary{}, err
	}
	if id, err := parseHeader(head); err != nil {
		return Summary{}, err
	} else if id != r.id {
		return Summary{}, corrupt("header", 0, "changed from %s to %s", r.id, id)
	}
	crc = CRC(head)
	for _, e := range r.entries {
		frame, err := ReadGroup(r.r, e.Offset, e.Length, e.CRC)
		if err != nil {
			return Summary{}, err
		}
		if _, err := parseChecked(frame, e.Offset, e); err != nil {
			return Summary{}, err
		}
		crc, end = crc32.Update(crc, castagnoli, frame), int64(e.end())
	}
	footer := make([]byte, r.size-end)
	if err := readFull(r.r, footer, end, "footer"); err != nil {
		return Summary{}, err
	}
	crc = crc32.Update(crc, castagnoli, footer)
	return Summary{Length: r.size, CRC: crc, Groups: len(r.entries)}, nil
}

// Check reads a whole file once. It returns no error only if every byte of it is sound and it is segment id.
func Check(r io.ReaderAt, size int64, id api.SegmentID) (*Reader, Summary, error) {
	reader, err := Open(r, size)
	if err != nil {
		return nil, Summary{}, err
	}
	if reader.ID() != id {
		return nil, Summary{}, corrupt("header", 0, "it is segment %s, not %s", reader.ID(), id)
	}
	summary, err := reader.Verify()
	return reader, summary, err
}

// ReadGroup reads one group's frame from where a commit record or an index says it is, and checks
// it against that record: length, and CRC of the bytes. ParseGroup takes the frame apart.
func ReadGroup(r io.ReaderAt, offset uint64, length, crc uint32) (frame []byte, err error) {
	if length < frameMin || length > FrameBytesMax || offset > 1<<62 {
		return nil, corrupt("group", int64(offset), "a length of %d bytes is impossible", length)
	}
	frame = make([]byte, length)
	if err := readFull(r, frame, int64(offset), "group"); err != nil {
		return nil, err
	}
	e, err := frameEntry(frame, offset)
	if err != nil {
		return nil, err
	}
	if got := CRC(frame[framePrefix:]); e.CRC != crc || got != crc {
		return nil, corrupt("group", int64(offset),
			"checksum is %08x, the frame says %08x, the index %08x", got, e.CRC, crc)
	}
	return frame, nil
}

// Recover reads what a crash left of a segment: the longest prefix of whole, sound groups.
// validBytes is where it ends; a footer is not part of it. A torn tail is no error. Errors are a
// CorruptError if even the header is not there, or if a group with a good checksum cannot be read;
// ErrNewerFormat; and what the reader r returns. With an error, the entries are those before it.
func Recover(r io.ReaderAt, size int64) (
	id api.SegmentID, entries []Entry, validBytes int64, err error,
) {
	if id, err = readHeader(r, size); err != nil {
		return id, nil, 0, err
	}
	offset := int64(headerSize)
	for {
		e, err := recoverGroup(r, offset, size)
		if err != nil || e.Length == 0 {
			return id, entries, offset, err
		}
		entries = append(entries, e)
		offset = int64(e.end())
	}
}

// recoverGroup reads the frame at offset; an entry of length 0 says that there is no whole one.
func recoverGroup(r io.ReaderAt, offset, size int64) (Entry, error) {
	var prefix [framePrefix]byte
	if size-offset < frameMin {
		return Entry{}, nil
	}
	if err := readFull(r, prefix[:], offset, "group"); err != nil {
		return Entry{}, err
	}
	length := framePrefix + int64(binary.LittleEndian.Uint32(prefix[:]))
	if length < frameMin || length > FrameBytesMax || length > size-offset {
		return Entry{}, nil
	}
	frame := make([]byte, length)
	if err := readFull(r, frame, offset, "group"); err != nil {
		return Entry{}, err
	}
	e := Entry{Offset: uint64(offset), Length: uint32(length), CRC: FrameCRC(frame)}
	if CRC(frame[framePrefix:]) != e.CRC {
		return Entry{}, nil
	}
	if _, err := parseChecked(frame, e.Offset, e); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func readHeader(r io.ReaderAt, size int64) (api.SegmentID, error) {
	head := make([]byte, max(0, min(size, headerSize)))
	if err := readFull(r, head, 0, "header"); err != nil {
		return api.SegmentID{}, err
	}
	return parseHeader(head)
}

// readFull reads all of b at offset. An end of file inside it means that the file is shorter than
// was said.
func readFull(r io.ReaderAt, b []byte, offset int64, what string) error {
	n, err := r.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF) || err == nil:
		return corrupt(what, offset, "cut short: %d of %d bytes are there", n, len(b))
	}
	return fmt.Errorf("read segment: %s at byte %d: %w", what, offset, err)
}
