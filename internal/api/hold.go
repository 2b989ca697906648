package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// HoldKind says what a node is asked to do with a segment of another one. The numbers are on the wire: never change one.
type HoldKind uint8

const (
	HoldPiece  HoldKind = 1 // here are bytes of it, to be kept
	HoldDrop   HoldKind = 2 // its primary has the answers to all of its groups, and none is pending: let it go
	HoldSettle HoldKind = 3 // bring it into the object store and confirm it if you can, or say that it is nowhere
)

// HoldRequest is a message on a node's hold subject.
type HoldRequest struct {
	Kind    HoldKind
	Segment SegmentID
	// Of a piece: where its bytes begin, how long the whole file is, and the bytes. Pieces are sent in order, each after
	// the answer to the one before; one with offset 0 begins anew.
	Offset, Total uint64
	Data          []byte
}

// HoldAnswer is the answer to a piece or a drop.
type HoldAnswer struct {
	// Have is how many bytes of the segment the node has, not yet synced.
	Have uint64 `json:"have"`
	// Whole says that the node has all of it, has checked it, and has file and name synced: it is a holder now.
	Whole bool `json:"whole"`
}

// HoldSettleAnswer says where a segment is, as far as this node can tell. Confirmed records are counted by the node that
// confirmed them. An error of the object store is the request's error: then the node can tell nothing.
type HoldSettleAnswer struct {
	Held      bool `json:"held"`   // on this node's disk, sound
	Stored    bool `json:"stored"` // in the object store, perhaps only now
	Confirmed int  `json:"confirmed"`
}

// HoldPieceBytes is how much of a segment one piece carries.
const HoldPieceBytes = 1 << 20

const holdVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendHoldRequest encodes r. The last four bytes are the CRC-32C of those before.
func AppendHoldRequest(b []byte, r *HoldRequest) []byte {
	start := len(b)
	b = append(b, holdVersion, byte(r.Kind))
	b = appendBytes(b, r.Segment.Node)
	b = appendUint(b, r.Segment.Epoch)
	b = appendUint(b, r.Segment.Sequence)
	b = appendUint(b, r.Offset)
	b = appendUint(b, r.Total)
	b = appendBytes(b, r.Data)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// ErrChecksum says that a message did not arrive as it was sent.
var ErrChecksum = errors.New("checksum does not fit")

// ParseHoldRequest decodes what AppendHoldRequest wrote. Data aliases b.
func ParseHoldRequest(b []byte) (HoldRequest, error) {
	if len(b) < 4 {
		return HoldRequest{}, fmt.Errorf("hold request: %w", ErrTruncated)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return HoldRequest{}, fmt.Errorf("hold request of %d bytes: %w", len(b), ErrChecksum)
	}
	d := decoder{b: body}
	if v := d.byte(); d.err == nil && v != holdVersion {
		return HoldRequest{}, fmt.Errorf("hold request: unknown version %d", v)
	}
	r := HoldRequest{Kind: HoldKind(d.byte())}
	r.Segment = SegmentID{Node: d.string(), Epoch: d.uint(), Sequence: d.uint()}
	r.Offset, r.Total = d.uint(), d.uint()
	r.Data = d.bytes()
	if err := d.end(); err != nil {
		return HoldRequest{}, fmt.Errorf("hold request: %w", err)
	}
	return r, r.check()
}

func (r *HoldRequest) check() error {
	if err := CheckNode(r.Segment.Node); err != nil {
		return fmt.Errorf("hold request: %w", err)
	}
	piece := r.Kind == HoldPiece
	switch {
	case r.Kind < HoldPiece || r.Kind > HoldSettle:
		return fmt.Errorf("hold request: unknown kind %d", r.Kind)
	case !piece && (r.Offset != 0 || r.Total != 0 || len(r.Data) != 0):
		return fmt.Errorf("hold request: kind %d with bytes of a segment", r.Kind)
	case piece && (len(r.Data) == 0 || len(r.Data) > HoldPieceBytes || r.Total > SegmentHeldMax ||
		r.Offset > r.Total || uint64(len(r.Data)) > r.Total-r.Offset):
		return fmt.Errorf("hold request: %d bytes at %d of %d", len(r.Data), r.Offset, r.Total)
	}
	return nil
}

// SegmentHeldMax bounds a segment that a node holds for another: primaries may be configured to make larger ones than
// SegmentBytesMax, but not larger than this.
const SegmentHeldMax = 8 * SegmentBytesMax
