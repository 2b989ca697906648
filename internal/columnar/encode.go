package columnar

import (
	"math"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
)

// Encode appends one Arrow IPC stream to dst: the schema, a dictionary per tag, and one record
// batch with the rows of all batches in order. Its columns are exactly the schema's; where a batch
// has no such column its rows are null. Bodies are compressed with LZ4, but for those of a few rows.
//
// It is Invalid if a batch has a column that the schema does not have with that type (see Missing),
// and TooLarge if the rows take more than api.UnpackedBytesMax in memory. dst is unchanged then.
func Encode(dst []byte, schema api.Schema, batches []*Batch) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.merged = NewBatch("", nil)
	out, err := e.encode(dst, schema, batches)
	e.merged.Release()
	e.memory.reset()
	e.merged, e.batches = nil, e.batches[:0]
	clear(e.columns)
	if cap(e.columns) <= pooledPointersMax {
		encoders.Put(e)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

var encoders = sync.Pool{New: func() any { return &encoder{schemas: map[api.Fingerprint]*arrow.Schema{}} }}

const (
	// schemasMax bounds the schemas that an encoder remembers.
	schemasMax = 64
	// pooledPointersMax is how many columns of batches an encoder may keep the memory for.
	pooledPointersMax = 1 << 20
	// plainBytesMax is the size of rows in memory, in bytes, up to which compressing them costs more
	// time than its bytes are worth.
	plainBytesMax = 4 << 10
)

type encoder struct {
	schemas map[api.Fingerprint]*arrow.Schema
	batches []*Batch
	rows    int
	size    int       // of the rows in memory, in bytes
	columns []*Column // of batch b and schema column i at b*width+i, nil if it has none
	width   int
	merged  *Batch // the columns that are not one batch's
	recode  []uint32
	memory  arena
}

func (e *encoder) schema(schema api.Schema) *arrow.Schema {
	f := schema.Fingerprint(schema.Len())
	s := e.schemas[f]
	if s == nil {
		if len(e.schemas) >= schemasMax {
			clear(e.schemas)
		}
		s = arrowSchema(schema.Columns())
		e.schemas[f] = s
	}
	return s
}

func (e *encoder) encode(dst []byte, schema api.Schema, batches []*Batch) ([]byte, error) {
	if schema.Len() == 0 {
		return nil, api.Errorf(api.Invalid, "there is no schema to encode the rows with")
	}
	if err := e.resolve(schema, batches); err != nil {
		return nil, err
	}
	out := appendWriter{dst}
	s := e.schema(schema)
	options := append(make([]ipc.Option, 0, 3), ipc.WithSchema(s), ipc.WithAllocator(&e.memory))
	if e.size > plainBytesMax {
		options = append(options, ipc.WithLZ4())
	}
	w := ipc.NewWriter(&out, options...)
	if err := w.Write(e.record(s, schema.Columns())); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.b, nil
}

// appendWriter is a slice that grows.
type appendWriter struct{ b []byte }

func (w *appendWriter) Write(b []byte) (int, error) {
	w.b = append(w.b, b...)
	return len(b), nil
}

// record is the rows of all batches.
func (e *encoder) record(s *arrow.Schema, columns []api.Column) arrow.RecordBatch {
	sources := make([]*Column, len(columns)-1)
	for i := range sources {
		if sources[i] = e.columns[i+1]; len(e.batches) != 1 || sources[i] == nil {
			sources[i] = e.gather(i+1, columns[i+1])
		}
	}
	if len(e.batches) == 1 {
		return record(s, e.batches[0].times, sources)
	}
	for _, b := range e.batches {
		e.merged.times = append(e.merged.times, b.times...)
	}
	return record(s, e.merged.times, sources)
}

// gather copies column i of all batches into one.
func (e *encoder) gather(i int, c api.Column) *Column {
	to := e.merged.appendColumn([]byte(c.Name), c.Type, 0)
	for k, b := range e.batches {
		switch from := e.columns[k*e.width+i]; {
		case from == nil:
			to.nulls(b.rows)
		case b.rows > 0:
			e.recode = to.appendAll(from, e.recode[:0])
		}
	}
	return to
}

// resolve finds the columns of every batch and checks types and size. The size is at least what
// Validate will count: what Encode makes must never be refused behind it.
func (e *encoder) resolve(schema api.Schema, batches []*Batch) error {
	columns := schema.Columns()
	e.batches, e.width, e.rows = append(e.batches[:0], batches...), len(columns), 0
	e.columns = slices.Grow(e.columns[:0], len(batches)*e.width)[:len(batches)*e.width]
	clear(e.columns)
	e.size = 0
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
			e.size += len(c.data) + len(c.dict.data) + 4*len(c.dict.offs)
		}
	}
	for i := range columns {
		e.size += e.rows*columnWidth(columns[i].Type) + bitmapLen(e.rows) + 8 // one offset more than rows
	}
	if e.size > api.UnpackedBytesMax || e.rows > math.MaxInt32 {
		return api.Errorf(api.TooLarge, "%d rows of %d columns take %d MB in memory, at most %d are allowed", e.rows,
			len(columns), e.size>>20, api.UnpackedBytesMax>>20)
	}
	return nil
}
