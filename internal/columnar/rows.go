package columnar

import (
	"math"

	"github.com/seed-551dd829/braid/internal/api"
)

// Rows is a decoded group. It is for one goroutine at a time; Release gives its memory back.
type Rows struct {
	o *opener
}

// Decode opens a group's stream whose columns are exactly the schema's. It checks what Validate
// checks but the row count, so that no bytes make a writer panic later. Rows may alias ipc.
func Decode(ipc []byte, schema api.Schema) (*Rows, error) {
	o := openers.Get().(*opener)
	o.reuse = false
	if err := o.open(ipc, schema); err != nil {
		o.release()
		return nil, err
	}
	return &Rows{o}, nil
}

// Len returns the number of rows.
func (r *Rows) Len() int { return r.o.rows }

// Release gives the memory back; the rows may not be used afterwards.
func (r *Rows) Release() {
	r.o.release()
	r.o = nil
}

// Columns returns the number of columns, the timestamp included.
func (r *Rows) Columns() int { return len(r.o.columns) }

// IsNull says whether a row has no value in a column.
func (r *Rows) IsNull(column, row int) bool { return r.o.columns[column].isNull(row) }

// Value returns a value that is not null: int64 (also of a timestamp), uint64, float64, bool or
// string. It is for tests and tools; the writers read the columns directly.
func (r *Rows) Value(column, row int) any {
	c := &r.o.columns[column]
	switch c.Type {
	case api.Timestamp, api.Int64:
		return int64(u64At(c.values, row))
	case api.Uint64:
		return u64At(c.values, row)
	case api.Float64:
		return math.Float64frombits(u64At(c.values, row))
	case api.Boolean:
		return bitAt(c.values, row)
	}
	return string(c.text(row))
}

// text returns the value of a tag or string.
func (c *openColumn) text(row int) []byte {
	if c.Type == api.Tag {
		code := int(u32At(c.values, row))
		return c.dict.data[u32At(c.dict.offs, code):u32At(c.dict.offs, code+1)]
	}
	return c.data[u32At(c.values, row):u32At(c.values, row+1)]
}
