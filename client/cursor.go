package client

import (
	"io"
	"slices"

	"github.com/seed-551dd829/braid/internal/columnar"
)

// txidColumn is the name of an answer's TxIDs: one with a control character, which no column of a table can have.
const txidColumn = "braid\x1ftxid"

// cursor goes over the rows of one answer. It holds two of its batches in memory at most.
type cursor struct {
	stream  *columnar.StreamReader
	columns *rowColumns
	batch   *rowBatch // nil before the first
	at      int       // the next row of it
	ahead   *rowBatch // the one behind batch, if it was read already
}

func newCursor(r io.Reader) (*cursor, error) {
	stream, err := columnar.NewStreamReader(r, txidColumn)
	if err != nil {
		return nil, err
	}
	columns := publicColumns(slices.Delete(slices.Clone(stream.Columns()), txidAt, txidAt+1))
	return &cursor{stream: stream, columns: newRowColumns(columns)}, nil
}

// next returns the next row, io.EOF behind the last one. A row is held back until it is known whether it is the last of
// its transaction: an answer that breaks off behind it does not tell.
func (c *cursor) next() (Row, error) {
	for c.batch == nil || c.at == c.batch.Len() {
		if err := c.look(); err != nil {
			return Row{}, err
		}
		c.batch, c.at, c.ahead = c.ahead, 0, nil
	}
	row := Row{batch: c.batch, at: c.at}
	if c.at+1 < c.batch.Len() {
		row.last = c.batch.txid(c.at+1) != row.TxID()
	} else {
		switch err := c.look(); err {
		case nil:
			row.last = c.ahead.txid(0) != row.TxID()
		case io.EOF:
			row.last = true
		default:
			return Row{}, err
		}
	}
	c.at++
	return row, nil
}

// look reads ahead to the next batch that has rows.
func (c *cursor) look() error {
	for c.ahead == nil {
		rows, err := c.stream.Next()
		if err != nil {
			return err
		}
		if rows.Len() > 0 {
			c.ahead = &rowBatch{rows, c.columns}
		}
	}
	return nil
}
