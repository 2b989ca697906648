package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// Group is a decoded frame. HeaderBytes and Arrow alias the frame.
type Group struct {
	Header      api.GroupHeader
	HeaderBytes []byte // as AppendGroupHeader made it; what a commit request carries
	Arrow       []byte // the Arrow IPC stream, not looked at
	Length      uint32 // of the whole frame
	CRC         uint32 // as it stands in the frame
}

// BeginGroup appends the beginning of a frame to dst: everything in front of the Arrow stream. The
// caller appends the stream to buf, and calls FinishGroup with the same mark.
func BeginGroup(dst []byte, h *api.GroupHeader) (buf []byte, mark int) {
	mark = len(dst)
	buf = append(dst, make([]byte, frameHeaderAt)...)
	buf = api.AppendGroupHeader(buf, h)
	buf[mark+framePrefix] = frameVersion
	binary.LittleEndian.PutUint32(buf[mark+framePrefix+1:], uint32(len(buf)-mark-frameHeaderAt))
	return buf, mark
}

// FinishGroup closes the frame that BeginGroup began at mark and that reaches to the end of buf: it
// fills in length and CRC. It returns buf. The frame must not be longer than FrameBytesMax.
func FinishGroup(buf []byte, mark int) []byte {
	rest := buf[mark+framePrefix:]
	binary.LittleEndian.PutUint32(buf[mark:], uint32(len(rest)))
	binary.LittleEndian.PutUint32(buf[mark+4:], CRC(rest))
	return buf
}

// AppendGroup appends the whole frame of a group whose Arrow stream is there already.
func AppendGroup(dst []byte, h *api.GroupHeader, arrow []byte) []byte {
	buf, mark := BeginGroup(dst, h)
	return FinishGroup(append(buf, arrow...), mark)
}

// ParseGroup checks a frame (its length, CRC, version and group header) and takes it apart. Errors
// are a CorruptError, whose offset counts from the frame's start, or ErrNewerFormat.
func ParseGroup(frame []byte) (Group, error) {
	e, err := frameEntry(frame, 0)
	if err != nil {
		return Group{}, err
	}
	if got := CRC(frame[framePrefix:]); got != e.CRC {
		return Group{}, corrupt("group", 0, "checksum is %08x, not %08x", got, e.CRC)
	}
	return parseChecked(frame, 0, e)
}

// frameEntry reads the prefix of a frame that stands at offset in a file. The CRC is not compared
// yet.
func frameEntry(frame []byte, offset uint64) (Entry, error) {
	if len(frame) < frameMin {
		return Entry{}, corrupt("group", int64(offset), "%d bytes are too few", len(frame))
	}
	if len(frame) > FrameBytesMax {
		return Entry{}, corrupt("group", int64(offset), "%d bytes are too many", len(frame))
	}
	rest := len(frame) - framePrefix
	if n := binary.LittleEndian.Uint32(frame); int64(n) != int64(rest) {
		return Entry{}, corrupt("group", int64(offset), "length says %d bytes, there are %d", n, rest)
	}
	return Entry{Offset: offset, Length: uint32(len(frame)), CRC: FrameCRC(frame)}, nil
}

// FrameCRC is the CRC-32C that stands in the prefix of a frame; it is not compared with the frame's
// bytes.
func FrameCRC(frame []byte) uint32 { return binary.LittleEndian.Uint32(frame[4:]) }

// parseChecked takes apart a frame whose length and CRC are known to be right.
func parseChecked(frame []byte, offset uint64, e Entry) (Group, error) {
	if v := frame[framePrefix]; v != frameVersion {
		return Group{}, fmt.Errorf("group at byte %d: version %d: %w", offset, v, ErrNewerFormat)
	}
	n := binary.LittleEndian.Uint32(frame[framePrefix+1:])
	if int64(n) > int64(len(frame)-frameHeaderAt) {
		return Group{}, corrupt("group", int64(offset), "header of %d bytes does not fit", n)
	}
	end := frameHeaderAt + int(n)
	g := Group{
		HeaderBytes: frame[frameHeaderAt:end:end],
		Arrow:       frame[end:len(frame):len(frame)],
		Length:      e.Length,
		CRC:         e.CRC,
	}
	var err error
	if g.Header, err = api.ParseGroupHeader(g.HeaderBytes); err != nil {
		return Group{}, corrupt("group", int64(offset), "%v", err)
	}
	return g, nil
}
