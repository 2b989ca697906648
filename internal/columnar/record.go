package columnar

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/seed-551dd829/braid/internal/api"
)

// arrowTypes are how a group has the columns of each type. It is the format: never change one.
var arrowTypes = map[api.ColumnType]arrow.DataType{
	api.Timestamp: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: timezoneUTC},
	api.Tag:       &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
	api.Int64:     arrow.PrimitiveTypes.Int64,
	api.Uint64:    arrow.PrimitiveTypes.Uint64,
	api.Float64:   arrow.PrimitiveTypes.Float64,
	api.Boolean:   arrow.FixedWidthTypes.Boolean,
	api.String:    arrow.BinaryTypes.String,
}

func arrowSchema(columns []api.Column) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: arrowTypes[c.Type], Nullable: c.Type != api.Timestamp}
	}
	return arrow.NewSchema(fields, nil)
}

// record makes a record batch of the memory of columns, which must not change as long as it is in
// use. (Only the garbage collector counts references to it: nothing need be released.)
func record(s *arrow.Schema, times []int64, columns []*Column) arrow.RecordBatch {
	rows := len(times)
	arrays := make([]arrow.Array, 1, len(columns)+1)
	arrays[0] = makeArray(s.Field(0).Type, rows, 0, nil, arrow.GetBytes(times))
	for i, c := range columns {
		arrays = append(arrays, c.array(s.Field(i+1).Type, rows))
	}
	return array.NewRecordBatch(s, arrays, int64(rows))
}

func makeArray(t arrow.DataType, rows, nulls int, buffers ...[]byte) arrow.Array {
	return array.MakeFromData(array.NewData(t, rows, arrowBuffers(buffers), nil, nulls, 0))
}

// arrowBuffers wraps buffers, of which the first is a bitmap or nil.
func arrowBuffers(buffers [][]byte) []*memory.Buffer {
	out := make([]*memory.Buffer, len(buffers))
	for i, b := range buffers {
		if b != nil || i > 0 {
			out[i] = memory.NewBufferBytes(b)
		}
	}
	return out
}

func (c *Column) array(t arrow.DataType, rows int) arrow.Array {
	nulls := 0
	if c.valid != nil {
		nulls = rows - onesIn(c.valid, rows)
	}
	switch c.Type {
	case api.Tag:
		index := array.NewData(t, rows, arrowBuffers([][]byte{c.valid, arrow.GetBytes(c.codes)}), nil, nulls, 0)
		index.SetDictionary(c.dict.array().Data())
		return array.NewDictionaryData(index)
	case api.Boolean:
		return makeArray(t, rows, nulls, c.valid, c.bits)
	case api.String:
		return makeArray(t, rows, nulls, c.valid, offsetBytes(c.offs), c.data)
	}
	return makeArray(t, rows, nulls, c.valid, arrow.GetBytes(c.words))
}

func (d *dict) array() arrow.Array {
	return makeArray(arrow.BinaryTypes.String, d.len(), 0, nil, offsetBytes(d.offs), d.data)
}

// offsetBytes returns offsets as bytes; there is one even where there are no values.
func offsetBytes(offs []uint32) []byte {
	if len(offs) == 0 {
		return make([]byte, 4)
	}
	return arrow.GetBytes(offs)
}
