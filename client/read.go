package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// TableHead is a table as the cluster knows it.
type TableHead struct {
	Name    string
	Head    uint64 // its last TxID
	Columns int    // the timestamp included
}

// Tables lists the tables that have a transaction, by name.
func (c *Client) Tables(ctx context.Context) ([]TableHead, error) {
	var all []TableHead
	const page = 1000
	for after := ""; ; {
		var answer api.TablesAnswer
		err := c.retry(ctx, func(ctx context.Context) (err error) {
			answer, err = c.sequencer.Tables(ctx, api.TablesRequest{After: after, Limit: page})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", public(err))
		}
		for _, t := range answer.Tables {
			all = append(all, TableHead{t.Name, t.Head, t.Columns})
		}
		if len(answer.Tables) < page {
			return all, nil
		}
		after = answer.Tables[len(answer.Tables)-1].Name
	}
}

// Heads returns the head of every table by its name. A table without a transaction is not there: its head is 0.
func (c *Client) Heads(ctx context.Context) (map[string]uint64, error) {
	tables, err := c.Tables(ctx)
	if err != nil {
		return nil, err
	}
	heads := make(map[string]uint64, len(tables))
	for _, t := range tables {
		heads[t.Name] = t.Head
	}
	return heads, nil
}

// Nodes lists the members by id.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	t, err := c.ReadTopology(ctx)
	return t.Nodes, err
}

// Digest is the state of a table on a node in one number.
type Digest struct {
	Applied uint64 // the node's applied TxID of the table
	TxID    uint64 // where the digest stands: the largest record boundary at or below the one asked for
	Sum     string // hexadecimal SHA-256 over the table's whole history
}

// Digest asks a node for its digest of a table at a TxID; 0 is the last one that it has applied. Nodes with the same
// rows have the same sums.
func (c *Client) Digest(ctx context.Context, node, table string, txid uint64) (Digest, error) {
	if err := api.CheckNode(node); err != nil {
		return Digest{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	var answer api.DigestAnswer
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = bus.Ask[api.DigestAnswer](ctx, c.nc, c.subjects.NodeDigest(node),
			api.DigestRequest{Table: table, TxID: txid})
		return err
	})
	if err != nil {
		return Digest{}, fmt.Errorf("digest of table %s on %s: %w", table, node, public(err))
	}
	return Digest{answer.Applied, answer.TxID, answer.Digest}, nil
}

// NodeTable is one table as a node has it.
type NodeTable struct {
	Name    string
	Applied uint64 // TxID
	Rows    uint64
	Digest  string // hexadecimal SHA-256
	// Problem is why the table stands on the node, or has rows that cannot be read; "" if all is well.
	Problem string
}

// NodeTables lists the tables of one node.
func (c *Client) NodeTables(ctx context.Context, node string) ([]NodeTable, error) {
	body, _, err := c.get(ctx, node, "/tables", nil)
	if err != nil {
		return nil, fmt.Errorf("tables of %s: %w", node, err)
	}
	defer body.Close()
	var answer api.NodeTables
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("tables of %s: %w", node, err)
	}
	out := make([]NodeTable, len(answer.Tables))
	for i, t := range answer.Tables {
		out[i] = NodeTable{t.Name, t.Applied, t.Rows, t.Digest, t.Problem}
	}
	return out, nil
}

// Format of rows that are read.
type Format string

const (
	FormatNDJSON Format = "ndjson"
	FormatCSV    Format = "csv"
	FormatArrow  Format = "arrow" // an Arrow IPC stream
)

// ReadOptions say which rows to read, and where.
type ReadOptions struct {
	From, To uint64 // TxIDs, inclusive; 0: from the first, to the last that the node has applied
	Format   Format // FormatNDJSON if ""
	Node     string // id; "" is any node that is live
	TxID     bool   // adds a column with each row's TxID
}

// RowStream are rows as they come in. Read returns an error if the rows end too early. It must be closed.
type RowStream struct {
	io.ReadCloser
	TxID uint64 // the stream is complete up to here
}

// Rows reads rows of a table in the order of their TxIDs.
func (c *Client) Rows(ctx context.Context, table string, o ReadOptions) (*RowStream, error) {
	if err := api.CheckTable(table); err != nil {
		return nil, &InvalidError{Table: table, Message: err.Error()}
	}
	query := url.Values{}
	if o.Format != "" {
		query.Set("format", string(o.Format))
	}
	if o.From != 0 {
		query.Set("from_txid", strconv.FormatUint(o.From, 10))
	}
	if o.To != 0 {
		query.Set("to_txid", strconv.FormatUint(o.To, 10))
	}
	if o.TxID {
		query.Set("txid", "1")
	}
	body, header, err := c.get(ctx, o.Node, "/tables/"+url.PathEscape(table), query)
	if err != nil {
		return nil, fmt.Errorf("rows of table %s: %w", table, err)
	}
	txid, err := strconv.ParseUint(header.Get(api.HeaderTxID), 10, 64)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rows of table %s: header %s: %w", table, api.HeaderTxID, err), body.Close())
	}
	return &RowStream{body, txid}, nil
}

// get asks a node, or any live node, each of them once.
func (c *Client) get(
	ctx context.Context, node, path string, query url.Values,
) (io.ReadCloser, http.Header, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return nil, nil, err
	}
	if node != "" {
		n, ok := t.Node(node)
		if !ok || n.HTTP == "" {
			return nil, nil, fmt.Errorf("%w: node %q", ErrNotFound, node)
		}
		return c.getFrom(ctx, n, path, query)
	}
	err = fmt.Errorf("%w: %w", ErrUnavailable, errNoNode)
	for _, state := range []api.State{api.Live, api.Draining} {
		for _, n := range t.Nodes {
			if n.State != state || n.HTTP == "" {
				continue
			}
			body, header, failed := c.getFrom(ctx, n, path, query)
			if !errors.Is(failed, ErrUnavailable) {
				return body, header, failed
			}
			err = failed
		}
	}
	return nil, nil, err
}

func (c *Client) getFrom(
	ctx context.Context, n api.Node, path string, query url.Values,
) (io.ReadCloser, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("node %s at %q: %w", n.ID, n.HTTP, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: node %s: %w", ErrUnavailable, n.ID, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, response.Header, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: node %s: %w", ErrUnavailable, n.ID, err)
	}
	e := new(api.Error)
	if json.Unmarshal(text, e) == nil && e.Name != "" {
		return nil, nil, fmt.Errorf("node %s: %w", n.ID, publicRefusal(e))
	}
	return nil, nil, fmt.Errorf("%w: node %s: %s: %s", ErrUnavailable, n.ID, response.Status,
		strings.TrimSpace(string(text)))
}

// Wait returns once a node has applied a table's TxID, or the error of ctx.
func (c *Client) Wait(ctx context.Context, node, table string, txid uint64) error {
	for {
		d, err := c.Digest(ctx, node, table, 0)
		if err == nil && d.Applied >= txid {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if !c.pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%s has applied TxID %d of table %s, not %d yet: %w",
				node, d.Applied, table, txid, context.Cause(ctx))
		}
	}
}
