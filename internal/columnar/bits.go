package columnar

import (
	"encoding/binary"
	"math/bits"
)

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
