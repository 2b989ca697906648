// Package segment is the segment file, format 1, and the group frames in it.
// docs/formats/segment.md has the drawing.
//
//	header (96 bytes) · frame · frame · … · footer (index of the frames)
//
// A frame is made once, at the edge, and is the same bytes in the request, in the file, in the
// object store and on every node. The package knows nothing of Arrow, of tables or of files: it
// reads and writes through io interfaces and never changes a byte in place. A reader answers wrong
// bytes with an error that says where (CorruptError), and what it does not know with
// ErrNewerFormat; it never guesses.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"

	"github.com/seed-551dd829/braid/internal/api"
)

// -------------------------------------------------------------------------------------------------
// NEVER CHANGE what stands between these lines: it is on disks and in object stores. Another layout
// is a new format version with a reader of its own; the first 96 bytes keep their layout in every
// version.

const (
	magic      = "BRAIDSEG" // the first 8 bytes of a file
	endMagic   = "BRAIDEND" // the last 8 bytes of a whole file
	format     = 1
	headerSize = 96

	headerFormatAt   = 8  // u32
	headerEpochAt    = 12 // u64
	headerSequenceAt = 20 // u64
	headerNodeLenAt  = 28 // u8
	headerNodeAt     = 29 // 63 bytes, zeros behind the node's id
	headerCRCAt      = 92 // u32, CRC-32C of bytes 0 to 91

	// A frame: u32 length of what follows its 8-byte prefix · u32 CRC-32C of that · u8 version ·
	// u32 length of the group header · group header · Arrow IPC stream.
	framePrefix   = 8
	frameVersion  = 1
	frameHeaderAt = framePrefix + 5
	frameMin      = frameHeaderAt

	// The footer: u32 zero, which no frame's length is · u32 number of groups · for each group u64
	// offset, u32 length, u32 CRC-32C · u32 CRC-32C of the footer up to here · u32 length of the
	// whole footer · endMagic.
	footerMark  = 0
	footerHead  = 8
	footerEntry = 16
	footerTail  = 16
)

// FrameBytesMax bounds a group's frame in every segment. It is a property of the format, so that no
// damaged length makes a reader take more memory; what a primary admits (api.GroupBytesMax) is far
// below.
const FrameBytesMax = 64 << 20

// -------------------------------------------------------------------------------------------------

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is the checksum that the format uses everywhere: CRC-32C (Castagnoli).
func CRC(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ErrCorrupt is the kind of every CorruptError. It is not about failures to read: those keep their
// own error.
var ErrCorrupt = errors.New("corrupt segment")

// ErrNewerFormat says that the bytes are sound, but of a version that this program does not know.
// The cure is a newer program, not another copy of the segment.
var ErrNewerFormat = errors.New("segment of a newer format; it takes a newer braid to read it")

// CorruptError says what is wrong with the bytes of a segment, and where.
type CorruptError struct {
	What   string // header, group, footer
	Offset int64  // of What from the start of the file (of the frame, from ParseGroup)
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt segment: %s at byte %d: %s", e.What, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(what string, offset int64, format string, args ...any) error {
	return &CorruptError{What: what, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// Entry is a group's place in a segment, as the footer and the commit record have it.
type Entry struct {
	Offset uint64 // of the frame from the start of the file
	Length uint32 // of the whole frame, its prefix included
	CRC    uint32 // CRC-32C, as it stands in the frame's prefix
}

func (e Entry) end() uint64 { return e.Offset + uint64(e.Length) }

// OpenSuffix ends the name of a segment file that is not sealed yet.
const OpenSuffix = ".open"

// Path is a segment's file below a node's folder of segments: root/<node>/<epoch>/<sequence>.seg.
// While it is being written, OpenSuffix follows.
func Path(root string, id api.SegmentID) string {
	return filepath.Join(root, id.Node, strconv.FormatUint(id.Epoch, 10),
		strconv.FormatUint(id.Sequence, 10)+".seg")
}

// HeldPath is the file of a segment that a node holds for another one, in a folder beside those of Path: no node's id
// begins with a dot.
func HeldPath(root string, id api.SegmentID) string { return Path(HeldDir(root), id) }

// HeldDir is the folder of those files.
func HeldDir(root string) string { return filepath.Join(root, ".held") }

func appendHeader(b []byte, id api.SegmentID) ([]byte, error) {
	if err := api.CheckNode(id.Node); err != nil {
		return nil, fmt.Errorf("segment header: %w", err)
	}
	var h [headerSize]byte
	copy(h[:], magic)
	binary.LittleEndian.PutUint32(h[headerFormatAt:], format)
	binary.LittleEndian.PutUint64(h[headerEpochAt:], id.Epoch)
	binary.LittleEndian.PutUint64(h[headerSequenceAt:], id.Sequence)
	h[headerNodeLenAt] = byte(len(id.Node))
	copy(h[headerNodeAt:headerCRCAt], id.Node)
	binary.LittleEndian.PutUint32(h[headerCRCAt:], CRC(h[:headerCRCAt]))
	return append(b, h[:]...), nil
}

// parseHeader checks the CRC before the version, so that a flipped bit never passes for a newer
// format.
func parseHeader(h []byte) (api.SegmentID, error) {
	if len(h) < headerSize {
		return api.SegmentID{}, corrupt("header", 0, "cut short after %d bytes", len(h))
	}
	h = h[:headerSize]
	if string(h[:len(magic)]) != magic {
		return api.SegmentID{}, corrupt("header", 0, "magic is %q, not %q", h[:len(magic)], magic)
	}
	if want, got := binary.LittleEndian.Uint32(h[headerCRCAt:]), CRC(h[:headerCRCAt]); want != got {
		return api.SegmentID{}, corrupt("header", 0, "checksum is %08x, not %08x", got, want)
	}
	if v := binary.LittleEndian.Uint32(h[headerFormatAt:]); v != format {
		return api.SegmentID{}, fmt.Errorf("format version %d: %w", v, ErrNewerFormat)
	}
	n := int(h[headerNodeLenAt])
	if n > headerCRCAt-headerNodeAt {
		return api.SegmentID{}, corrupt("header", 0, "node id of %d bytes", n)
	}
	id := api.SegmentID{
		Node:     string(h[headerNodeAt:][:n]),
		Epoch:    binary.LittleEndian.Uint64(h[headerEpochAt:]),
		Sequence: binary.LittleEndian.Uint64(h[headerSequenceAt:]),
	}
	if err := api.CheckNode(id.Node); err != nil {
		return api.SegmentID{}, corrupt("header", 0, "%v", err)
	}
	for _, c := range h[headerNodeAt+n : headerCRCAt] {
		if c != 0 {
			return api.SegmentID{}, corrupt("header", 0, "bytes behind the node id are not zero")
		}
	}
	return id, nil
}
