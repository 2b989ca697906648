package loadtest

import "math"

// The content of a write is a checksum over its rows in order. A row's part is a sum over its columns, so that it
// depends neither on their order nor on nulls: the generator computes it from the numbers it draws, the verifier from
// the Arrow columns that a node gives back, and no code of Braid's own parsers stands between the two.

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of x moves every bit of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashText is FNV-1a.
func hashText[T ~string | ~[]byte](s T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Kinds of values; a tag and a string field of the same text count as the same.
const (
	kindInt = iota + 1
	kindUint
	kindFloat
	kindBool
	kindText
	kindTime
)

// columnSeed makes the same value in two columns, or of two types, different.
func columnSeed(name string, kind uint64) uint64 {
	return mix(hashText(name) + kind*0x9e3779b97f4a7c15)
}

func value(seed, bits uint64) uint64            { return mix(seed ^ mix(bits)) }
func floatValue(seed uint64, v float64) uint64  { return value(seed, math.Float64bits(v)) }
func textValue(seed uint64, hash uint64) uint64 { return value(seed, hash) }

func boolValue(seed uint64, v bool) uint64 {
	if v {
		return value(seed, 1)
	}
	return value(seed, 0)
}

// then is the content of some rows and one row more.
func then(content, row uint64) uint64 { return content*0x9e3779b97f4a7c15 + mix(row) }

var timeSeed = columnSeed("timestamp", kindTime)
