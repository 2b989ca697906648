package columnar

import (
	"math"

	"github.com/seed-551dd829/braid/internal/api"
)

// Column is one column of a Batch while a parser fills it. A parser keeps the pointer until the
// batch is released.
//
// The Put functions store row's value. Rows come in order; rows that were left out are nulls. They
// return false if the value cannot be stored; Refusal says why. The type is the caller's to check:
// PutWord is for Int64, Uint64 and Float64 (as bits), and so on.
type Column struct {
	api.Column
	FirstLine int // physical line of the first value, 0 where there are no lines

	batch *Batch   // nil while no batch has it
	n     int      // rows that have a value or a null so far
	valid []byte   // nil as long as there is no null
	words []uint64 // Int64, Uint64, Float64
	codes []uint32 // Tag; 0 for a null
	dict  dict     // Tag
	bits  []byte   // Boolean
	offs  []uint32 // String: offs[i] to offs[i+1], one more than rows
	data  []byte   // String
	last  uint32   // Tag: the code of the latest value
	soft  *soft    // NDJSON only
}

// soft is what an NDJSON column remembers until the table's schema says what its values are: a
// whole number may be an int64 or a float64, a string may be a tag.
type soft struct {
	floats    []uint64 // the same values as float64 bits; nil while they are plain conversions of words
	floatLine int      // line of the first value that can only be a float64, 0 if there is none
}

// PutWord stores the bits of a number.
func (c *Column) PutWord(row int, v uint64) bool {
	if c.n != row && !c.pad(row) {
		return false
	}
	c.words = append(c.words, v)
	c.put(row)
	return true
}

// PutBool stores a boolean.
func (c *Column) PutBool(row int, v bool) bool {
	if c.n != row && !c.pad(row) {
		return false
	}
	c.bits = appendBit(c.bits, row, v)
	c.put(row)
	return true
}

// PutString stores a copy of v, which is UTF-8.
func (c *Column) PutString(row int, v []byte) bool {
	if c.n != row && !c.pad(row) {
		return false
	}
	if row == 0 {
		c.offs = append(c.offs[:0], 0)
	}
	c.data = append(c.data, v...)
	c.offs = append(c.offs, uint32(len(c.data)))
	c.put(row)
	return true
}

// PutTag stores a tag's value, which is UTF-8.
func (c *Column) PutTag(row int, v []byte) bool { return c.PutCode(row, c.dict.code(v)) }

// PutCode stores a tag's value by the code that Last or an earlier PutTag gave.
func (c *Column) PutCode(row int, code uint32) bool {
	if c.n != row && !c.pad(row) {
		return false
	}
	c.last = code
	c.codes = append(c.codes, code)
	c.put(row)
	return true
}

// LastCode returns the code of the tag value that was stored latest.
func (c *Column) LastCode() uint32 { return c.last }

func (c *Column) put(row int) {
	c.n = row + 1
	if c.valid != nil {
		c.valid = appendBit(c.valid, row, true)
	}
}

// Refusal says why the latest Put returned false: the row has a value already (Invalid), or its
// batch would take too much memory (TooLarge).
func (c *Column) Refusal() *api.Error {
	if c.batch.over {
		return c.batch.tooLarge()
	}
	return api.Errorf(api.Invalid, "column %q is there twice", c.Name)
}

// pad appends nulls up to row; false if row has a value already. Nulls cost memory that nobody
// sent, so they are paid from the batch's budget.
func (c *Column) pad(row int) bool {
	count := row - c.n
	if count < 0 {
		return false
	}
	if !c.batch.spend(count * c.width()) {
		return false
	}
	c.nulls(count)
	return true
}

func (c *Column) padValues(count int) {
	switch c.Type {
	case api.Tag:
		c.codes = appendZeros(c.codes, count)
	case api.Boolean:
		c.bits = appendRun(c.bits, c.n, count, false)
	case api.String:
		if c.n == 0 {
			c.offs = append(c.offs[:0], 0)
		}
		end := uint32(len(c.data))
		for range count {
			c.offs = append(c.offs, end)
		}
	default:
		c.words = appendZeros(c.words, count)
		if c.soft != nil && c.soft.floats != nil {
			c.soft.floats = appendZeros(c.soft.floats, count)
		}
	}
}

// appendZeros appends count zeros; the slice grows by doubling, so that many small calls stay
// linear.
func appendZeros[T uint32 | uint64](s []T, count int) []T {
	for range count {
		s = append(s, 0)
	}
	return s
}

// width is what a null costs in memory, in bytes.
func (c *Column) width() int { return columnWidth(c.Type) }

// columnWidth is about the memory of a row's value, in bytes, without a string's text.
func columnWidth(t api.ColumnType) int {
	switch t {
	case api.Tag, api.String:
		return 4
	case api.Boolean:
		return 1
	}
	return 8
}

func (c *Column) isNull(row int) bool { return c.valid != nil && !bitAt(c.valid, row) }

// bytes is the size of the values in memory.
func (c *Column) bytes() int {
	return len(c.valid) + 8*len(c.words) + 4*len(c.codes) + len(c.bits) + 4*len(c.offs) + len(c.data) +
		4*len(c.dict.offs) + len(c.dict.data)
}

func (c *Column) capBytes() int {
	return cap(c.valid) + 8*cap(c.words) + 4*cap(c.codes) + cap(c.bits) + 4*cap(c.offs) + cap(c.data) +
		c.dict.capBytes()
}

// reset forgets the values and keeps the memory.
func (c *Column) reset() {
	c.batch, c.n, c.last, c.soft, c.valid = nil, 0, 0, nil, nil
	c.words, c.codes, c.bits = c.words[:0], c.codes[:0], c.bits[:0]
	c.offs, c.data = c.offs[:0], c.data[:0]
	c.dict.reset()
}

// putInteger stores a whole number of an NDJSON row: an int64, unless the column is or turns out to
// be a float64. minusZero tells -0 from 0, which only a float64 can.
func (c *Column) putInteger(row int, v int64, minusZero bool) bool {
	f := math.Float64bits(float64(v))
	if minusZero {
		f = math.Float64bits(math.Copysign(0, -1))
	}
	if c.Type == api.Float64 {
		return c.PutWord(row, f)
	}
	if !c.PutWord(row, uint64(v)) {
		return false
	}
	if minusZero {
		c.softFloats(row)
	}
	if c.soft.floats != nil {
		c.soft.floats = append(c.soft.floats, f)
	}
	return true
}

// putFloat stores a number of an NDJSON row that has a dot or an exponent.
func (c *Column) putFloat(row int, v float64, line int) bool {
	if c.Type == api.Float64 {
		return c.PutWord(row, math.Float64bits(v))
	}
	if !c.PutWord(row, 0) {
		return false
	}
	c.softFloats(row)
	c.soft.floats = append(c.soft.floats, math.Float64bits(v))
	if c.soft.floatLine == 0 {
		c.soft.floatLine = line
	}
	return true
}

// softFloats makes sure that the rows before row are there as floats.
func (c *Column) softFloats(row int) {
	if c.soft.floats != nil {
		return
	}
	c.soft.floats = make([]uint64, 0, row+1)
	for _, w := range c.words[:min(row, len(c.words))] {
		c.soft.floats = append(c.soft.floats, math.Float64bits(float64(int64(w))))
	}
}
