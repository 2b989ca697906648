package arrowrows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// Reader gives the record batches of one read. It is for one goroutine at a time, and must be closed unless Batches was
// ranged over, which closes it.
type Reader struct {
	table  string
	stream *client.RowStream
	in     *columnar.StreamReader
}

// Read begins to read rows of a table as Arrow record batches, in the order of their TxIDs, as client.Table.Read does
// row by row. The columns are the table's: `timestamp`, with TxIDs a column `txid`, and the others; tags are
// dictionary-encoded strings. A batch has at most 65,536 rows.
//
// Its errors: client.ErrNotFound, *client.InvalidError (also for TxIDs of a table that has a column txid itself),
// client.ErrUnavailable, client.ErrOverloaded, client.ErrCorrupt, client.ErrClosed.
func Read(ctx context.Context, c *client.Client, table string, opts ...client.ReadOption) (*Reader, error) {
	var o client.ReadOptions
	for _, opt := range opts {
		opt(&o)
	}
	o.Format = client.FormatArrow
	stream, err := c.Rows(ctx, table, o)
	if err != nil {
		return nil, err
	}
	r := &Reader{table: table, stream: stream}
	txid := ""
	if o.TxID {
		txid = "txid"
	}
	if r.in, err = columnar.NewStreamReader(stream, txid); err != nil {
		return nil, errors.Join(r.failed(err), stream.Close())
	}
	return r, nil
}

// TxID is the TxID up to which the batches are complete, once all have been read without an error.
func (r *Reader) TxID() uint64 { return r.stream.TxID }

// Node is where the rows come from.
func (r *Reader) Node() string { return r.stream.Node }

// Close ends the read.
func (r *Reader) Close() error { return r.stream.Close() }

// Batches returns the record batches, once. They belong to the garbage collector, so that they may be kept and need not
// be released. An error is the last thing that it yields: the read broke off, and what would follow is missing.
func (r *Reader) Batches() iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		defer r.Close() // of a body that was read or given up: it has nothing left to say
		for {
			rows, err := r.in.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, r.failed(err))
				return
			}
			if !yield(rows.Record(), nil) {
				return
			}
		}
	}
}

// failed says what kind of error the stream ended with.
func (r *Reader) failed(err error) error {
	kind := client.ErrCorrupt
	switch {
	case errors.Is(err, client.ErrUnavailable):
		return fmt.Errorf("rows of table %s: %w", r.table, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		kind = client.ErrUnavailable
	}
	return fmt.Errorf("%w: rows of table %s from node %s: %w", kind, r.table, r.stream.Node, err)
}
