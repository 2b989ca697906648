package columnar

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
)

// Rows is a decoded group. It is for one goroutine at a time; Release gives its memory back.
type Rows struct {
	rows    int
	columns []rowColumn
	record  arrow.RecordBatch
}

type rowColumn struct {
	api.Column
	arrow.Array
	texts *array.String // a string's, or the values of a tag's dictionary
}

// Decode opens a group's stream whose columns are exactly the schema's. It checks what Validate
// checks but the row count, so that no bytes make a writer panic later. Rows may alias stream.
func Decode(stream []byte, schema api.Schema) (*Rows, error) {
	return decode(stream, schema.Columns(), api.UnpackedBytesMax)
}

func decode(stream []byte, columns []api.Column, limit budget) (*Rows, error) {
	if _, err := check(stream, columns, limit); err != nil {
		return nil, err
	}
	r, err := ipc.NewReaderFromMessageReader(&messages{stream: ipcStream{stream}, check: anyMessage})
	if err != nil {
		return nil, err
	}
	if !r.Next() {
		return nil, fmt.Errorf("read the record batch: %w", r.Err())
	}
	rec := r.RecordBatch()
	rows := &Rows{rows: int(rec.NumRows()), record: rec}
	for i, c := range columns {
		column := rowColumn{Column: c, Array: rec.Column(i)}
		switch a := column.Array.(type) {
		case *array.String:
			column.texts = a
		case *array.Dictionary:
			column.texts = a.Dictionary().(*array.String)
		}
		rows.columns = append(rows.columns, column)
	}
	return rows, nil
}

func anyMessage(*ipcMessage) error { return nil }

// Len returns the number of rows.
func (r *Rows) Len() int { return r.rows }

// Release gives the memory back; the rows may not be used afterwards.
func (r *Rows) Release() { r.columns, r.record = nil, nil }

// Record returns the rows as arrow-go has them. The garbage collector owns its memory.
func (r *Rows) Record() arrow.RecordBatch { return r.record }

// Columns returns the number of columns, the timestamp included.
func (r *Rows) Columns() int { return len(r.columns) }

// IsNull says whether a row has no value in a column.
func (r *Rows) IsNull(column, row int) bool { return r.columns[column].IsNull(row) }

// Word returns the bits of a number or timestamp that is not null.
func (r *Rows) Word(column, row int) uint64 { return r.columns[column].word(row) }

// Truth returns a boolean that is not null.
func (r *Rows) Truth(column, row int) bool { return r.columns[column].bool(row) }

// Text returns a tag or string that is not null. It shares the memory of the rows.
func (r *Rows) Text(column, row int) string { return r.columns[column].text(row) }

// Value returns a value that is not null: int64 (also of a timestamp), uint64, float64, bool or
// string. It is for tests and tools; the writers read the columns directly.
func (r *Rows) Value(column, row int) any {
	c := &r.columns[column]
	switch c.Type {
	case api.Timestamp, api.Int64:
		return int64(c.word(row))
	case api.Uint64:
		return c.word(row)
	case api.Float64:
		return math.Float64frombits(c.word(row))
	case api.Boolean:
		return c.bool(row)
	}
	return c.text(row)
}

// text returns the value of a tag or string.
func (c *rowColumn) text(row int) string {
	if a, ok := c.Array.(*array.Dictionary); ok {
		row = a.GetValueIndex(row)
	}
	return c.texts.Value(row)
}

func (c *rowColumn) bool(row int) bool { return c.Array.(*array.Boolean).Value(row) }

// word returns the bits of a number or timestamp.
func (c *rowColumn) word(row int) uint64 {
	switch a := c.Array.(type) {
	case *array.Int64:
		return uint64(a.Value(row))
	case *array.Uint64:
		return a.Value(row)
	case *array.Float64:
		return math.Float64bits(a.Value(row))
	}
	return uint64(c.Array.(*array.Timestamp).Value(row))
}
