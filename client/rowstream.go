package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Format of rows that are read as bytes.
type Format string

// The formats: docs/formats/reading.md says how each has the values.
const (
	FormatNDJSON Format = "ndjson"
	FormatCSV    Format = "csv"
	FormatArrow  Format = "arrow" // an Arrow IPC stream
)

// ReadOptions say which rows to read, and where.
type ReadOptions struct {
	From, To uint64 // TxIDs, inclusive; 0: from the first, to the last that the node has applied
	Format   Format // of Client.Rows; FormatNDJSON if ""
	Node     string // id; "" is the node that is furthest ahead
	TxID     bool   // adds a column txid with each row's TxID, to bytes and to Arrow batches: a Row has it anyway
}

// ReadOption changes one read.
type ReadOption func(*ReadOptions)

// FromTxID begins at a transaction; the first if not given.
func FromTxID(txid uint64) ReadOption { return func(o *ReadOptions) { o.From = txid } }

// ToTxID ends with a transaction; the last that the node has applied if not given.
func ToTxID(txid uint64) ReadOption { return func(o *ReadOptions) { o.To = txid } }

// FromNode reads from a node, by its id, and no other; the one that is furthest ahead if not given.
func FromNode(id string) ReadOption { return func(o *ReadOptions) { o.Node = id } }

// WithTxIDs adds a column txid to what has columns, bytes and Arrow batches: a Row has its TxID anyway.
func WithTxIDs() ReadOption { return func(o *ReadOptions) { o.TxID = true } }

// RowStream are rows as bytes, as they come in. Read returns an error if the rows end too early. It must be closed.
type RowStream struct {
	io.ReadCloser
	TxID uint64 // the stream is complete up to here
	Node string // where it comes from
}

// Rows reads rows of a table as bytes of one of the formats, in the order of their TxIDs. See Table.Read, which gives
// rows with their values.
//
// Its errors: ErrNotFound, *InvalidError, ErrUnavailable, ErrOverloaded, ErrClosed. Those of the stream's Read are
// ErrUnavailable: the node went away or sent nothing for 30 seconds, and the same rows can be read again.
func (c *Client) Rows(ctx context.Context, table string, o ReadOptions) (*RowStream, error) {
	q := o.query()
	if o.Format != "" {
		q.Set("format", string(o.Format))
	}
	if o.TxID {
		q.Set("txid", "1")
	}
	return c.openRows(ctx, table, o.Node, q)
}

func (o *ReadOptions) query() url.Values {
	q := url.Values{}
	if o.From != 0 {
		q.Set("from_txid", strconv.FormatUint(o.From, 10))
	}
	if o.To != 0 {
		q.Set("to_txid", strconv.FormatUint(o.To, 10))
	}
	return q
}

func (c *Client) openRows(ctx context.Context, table, node string, q url.Values) (*RowStream, error) {
	if err := api.CheckTable(table); err != nil {
		return nil, &InvalidError{Table: table, Message: err.Error()}
	}
	r, err := c.get(ctx, node, "/tables/"+url.PathEscape(table), q)
	if err != nil {
		return nil, fmt.Errorf("rows of table %s: %w", table, err)
	}
	return r.rows(table)
}

// rows makes a stream of an answer about a table.
func (r *reply) rows(table string) (*RowStream, error) {
	txid, err := strconv.ParseUint(r.header.Get(api.HeaderTxID), 10, 64)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: rows of table %s from node %s: header %s: %w",
			ErrUnavailable, table, r.node, api.HeaderTxID, err), r.body.Close())
	}
	return &RowStream{r.body, txid, r.node}, nil
}

// waitOf is how long a node may wait for the rows that a query asks for.
func waitOf(q url.Values) time.Duration {
	d, err := time.ParseDuration(q.Get("wait"))
	if err != nil { // there is none
		return 0
	}
	return d
}
