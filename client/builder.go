package client

import (
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// Builder makes rows one value after the other:
//
//	rows := client.NewRows()
//	rows.Symbol("host", "a").Int64("usage", 1).Float64("load", 0.5).At(t)
//	rows.Symbol("host", "b").Int64("usage", 2).At(t) // no load: a null
//	result, err := table.Write(ctx, rows)
//	rows.Reset()
//
// A column's type is the method's that first named it. The first mistake, such as a column with two types, is kept:
// Err and every write of the rows return it, until Reset. Once warm, a row costs no allocation.
//
// A Builder is for one goroutine at a time. It may be written any number of times, and changed as soon as Write or
// WriteAsync has returned.
type Builder struct {
	columns *columnar.Batch
	slots   []*columnar.Column // of the row before, in its order: the most likely ones of the next row
	next    int                // the slot of the next value
	begun   bool               // the row has a value
	err     error
	schema  api.Schema // of the columns when they were last encoded
}

// NewRows returns a builder without rows.
func NewRows() *Builder { return &Builder{columns: columnar.NewBatch("", nil)} }

// Len is the number of finished rows.
func (b *Builder) Len() int { return b.columns.Rows() }

// Bytes is about what the finished rows take in memory.
func (b *Builder) Bytes() int { return b.columns.Bytes() }

// Err is the first mistake since the last Reset, an *InvalidError.
func (b *Builder) Err() error { return b.err }

// Reset forgets all rows, and keeps their memory for others.
func (b *Builder) Reset() {
	b.columns.Release()
	b.columns = columnar.NewBatch("", nil)
	b.slots, b.next, b.begun, b.err = b.slots[:0], 0, false, nil
}

// Symbol sets a tag of the row: a string from a small set, by which rows are told apart, as a host's name.
func (b *Builder) Symbol(name, value string) *Builder {
	if c := b.column(name, api.Tag); c != nil && b.text(c, value) && !c.PutTag(b.columns.Rows(), bytesOf(value)) {
		b.refuse(c.Refusal().Message)
	}
	return b
}

// String sets a string field, of any text.
func (b *Builder) String(name, value string) *Builder {
	if c := b.column(name, api.String); c != nil && b.text(c, value) && !c.PutString(b.columns.Rows(), bytesOf(value)) {
		b.refuse(c.Refusal().Message)
	}
	return b
}

// Int64 sets an integer field.
func (b *Builder) Int64(name string, value int64) *Builder {
	return b.word(name, api.Int64, uint64(value))
}

// Uint64 sets an unsigned integer field.
func (b *Builder) Uint64(name string, value uint64) *Builder { return b.word(name, api.Uint64, value) }

// Float64 sets a float field. NaN and infinities are refused: leave the value out.
func (b *Builder) Float64(name string, value float64) *Builder {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		b.refuse(fmt.Sprintf("column %s: %v is not a number that can be stored", api.Quote(name), value))
		return b
	}
	return b.word(name, api.Float64, math.Float64bits(value))
}

// Bool sets a boolean field.
func (b *Builder) Bool(name string, value bool) *Builder {
	if c := b.column(name, api.Boolean); c != nil && !c.PutBool(b.columns.Rows(), value) {
		b.refuse(c.Refusal().Message)
	}
	return b
}

// At finishes the row with its time, which has nanoseconds and must be between the years 1678 and 2262.
func (b *Builder) At(t time.Time) {
	if err := checkTime(t); err != nil {
		b.refuse(err.Error())
		return
	}
	b.AtNanos(t.UnixNano())
}

func checkTime(t time.Time) error {
	if s := t.Unix(); s <= math.MinInt64/int64(time.Second) || s >= math.MaxInt64/int64(time.Second) {
		return fmt.Errorf("the time %s is not one that nanoseconds since 1970 can say", t)
	}
	return nil
}

// AtNow finishes the row with the time of this machine's clock.
func (b *Builder) AtNow() { b.At(time.Now()) }

// AtNanos finishes the row with its time in nanoseconds since 1970.
func (b *Builder) AtNanos(timestamp int64) {
	if !b.begun {
		b.refuse("it has no value")
	}
	if b.err != nil {
		return
	}
	b.columns.EndRow(timestamp)
	b.next, b.begun = 0, false
}

func (b *Builder) word(name string, t api.ColumnType, bits uint64) *Builder {
	if c := b.column(name, t); c != nil && !c.PutWord(b.columns.Rows(), bits) {
		b.refuse(c.Refusal().Message)
	}
	return b
}

// column returns the row's next column, nil once there was a mistake.
func (b *Builder) column(name string, t api.ColumnType) *columnar.Column {
	if b.err != nil {
		return nil
	}
	b.begun = true
	n := b.next
	b.next++
	if n < len(b.slots) {
		if c := b.slots[n]; c.Name == name && c.Type == t {
			return c
		}
	}
	c, refusal := b.columns.Column(bytesOf(name), t, 0)
	if refusal != nil {
		b.refuse(refusal.Message)
		return nil
	}
	if n == len(b.slots) {
		b.slots = append(b.slots, c)
	} else {
		b.slots[n] = c
	}
	return c
}

// bytesOf are a string's bytes without a copy, for those who only read them: columns keep copies of what they store.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (b *Builder) text(c *columnar.Column, value string) bool {
	if utf8.ValidString(value) {
		return true
	}
	b.refuse(fmt.Sprintf("column %s: the value %s is not UTF-8", api.Quote(c.Name), api.Quote(value)))
	return false
}

func (b *Builder) refuse(why string) {
	if b.err == nil {
		b.err = &InvalidError{Message: fmt.Sprintf("row %d: %s", b.columns.Rows()+1, why)}
	}
}

// batch lends the rows in columns.
func (b *Builder) batch() (*columnar.Batch, error) {
	switch {
	case b.err != nil:
		return nil, b.err
	case b.begun:
		return nil, &InvalidError{Message: fmt.Sprintf("row %d has values and no time: At ends a row", b.Len()+1)}
	case b.Len() == 0:
		return nil, &InvalidError{Message: "no rows"}
	}
	if refusal := b.columns.Finish(); refusal != nil {
		return nil, publicRefusal(refusal)
	}
	return b.columns, nil
}

// Payload returns the rows as an Arrow IPC stream.
func (b *Builder) Payload() (Payload, error) {
	batch, err := b.batch()
	if err != nil {
		return Payload{}, err
	}
	if err := b.grow(batch); err != nil {
		return Payload{}, err
	}
	data, err := columnar.Encode(nil, b.schema, []*columnar.Batch{batch})
	if err != nil {
		return Payload{}, public(fmt.Errorf("encode %d rows: %w", batch.Rows(), err))
	}
	return ArrowStream(data), nil
}

// grow makes a schema of the rows' own columns.
func (b *Builder) grow(batch *columnar.Batch) error {
	columns, refusal := batch.Missing(api.Schema{})
	if refusal != nil {
		return publicRefusal(refusal)
	}
	if n := b.schema.Len(); n > 0 && slices.Equal(b.schema.Columns()[1:], columns) {
		return nil
	}
	schema, err := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, columns...))
	if err != nil {
		return &InvalidError{Message: err.Error()}
	}
	b.schema = schema
	return nil
}
