package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"

	"github.com/seed-551dd829/braid/internal/api"
)

// RowReader gives the rows of one read. It is for one goroutine at a time, and must be closed unless Rows was ranged
// over, which closes it.
type RowReader struct {
	table  string
	stream *RowStream
	cursor *cursor
	pos    *position
	empty  func(gap) error // nil says that there are no rows of these TxIDs on any node
}

// Read begins to read rows of the table, in the order of their TxIDs:
//
//	rows, err := c.Table("cpu").Read(ctx, client.FromTxID(42))
//	…
//	for row, err := range rows.Rows() {
//		if err != nil {
//			return err // the rows before it are right, the others did not come
//		}
//		usage, ok := row.Value("usage").Int64()
//	}
//	next := rows.TxID() + 1
//
// It reads from the node that is furthest ahead, or from the one that FromNode names. Who is ahead by how much changes
// all the time: TxID tells how far the rows go. To have everything up to a write, Wait for it, or use Follow.
//
// Its errors: ErrNotFound (no such node, or the table has no transaction there), *InvalidError (of the table's name),
// ErrUnavailable, ErrOverloaded, ErrCorrupt, ErrClosed.
func (t *Table) Read(ctx context.Context, opts ...ReadOption) (*RowReader, error) {
	var o ReadOptions
	for _, opt := range opts {
		opt(&o)
	}
	stream, err := t.c.openRows(ctx, t.name, o.Node, o.rowsQuery())
	if err != nil {
		return nil, err
	}
	return t.c.newRowReader(ctx, t.name, stream, &position{next: max(o.From, 1)})
}

// rowsQuery asks for what a cursor reads.
func (o *ReadOptions) rowsQuery() url.Values {
	q := o.query()
	q.Set("format", string(FormatArrow))
	q.Set("txid", "1")
	q.Set("txid_column", txidColumn)
	return q
}

// newRowReader closes the stream if it fails.
func (c *Client) newRowReader(ctx context.Context, table string, s *RowStream, pos *position) (*RowReader, error) {
	r := &RowReader{table: table, stream: s, pos: pos}
	r.empty = func(g gap) error { return c.confirmEmpty(ctx, table, g, s.Node) }
	var err error
	if r.cursor, err = newCursor(s); err != nil {
		return nil, errors.Join(r.failed(err), s.Close())
	}
	pos.begin(s.TxID)
	return r, nil
}

// TxID is the TxID up to which the rows are complete, once all have been read without an error. It is below what was
// asked for where the node has not come so far yet.
func (r *RowReader) TxID() uint64 { return r.stream.TxID }

// Node is where the rows come from.
func (r *RowReader) Node() string { return r.stream.Node }

// Columns are the table's: the timestamp first, the others in the order in which the table got them.
func (r *RowReader) Columns() []Column { return r.cursor.columns.all }

// Close ends the read.
func (r *RowReader) Close() error { return r.stream.Close() }

// Rows returns the rows, once. An error is the last thing that it yields: the read broke off, and the rows that would
// follow are missing. It is ErrUnavailable when the node went away or sent nothing for 30 seconds; or the end of the
// context that Read was given; ErrClosed; or ErrCorrupt.
//
// Rows are read as they are taken: a slow loop makes the node wait, and one that takes nothing for a minute is given up
// by it.
func (r *RowReader) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		defer r.Close() // of a body that was read or given up: it has nothing left to say
		for {
			row, err := r.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Row{}, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// next returns the next row that was not given out before, io.EOF behind the last.
func (r *RowReader) next() (Row, error) {
	for {
		row, err := r.cursor.next()
		give := false
		switch err {
		case nil:
			give, err = r.pos.row(row.TxID(), row.last)
		case io.EOF:
			if bad := r.pos.end(); bad != nil {
				err = bad
			}
		}
		if err != nil && err != io.EOF {
			return Row{}, r.failed(err)
		}
		if g, ok := r.pos.takePassed(); ok {
			if bad := r.empty(g); bad != nil {
				r.pos.takeBack(g)
				return Row{}, bad
			}
		}
		if give || err != nil {
			return row, err
		}
	}
}

// failed says what kind of error an answer ended with.
func (r *RowReader) failed(err error) error {
	kind := ErrCorrupt
	switch {
	case errors.Is(err, ErrUnavailable):
		return fmt.Errorf("rows of table %s: %w", r.table, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		kind = ErrUnavailable
	}
	return fmt.Errorf("%w: rows of table %s from node %s: %w", kind, r.table, r.stream.Node, err)
}

// confirmEmpty returns nil if TxIDs that a node's answer has passed over have no rows on another node either: they were
// voided. Where there is no other node, the same one is asked again.
func (c *Client) confirmEmpty(ctx context.Context, table string, g gap, node string) error {
	nodes, err := c.readersOf(ctx, "")
	if err != nil {
		return err
	}
	o := ReadOptions{From: g.first, To: g.last}
	err = fmt.Errorf("%w: table %s: node %s has no rows of TxIDs %d to %d, and no other node could be asked",
		ErrUnavailable, table, node, g.first, g.last)
	for _, n := range others(nodes, node) {
		var r *reply
		r, err = c.getFrom(ctx, n, "/tables/"+url.PathEscape(table), o.query())
		if err != nil {
			continue
		}
		var stream *RowStream
		if stream, err = r.rows(table); err != nil {
			continue
		}
		some, failed := stream.Read(make([]byte, 1))
		err = stream.Close()
		switch {
		case some > 0:
			return fmt.Errorf("%w: table %s: node %s has rows of TxIDs %d to %d, and node %s gave none of them",
				ErrCorrupt, table, n.ID, g.first, g.last, node)
		case failed == io.EOF && stream.TxID >= g.last:
			return err
		}
		err = fmt.Errorf("%w: table %s: node %s cannot tell about TxIDs %d to %d yet",
			ErrUnavailable, table, n.ID, g.first, g.last)
	}
	return err
}

// others are the nodes but one; that one if there is no other.
func others(nodes []api.Node, id string) (out []api.Node) {
	for _, n := range nodes {
		if n.ID != id {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nodes
	}
	return out
}
