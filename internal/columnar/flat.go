package columnar

import (
	"encoding/binary"
	"errors"

	"github.com/seed-551dd829/braid/internal/api"
)

// errFlat says that a flatbuffer points outside itself.
var errFlat = errors.New("malformed Arrow metadata")

// flat reads flatbuffers of unknown origin: every offset is checked before it is followed, and
// nothing is allocated. (The generated code that arrow-go uses panics on a bad offset.) What the
// readers on top of it do not fail on, that code must read in the same way. The layout
// is that of https://flatbuffers.dev/internals: a table begins with the distance to its vtable,
// which has the place of each field in the table, or 0.
type flat struct {
	b      []byte
	err    error
	copied int64 // bytes of names and custom metadata that were met: arrow-go copies them
}

// flatTable is a table's position; 0 is no table (the root offset stands at 0, so that no table
// can).
type flatTable int

func (f *flat) fail() int {
	f.err = errFlat
	return 0
}

func (f *flat) u16(at int) int {
	if at < 0 || at+2 > len(f.b) {
		return f.fail()
	}
	return int(binary.LittleEndian.Uint16(f.b[at:]))
}

func (f *flat) u32(at int) uint32 {
	if at < 0 || at+4 > len(f.b) {
		return uint32(f.fail())
	}
	return binary.LittleEndian.Uint32(f.b[at:])
}

func (f *flat) i64(at int) int64 {
	if at < 0 || at+8 > len(f.b) {
		return int64(f.fail())
	}
	return int64(binary.LittleEndian.Uint64(f.b[at:]))
}

// follow returns where the offset at `at` points: always forward.
func (f *flat) follow(at int) int {
	if at == 0 {
		return 0
	}
	to := int64(at) + int64(f.u32(at))
	if f.err != nil || to <= int64(at) || to >= int64(len(f.b)) {
		return f.fail()
	}
	return int(to)
}

func (f *flat) root() flatTable {
	to := int(f.u32(0))
	if f.err != nil || to < 4 || to >= len(f.b) {
		return flatTable(f.fail())
	}
	return flatTable(to)
}

// field returns where a table's field stands, 0 if the table has none.
func (f *flat) field(t flatTable, slot int) int {
	if t == 0 || f.err != nil {
		return 0
	}
	vtable := int64(t) - int64(int32(f.u32(int(t))))
	if f.err != nil || vtable < 0 || vtable+4 > int64(len(f.b)) {
		return f.fail()
	}
	size := f.u16(int(vtable))
	if size%2 != 0 {
		return f.fail() // the generated code would read half an entry
	}
	if entry := 4 + 2*slot; entry+2 <= size {
		if at := f.u16(int(vtable) + entry); at != 0 {
			return int(t) + at
		}
	}
	return 0
}

func (f *flat) table(t flatTable, slot int) flatTable { return flatTable(f.follow(f.field(t, slot))) }

func (f *flat) byteField(t flatTable, slot int) byte {
	at := f.field(t, slot)
	if at == 0 {
		return 0
	}
	if at >= len(f.b) {
		return byte(f.fail())
	}
	return f.b[at]
}

func (f *flat) u16Field(t flatTable, slot int) int {
	if at := f.field(t, slot); at != 0 {
		return f.u16(at)
	}
	return 0
}

func (f *flat) u32Field(t flatTable, slot int) uint32 {
	if at := f.field(t, slot); at != 0 {
		return f.u32(at)
	}
	return 0
}

func (f *flat) i64Field(t flatTable, slot int) int64 {
	if at := f.field(t, slot); at != 0 {
		return f.i64(at)
	}
	return 0
}

// vector returns the first element of a vector field and how many there are, each of size bytes.
func (f *flat) vector(t flatTable, slot, size int) (at, n int) {
	at = f.follow(f.field(t, slot))
	if at == 0 {
		return 0, 0
	}
	count := int64(f.u32(at))
	if f.err != nil || int64(at)+4+count*int64(size) > int64(len(f.b)) {
		return f.fail(), 0
	}
	return at + 4, int(count)
}

func (f *flat) str(t flatTable, slot int) []byte {
	at, n := f.vector(t, slot, 1)
	return f.b[at : at+n]
}

// metadata checks a table's custom metadata and returns how many there are. Several may be the same
// bytes, so that a small message can stand for gigabytes.
func (f *flat) metadata(t flatTable, slot int) int {
	at, n := f.vector(t, slot, 4)
	for i := 0; i < n && f.err == nil; i++ {
		pair := flatTable(f.follow(at + 4*i))
		f.copied += int64(64 + len(f.str(pair, keyValueKey)) + len(f.str(pair, keyValueValue)))
		if f.copied > api.UnpackedBytesMax {
			f.fail()
		}
	}
	return n
}
