package api

import (
	"encoding/binary"
	"errors"
)

// ErrTruncated says that an encoded message ends before it should, or has bytes left over.
var ErrTruncated = errors.New("message is cut short or has trailing bytes")

// decoder reads what the append functions wrote. The first failure sticks, so that a message is read in one go and
// checked once; no length is trusted before it is compared with what is left.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	d.err, d.b = ErrTruncated, nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of elements, each of which takes at least one byte of what is left.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) bytes() []byte  { return d.take(d.count()) }
func (d *decoder) string() string { return string(d.bytes()) }

// end returns the first error, ErrTruncated if bytes are left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(appendUint(b, uint64(len(v))), v...)
}
