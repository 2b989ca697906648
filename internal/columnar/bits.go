package columnar

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// wordBytes returns the memory of w as little-endian bytes, without a copy where the machine is
// little-endian.
func wordBytes[T uint32 | uint64 | int64](w []T) []byte {
	if len(w) == 0 {
		return nil
	}
	size := int(unsafe.Sizeof(w[0]))
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return unsafe.Slice((*byte)(unsafe.Pointer(&w[0])), len(w)*size)
	}
	out := make([]byte, 0, len(w)*size)
	for _, v := range w {
		if size == 4 {
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		} else {
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out
}

func u32At(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
func u64At(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }

// Bitmaps are Arrow's: bit i of a column is bit i%8 of byte i/8.

func bitmapLen(n int) int { return (n + 7) / 8 }

func bitAt(b []byte, i int) bool { return b[i>>3]&(1<<(i&7)) != 0 }

// appendBit appends one bit behind the n that b has.
func appendBit(b []byte, n int, v bool) []byte {
	if n&7 == 0 {
		b = append(b, 0)
	}
	if v {
		b[len(b)-1] |= 1 << (n & 7)
	}
	return b
}

// appendRun appends count equal bits behind the n that b has. Bits past the end stay zero.
func appendRun(b []byte, n, count int, v bool) []byte {
	for ; count > 0 && n&7 != 0; n, count = n+1, count-1 {
		b = appendBit(b, n, v)
	}
	var fill byte
	if v {
		fill = 0xff
	}
	for ; count >= 8; n, count = n+8, count-8 {
		b = append(b, fill)
	}
	for ; count > 0; n, count = n+1, count-1 {
		b = appendBit(b, n, v)
	}
	return b
}

// appendBits appends the first count bits of src behind the n that b has.
func appendBits(b []byte, n int, src []byte, count int) []byte {
	if n&7 == 0 {
		b = append(b, src[:bitmapLen(count)]...)
		if tail := count & 7; tail != 0 {
			b[len(b)-1] &= 1<<tail - 1
		}
		return b
	}
	for i := range count {
		b = appendBit(b, n+i, bitAt(src, i))
	}
	return b
}

// onesIn counts the set bits among the first n.
func onesIn(b []byte, n int) (ones int) {
	i := 0
	for ; i+64 <= n; i += 64 {
		ones += bits.OnesCount64(binary.LittleEndian.Uint64(b[i>>3:]))
	}
	for ; i+8 <= n; i += 8 {
		ones += bits.OnesCount8(b[i>>3])
	}
	if i < n {
		ones += bits.OnesCount8(b[i>>3] & (1<<(n-i) - 1))
	}
	return ones
}
