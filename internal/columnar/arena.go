package columnar

import "slices"

// arena is a memory.Allocator of arrow-go for one group: nothing is freed before reset. Its memory
// is as good as new, zeroed.
type arena struct {
	b    []byte // free behind its length
	used int    // bytes that were asked for since reset
}

func (a *arena) Allocate(n int) []byte {
	n = (n + 63) &^ 63
	a.used += n
	if len(a.b)+n > cap(a.b) {
		return make([]byte, n)
	}
	at := len(a.b)
	a.b = a.b[:at+n]
	out := a.b[at : at+n : at+n]
	clear(out)
	return out
}

func (a *arena) Reallocate(n int, b []byte) []byte {
	if n <= cap(b) {
		return b[:n]
	}
	out := a.Allocate(n)
	copy(out, b)
	return out
}

func (a *arena) Free([]byte) {}

// reset makes room for as much as was used.
func (a *arena) reset() {
	if a.used > cap(a.b) && a.used <= pooledBytesMax {
		a.b = slices.Grow(a.b[:0], a.used)
	}
	a.b, a.used = a.b[:0], 0
}
