package columnar

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// dict gives each distinct value of a tag column a code, in order of first appearance.
type dict struct {
	offs []uint32 // len(offs)-1 values; value i is data[offs[i]:offs[i+1]]
	data []byte
	// table is open addressing, a power of two long, at most half full; empty while values are few.
	table []dictSlot
}

type dictSlot struct {
	hash uint32
	code uint32 // plus one; 0: the slot is free
}

// The seeds differ from process to process, so that nobody can choose values that collide. Codes do
// not depend on them.
var (
	dictSeed  = maphash.MakeSeed()
	dictSeed1 = maphash.Bytes(dictSeed, []byte{1})
	dictSeed2 = maphash.Bytes(dictSeed, []byte{2})
)

// hashTag hashes short values, which nearly all are, with one multiplication (as wyhash does),
// others with maphash.
func hashTag(v []byte) uint64 {
	n := len(v)
	var a, b uint64
	switch {
	case n > 16:
		return maphash.Bytes(dictSeed, v)
	case n >= 8:
		a, b = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	case n >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[n-4:]))
	case n > 0:
		a, b = uint64(v[0])<<8|uint64(v[n-1]), uint64(v[n/2])
	}
	hi, lo := bits.Mul64(a^dictSeed1, b^dictSeed2^uint64(n))
	return hi ^ lo
}

const (
	dictTableMin = 64
	// scannedMax is how many values are compared one by one sooner than hashed.
	scannedMax = 8
)

func (d *dict) len() int { return max(len(d.offs)-1, 0) }

func (d *dict) value(code uint32) []byte { return d.data[d.offs[code]:d.offs[code+1]] }

// code returns the code of v, which is added if it is new.
func (d *dict) code(v []byte) uint32 {
	if len(d.table) == 0 {
		for code := range uint32(d.len()) {
			if bytes.Equal(d.value(code), v) {
				return code
			}
		}
		if d.len() < scannedMax {
			return d.add(v)
		}
	}
	if 2*len(d.offs) >= len(d.table) {
		d.grow()
	}
	h := hashTag(v)
	mask := uint64(len(d.table) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &d.table[i]
		if s.code == 0 {
			*s = dictSlot{uint32(h >> 32), uint32(len(d.offs))}
			return d.add(v)
		}
		if s.hash == uint32(h>>32) && bytes.Equal(d.value(s.code-1), v) {
			return s.code - 1
		}
	}
}

func (d *dict) add(v []byte) (code uint32) {
	if len(d.offs) == 0 {
		d.offs = append(d.offs, 0)
	}
	d.data = append(d.data, v...)
	d.offs = append(d.offs, uint32(len(d.data)))
	return uint32(len(d.offs)) - 2
}

func (d *dict) grow() {
	size := max(dictTableMin, 4*len(d.offs))
	for size&(size-1) != 0 {
		size &= size - 1
	}
	if size <= len(d.table) {
		size = 2 * len(d.table)
	}
	if size <= cap(d.table) {
		d.table = d.table[:size]
		clear(d.table)
	} else {
		d.table = make([]dictSlot, size)
	}
	mask := uint64(size - 1)
	for code := range uint32(d.len()) {
		h := hashTag(d.value(code))
		i := h & mask
		for d.table[i].code != 0 {
			i = (i + 1) & mask
		}
		d.table[i] = dictSlot{uint32(h >> 32), code + 1}
	}
}

func (d *dict) reset() {
	d.offs, d.data, d.table = d.offs[:0], d.data[:0], d.table[:0]
}

func (d *dict) capBytes() int { return 4*cap(d.offs) + cap(d.data) + 8*cap(d.table) }
