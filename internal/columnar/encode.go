package columnar

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"

	"github.com/seed-551dd829/braid/internal/api"
)

// Encode appends one Arrow IPC stream to dst: the schema, a dictionary per tag, and one record
// batch with the rows of all batches in order. Its columns are exactly the schema's; where a batch
// has no such column its rows are null. Bodies are compressed with LZ4.
//
// It is Invalid if a batch has a column that the schema does not have with that type (see Missing),
// and TooLarge if the rows take more than api.UnpackedBytesMax in memory. dst is unchanged then.
func Encode(dst []byte, schema api.Schema, batches []*Batch) ([]byte, error) {
	e := encoders.Get().(*encoder)
	out, err := e.encode(dst, schema, batches)
	e.batches = e.batches[:0]
	clear(e.columns)
	if e.scratchBytes() <= pooledBytesMax {
		encoders.Put(e)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

var encoders = sync.Pool{New: func() any { return &encoder{layouts: map[api.Fingerprint]*layout{}} }}

// layoutsMax bounds the layouts that an encoder remembers.
const layoutsMax = 64

type encoder struct {
	compressor lz4.Compressor
	layouts    map[api.Fingerprint]*layout
	batches    []*Batch
	rows       int
	columns    []*Column // of batch b and schema column i at b*width+i, nil if it has none
	width      int

	// The buffers of one column of several batches.
	valid, bits, data []byte
	words             []uint64
	codes, offs       []uint32
	dict              dict
	recode            []uint32

	// The record batch under construction: buffers go behind its message, in front of which stand
	// the dictionaries.
	tags []tagBuffers
	out  []byte
	body int
	at   int
}

// tagBuffers is a tag column on its way into the record, behind the dictionaries.
type tagBuffers struct{ codes []uint32 }

func (e *encoder) scratchBytes() int {
	n := cap(e.valid) + cap(e.bits) + cap(e.data) + 8*cap(e.words) + 4*cap(e.codes) + 4*cap(e.offs) +
		e.dict.capBytes() + 8*cap(e.columns)
	for _, t := range e.tags[:cap(e.tags)] {
		n += 4 * cap(t.codes)
	}
	return n
}

func (e *encoder) layout(schema api.Schema) *layout {
	f := schema.Fingerprint(schema.Len())
	l := e.layouts[f]
	if l == nil {
		if len(e.layouts) >= layoutsMax {
			clear(e.layouts)
		}
		l = newLayout(schema.Columns())
		e.layouts[f] = l
	}
	return l
}

func (e *encoder) encode(dst []byte, schema api.Schema, batches []*Batch) ([]byte, error) {
	if schema.Len() == 0 {
		return nil, api.Errorf(api.Invalid, "there is no schema to encode the rows with")
	}
	if err := e.resolve(schema, batches); err != nil {
		return nil, err
	}
	l := e.layout(schema)
	e.out = append(dst, l.schema...)
	e.dictionaries(l, schema.Columns())
	e.record(l, schema.Columns())
	out := append(e.out, endOfStream...)
	e.out = nil
	return out, nil
}

// resolve finds the columns of every batch and checks types and size. The size is at least what
// Validate will count: what Encode makes must never be refused behind it.
func (e *encoder) resolve(schema api.Schema, batches []*Batch) error {
	columns := schema.Columns()
	e.batches, e.width, e.rows = append(e.batches[:0], batches...), len(columns), 0
	e.columns = slices.Grow(e.columns[:0], len(batches)*e.width)[:len(batches)*e.width]
	clear(e.columns)
	size := 0
	for k, b := range batches {
		e.rows += b.rows
		row := e.columns[k*e.width : (k+1)*e.width]
		for i, c := range b.columns {
			at, ok := find(schema, i+1, c.Name)
			if !ok || columns[at].Type != c.Type {
				return api.Errorf(api.Invalid, "column %q (%s) is not one of the schema's",
					c.Name, c.Type).InTable(b.table)
			}
			row[at] = c
			size += len(c.data) + len(c.dict.data) + 4*len(c.dict.offs)
		}
	}
	for i := range columns {
		size += e.rows*fixedWidth(columns[i].Type) + bitmapLen(e.rows) + 8 // one offset more than rows
	}
	if size > api.UnpackedBytesMax || e.rows > math.MaxInt32 {
		return api.Errorf(api.TooLarge, "%d rows of %d columns take %d MB in memory, at most %d are allowed", e.rows,
			len(columns), size>>20, api.UnpackedBytesMax>>20)
	}
	return nil
}

// fixedWidth is about the memory of a row's value, in bytes, without a string's text.
func fixedWidth(t api.ColumnType) int {
	switch t {
	case api.Tag, api.String:
		return 4
	case api.Boolean:
		return 1
	}
	return 8
}

// open begins a message whose numbers are patched as they become known.
func (e *encoder) open(m *message) {
	e.at = len(e.out)
	e.out = append(e.out, m.bytes...)
	e.body = len(e.out)
}

func (e *encoder) patch(at int, v int) {
	binary.LittleEndian.PutUint64(e.out[e.at+at:], uint64(v))
}

// node fills in a column's length and nulls.
func (e *encoder) node(m *message, i, length, nulls int) {
	e.patch(m.nodes+16*i, length)
	e.patch(m.nodes+16*i+8, nulls)
}

// buffer appends one buffer of the open message and fills in its place.
func (e *encoder) buffer(m *message, i int, src []byte) {
	start := len(e.out)
	e.out = appendBuffer(e.out, &e.compressor, src)
	e.patch(m.buffers+16*i, start-e.body)
	e.patch(m.buffers+16*i+8, len(e.out)-start)
	for len(e.out)&7 != e.body&7 {
		e.out = append(e.out, 0)
	}
}

// close fills in the length of the open message's body.
func (e *encoder) close(m *message) { e.patch(m.body, len(e.out)-e.body) }

// dictionaries writes the dictionary of every tag column, and keeps the codes of its rows for the
// record.
func (e *encoder) dictionaries(l *layout, columns []api.Column) {
	tags := 0
	for i := range columns {
		if columns[i].Type != api.Tag {
			continue
		}
		if tags == len(e.tags) {
			e.tags = append(e.tags, tagBuffers{})
		}
		d := e.tag(i, &e.tags[tags])
		tags++
		m := &l.dictionary
		e.open(m)
		e.patch(m.id, i)
		e.patch(m.length, d.len())
		e.node(m, 0, d.len(), 0)
		e.buffer(m, 0, nil)
		offs := d.offs
		if len(offs) == 0 {
			offs = zeroOffset
		}
		e.buffer(m, 1, wordBytes(offs))
		e.buffer(m, 2, d.data)
		e.close(m)
	}
}

var zeroOffset = []uint32{0}

// tag returns the dictionary that column i has over all batches, and gives every row its code in
// it.
func (e *encoder) tag(i int, t *tagBuffers) *dict {
	t.codes = t.codes[:0]
	if len(e.batches) == 1 {
		if c := e.columns[i]; c != nil {
			return &c.dict // its codes are right as they are
		}
	}
	e.dict.reset()
	for k, b := range e.batches {
		c := e.columns[k*e.width+i]
		if c == nil {
			t.codes = appendZeros(t.codes, b.rows)
			continue
		}
		e.recode = e.recode[:0]
		for code := range uint32(c.dict.len()) {
			e.recode = append(e.recode, e.dict.code(c.dict.value(code)))
		}
		if len(e.recode) == 0 {
			e.recode = append(e.recode, 0) // of nulls
		}
		for _, code := range c.codes {
			t.codes = append(t.codes, e.recode[code])
		}
	}
	return &e.dict
}

func (e *encoder) record(l *layout, columns []api.Column) {
	m := &l.record
	e.open(m)
	e.patch(m.length, e.rows)
	buffer, tag := 0, 0
	for i := range columns {
		t := columns[i].Type
		valid, nulls := e.validity(i, t)
		e.node(m, i, e.rows, nulls)
		e.buffer(m, buffer, valid)
		switch t {
		case api.Timestamp:
			e.buffer(m, buffer+1, e.timestamps())
		case api.Tag:
			codes := e.tags[tag].codes
			if len(e.batches) == 1 && e.columns[i] != nil {
				codes = e.columns[i].codes
			}
			e.buffer(m, buffer+1, wordBytes(codes))
			tag++
		case api.Boolean:
			e.buffer(m, buffer+1, e.booleans(i))
		case api.String:
			offs, data := e.strings(i)
			e.buffer(m, buffer+1, wordBytes(offs))
			e.buffer(m, buffer+2, data)
		default:
			e.buffer(m, buffer+1, wordBytes(e.numbers(i)))
		}
		buffer += bufferCount(t)
	}
	e.close(m)
}
