package segment

import "math/bits"

// The CRC of two pieces put together follows from the CRCs of the pieces and the length of the
// second. The method is zlib's crc32_combine (Mark Adler): shifting a CRC by n zero bytes is a
// multiplication by x^(8n) modulo the polynomial, here Castagnoli's, bits reflected. So the whole
// file's CRC costs a few hundred nanoseconds a group, whatever its size.

const castagnoliReflected = 0x82f63b78

// powers[k] is x^(2^k) modulo the polynomial.
var powers = func() (p [32]uint32) {
	p[0] = 1 << 30 // x^1, reflected
	for k := 1; k < len(p); k++ {
		p[k] = multiply(p[k-1], p[k-1])
	}
	return p
}()

// multiply is a·b modulo the polynomial. Bit 31 is x^0.
func multiply(a, b uint32) (product uint32) {
	for a != 0 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		a <<= 1
		b = b>>1 ^ castagnoliReflected&-(b&1)
	}
	return product
}

// combineCRC is the CRC of a piece with CRC first, followed by a piece of `length` bytes with CRC
// second.
func combineCRC(first, second, length uint32) uint32 {
	shift := uint32(1 << 31) // x^0
	for n, k := length, 3; n != 0; k++ {
		zeros := bits.TrailingZeros32(n)
		n >>= zeros
		k += zeros
		shift = multiply(shift, powers[k%32])
		n >>= 1
	}
	return multiply(shift, first) ^ second
}
