package outbox

import (
	"encoding/binary"
	"fmt"
	"io"
)

// place is where a record stands.
type place struct {
	file   uint64
	offset int64
	size   uint32 // head and body
}

// scanner reads the records of one file, which is in memory: files are small.
type scanner struct {
	path   string
	number uint64
	data   []byte
	offset int64
}

// next returns io.EOF exactly at the end, and *CorruptError for anything that is not a whole record.
func (s *scanner) next() (record, place, error) {
	if s.offset == int64(len(s.data)) {
		return nil, place{}, io.EOF
	}
	body, _, reason := recordAt(s.data, s.offset)
	if reason != "" {
		return nil, place{}, s.corrupt(reason)
	}
	r, err := parseBody(body)
	if err != nil {
		return nil, place{}, s.corrupt(err.Error())
	}
	at := place{s.number, s.offset, uint32(recordHead + len(body))}
	s.offset += int64(at.size)
	return r, at, nil
}

func (s *scanner) corrupt(reason string) error {
	return &CorruptError{Path: s.path, Offset: s.offset, Reason: reason}
}

// recordAt looks for a record with a right checksum at an offset; reason says why there is none.
func recordAt(data []byte, offset int64) (body []byte, back uint32, reason string) {
	rest := data[offset:]
	if len(rest) < recordHead {
		return nil, 0, "record is cut short"
	}
	n := binary.LittleEndian.Uint32(rest)
	switch {
	case n == 0 || n > bodyBytesMax:
		return nil, 0, "impossible length of a record"
	case int(n) > len(rest)-recordHead:
		return nil, 0, "record is cut short"
	}
	body, reason = bodyIn(rest[:recordHead+n], offset)
	return body, binary.LittleEndian.Uint32(rest[8:]), reason
}

// bodyIn checks bytes that should be one record, from an offset of its file.
func bodyIn(b []byte, offset int64) (body []byte, reason string) {
	head, body := b[:recordHead], b[recordHead:]
	if int(binary.LittleEndian.Uint32(head)) != len(body) || body[0] == 0 || body[0] > kindLast ||
		int64(binary.LittleEndian.Uint32(head[8:])) > offset {
		return nil, "impossible record" // cheaper than a checksum, when a place is looked for
	}
	if recordCRC(offset, head, body) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, "checksum of a record differs"
	}
	return body, ""
}

// torn says whether what is wrong at an offset of the last file can be what a crash left of the last chunk. If a
// record stands behind it whose chunk begins behind it too, the bytes here had been synced, and something else has
// damaged them: to cut there would throw away what was promised.
func torn(data []byte, offset int64) error {
	for at := offset + 1; at < int64(len(data)); at++ {
		if _, back, reason := recordAt(data, at); reason == "" && at-int64(back) > offset {
			return fmt.Errorf("and there is a record behind it, at byte %d", at)
		}
	}
	return nil
}
