package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
)

// Summary is what there is to know of a whole segment file to store it.
type Summary struct {
	Length int64
	CRC    uint32 // CRC-32C of the whole file
	Groups int
}

// Writer writes one segment: the header, frames, the footer. It gathers small frames into larger
// writes, so what was appended is in the file only after Finish; what a torn file holds was never
// promised to anybody. It syncs nothing: the caller has the file. Not safe for concurrent use.
// After an error every call returns it.
type Writer struct {
	w       *bufio.Writer
	entries []Entry
	offset  uint64 // of the next frame: the bytes accepted so far
	crc     uint32 // of those bytes
	err     error
}

// writeBuffer is how much is gathered before a write. A frame that is larger goes through at once,
// uncopied.
const writeBuffer = 64 << 10

var writeBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

var errFinished = errors.New("segment is finished")

// NewWriter begins the segment id in w.
func NewWriter(w io.Writer, id api.SegmentID) (*Writer, error) {
	header, err := appendHeader(nil, id)
	if err != nil {
		return nil, err
	}
	sw := &Writer{w: writeBuffers.Get().(*bufio.Writer), offset: headerSize, crc: CRC(header)}
	sw.w.Reset(w)
	sw.write(header)
	return sw, sw.err
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("write segment: %w", err)
	}
}

// Append adds a frame that ParseGroup has accepted, and returns where it begins. The frame's own
// CRC is taken for what it says, so a frame that has changed since makes the file's CRC wrong, and
// the object store refuses it.
func (w *Writer) Append(frame []byte) (offset uint64, err error) {
	if w.err != nil {
		return 0, w.err
	}
	e, err := frameEntry(frame, w.offset)
	if err != nil {
		return 0, err
	}
	w.write(frame)
	if w.err != nil {
		return 0, w.err
	}
	w.entries = append(w.entries, e)
	w.offset = e.end()
	w.crc = crc32.Update(w.crc, castagnoli, frame[:framePrefix])
	w.crc = combineCRC(w.crc, e.CRC, e.Length-framePrefix)
	return e.Offset, nil
}

// Size is the length that the file has if it is finished now.
func (w *Writer) Size() int64 { return int64(w.offset) + footerSize(len(w.entries)) }

// Groups is the number of frames so far.
func (w *Writer) Groups() int { return len(w.entries) }

// Finish writes the footer and hands everything to the underlying writer. Nothing can be appended
// any more. The file is a whole segment after Finish, and durable when the caller has synced it.
func (w *Writer) Finish() (Summary, error) {
	if w.err != nil {
		return Summary{}, w.err
	}
	footer := appendFooter(nil, w.entries)
	w.write(footer)
	if w.err == nil {
		if err := w.w.Flush(); err != nil {
			w.err = fmt.Errorf("write segment: %w", err)
		}
	}
	if w.err != nil {
		return Summary{}, w.err
	}
	w.crc = crc32.Update(w.crc, castagnoli, footer)
	s := Summary{Length: w.Size(), CRC: w.crc, Groups: len(w.entries)}
	w.w.Reset(nil)
	writeBuffers.Put(w.w)
	w.w, w.err = nil, errFinished
	return s, nil
}

func footerSize(groups int) int64 { return footerHead + footerEntry*int64(groups) + footerTail }

func appendFooter(b []byte, entries []Entry) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, footerMark)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, e.Offset)
		b = binary.LittleEndian.AppendUint32(b, e.Length)
		b = binary.LittleEndian.AppendUint32(b, e.CRC)
	}
	b = binary.LittleEndian.AppendUint32(b, CRC(b[start:]))
	b = binary.LittleEndian.AppendUint32(b, uint32(footerSize(len(entries))))
	return append(b, endMagic...)
}

// parseFooter checks the footer of a file, given its bytes and where they begin. Groups must follow
// each other without a gap from the header to the footer.
func parseFooter(b []byte, start int64) ([]Entry, error) {
	tail := len(b) - footerTail
	if want, got := binary.LittleEndian.Uint32(b[tail:]), CRC(b[:tail]); want != got {
		return nil, corrupt("footer", start, "checksum is %08x, not %08x", got, want)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if binary.LittleEndian.Uint32(b) != footerMark || footerSize(int(n)) != int64(len(b)) {
		return nil, corrupt("footer", start, "%d bytes cannot index %d groups", len(b), n)
	}
	entries := make([]Entry, n)
	next := uint64(headerSize)
	for i := range entries {
		at := b[footerHead+footerEntry*i:]
		e := Entry{
			Offset: binary.LittleEndian.Uint64(at),
			Length: binary.LittleEndian.Uint32(at[8:]),
			CRC:    binary.LittleEndian.Uint32(at[12:]),
		}
		if e.Offset != next || e.Length < frameMin || e.Length > FrameBytesMax {
			return nil, corrupt("footer", start, "group %d has %d bytes at %d, expected at %d",
				i, e.Length, e.Offset, next)
		}
		entries[i], next = e, e.end()
	}
	if next != uint64(start) {
		return nil, corrupt("footer", start, "groups end at byte %d", next)
	}
	return entries, nil
}
