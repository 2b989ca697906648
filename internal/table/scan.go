package table

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"syscall"
)

// scanBytes is how much of a record file is read at once.
const scanBytes = 64 << 10

// scanner reads entries one after the other. Its memory is one buffer and one entry.
type scanner struct {
	path   string
	r      *bufio.Reader
	offset int64 // of the next entry
	end    int64 // where reading stops
	body   []byte
}

func newScanner(path string, r io.ReaderAt, from, end int64) *scanner {
	return &scanner{path: path, offset: from, end: end,
		r: bufio.NewReaderSize(io.NewSectionReader(r, from, end-from), scanBytes)}
}

// next returns io.EOF exactly at the end, *CorruptError for anything that is not a whole entry, and the file's own
// errors as they are.
func (s *scanner) next() (entry, error) {
	if s.offset == s.end {
		return entry{}, io.EOF
	}
	var head [entryHead]byte
	if err := s.read(head[:]); err != nil {
		return entry{}, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n <= bodyHead || n > bodyMax {
		return entry{}, s.corrupt("impossible length of an entry")
	}
	if cap(s.body) < n {
		s.body = make([]byte, n)
	}
	body := s.body[:n]
	if err := s.read(body); err != nil {
		return entry{}, err
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return entry{}, s.corrupt("checksum of an entry differs")
	}
	e, err := parseBody(body)
	if err != nil {
		return entry{}, s.corrupt(err.Error())
	}
	e.offset, e.size = s.offset, int64(entryHead+n)
	s.offset += e.size
	return e, nil
}

func (s *scanner) read(b []byte) error {
	_, err := io.ReadFull(s.r, b)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return s.corrupt("entry is cut short")
	case errors.Is(err, syscall.EIO): // a sector that the disk has given up
		return s.corrupt(err.Error())
	}
	return err
}

func (s *scanner) corrupt(reason string) error {
	return &CorruptError{Path: s.path, Offset: s.offset, Reason: reason}
}
