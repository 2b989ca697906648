package columnar

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
)

// arrowWriter writes one Arrow stream of many record batches. The writes of an answer are mostly
// small, so their rows are gathered; each record batch has dictionaries of its own, which replace
// those before, as the stream format allows.
type arrowWriter struct {
	columns []api.Column // of the stream, the TxID included
	first   int          // where the table's columns behind the timestamp begin
	schema  *arrow.Schema
	ipc     *ipc.Writer
	batch   *Batch
	started bool
}

// A record batch is written when it has so many rows or bytes.
const (
	recordRows  = 64 << 10
	recordBytes = 8 << 20
	recordCheck = 256 // rows between two looks at the bytes
)

func newArrow(w io.Writer, schema api.Schema, txid string) *arrowWriter {
	a := &arrowWriter{first: 1}
	a.columns = append(a.columns, schema.Columns()[:1]...)
	if txid != "" {
		a.columns = append(a.columns, api.Column{Name: txid, Type: api.Uint64})
		a.first = 2
	}
	a.columns = append(a.columns, schema.Columns()[1:]...)
	a.schema = arrowSchema(a.columns)
	a.ipc = ipc.NewWriter(w, ipc.WithSchema(a.schema), ipc.WithLZ4())
	a.begin()
	return a
}

func (a *arrowWriter) begin() {
	a.batch = NewBatch("", nil)
	for _, c := range a.columns[1:] {
		a.batch.appendColumn([]byte(c.Name), c.Type, 0)
	}
}

func (a *arrowWriter) Write(rows *Rows, from, to int, txid uint64) error {
	for row := from; row < to; row++ {
		n := a.batch.rows
		if a.first == 2 {
			a.batch.columns[0].PutWord(n, txid)
		}
		for i := 1; i < len(rows.columns); i++ {
			if c := &rows.columns[i]; !c.IsNull(row) {
				c.copyTo(a.batch.columns[a.first+i-2], n, row)
			}
		}
		a.batch.EndRow(int64(rows.columns[0].word(row)))
		if n+1 >= recordRows || n%recordCheck == 0 && a.batch.Bytes() >= recordBytes {
			if err := a.flush(); err != nil {
				return err
			}
		}
	}
	// Also between writes: many of a few large rows would make a batch without bound.
	if a.batch.Bytes() >= recordBytes {
		return a.flush()
	}
	return nil
}

func (c *rowColumn) copyTo(to *Column, at, row int) {
	switch c.Type {
	case api.Tag:
		to.PutTag(at, []byte(c.text(row)))
	case api.String:
		to.PutString(at, []byte(c.text(row)))
	case api.Boolean:
		to.PutBool(at, c.bool(row))
	default:
		to.PutWord(at, c.word(row))
	}
}

func (a *arrowWriter) flush() error {
	if err := a.batch.Finish(); err != nil {
		return err
	}
	err := a.ipc.Write(record(a.schema, a.batch.times, a.batch.columns))
	for _, c := range a.batch.columns {
		c.dict.offs, c.dict.data = nil, nil // the ipc.Writer compares the next dictionary with this one
	}
	a.batch.Release()
	a.started = true
	a.begin()
	return err
}

// Close writes the rows that are left, at least one record batch (some readers want the
// dictionaries that the schema promises even where there are no rows), and the end of the stream.
func (a *arrowWriter) Close() error {
	if a.batch.rows > 0 || !a.started {
		if err := a.flush(); err != nil {
			return err
		}
	}
	a.batch.Release()
	a.batch = nil
	return a.ipc.Close()
}
