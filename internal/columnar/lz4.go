package columnar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md.
const (
	lz4Magic  = 0x184d2204
	lz4Stored = 1 << 31 // in a block's length: the block is not compressed
	lz4Window = 64 << 10

	lz4Version     = 0x40 // of the flags, the two highest bits
	lz4Independent = 0x20
	lz4ContentSize = 0x08
)

// storedLength stands for the length of a buffer that is not compressed (Arrow's
// BodyCompressionMethod.BUFFER).
const storedLength = -1

var errLZ4 = errors.New("malformed LZ4 frame")

// lz4Unpack fills dst with the content of a frame, which must have exactly that length.
func lz4Unpack(dst, frame []byte) error {
	if len(frame) < 7 || binary.LittleEndian.Uint32(frame) != lz4Magic {
		return errLZ4
	}
	flags := frame[4]
	at := 7
	switch flags &^ lz4Independent {
	case lz4Version:
	case lz4Version | lz4ContentSize:
		at += 8
	default:
		return lz4Foreign(dst, frame) // checksums, or what we do not know
	}
	n := 0
	for {
		if at+4 > len(frame) {
			return errLZ4
		}
		size := binary.LittleEndian.Uint32(frame[at:])
		at += 4
		if size == 0 {
			break
		}
		length := int(size &^ lz4Stored)
		if length > len(frame)-at {
			return errLZ4
		}
		block := frame[at : at+length]
		at += length
		wrote, err := lz4Block(dst, n, block, size&lz4Stored != 0, flags&lz4Independent != 0)
		if err != nil {
			return err
		}
		n += wrote
	}
	if n != len(dst) || at != len(frame) {
		return errLZ4
	}
	return nil
}

// lz4Block unpacks one block behind the n bytes that dst has.
func lz4Block(dst []byte, n int, block []byte, stored, independent bool) (int, error) {
	if stored {
		if len(block) > len(dst)-n {
			return 0, errLZ4
		}
		return copy(dst[n:], block), nil
	}
	if len(block) == 0 || n == len(dst) {
		return 0, errLZ4
	}
	if independent {
		return lz4.UncompressBlock(block, dst[n:])
	}
	return lz4.UncompressBlockWithDict(block, dst[n:], dst[max(0, n-lz4Window):n])
}

// lz4Foreign unpacks a frame with the flags that only other writers use.
func lz4Foreign(dst, frame []byte) error {
	r := lz4.NewReader(bytes.NewReader(frame))
	if _, err := io.ReadFull(r, dst); err != nil {
		return errLZ4
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errLZ4
	}
	return nil
}
