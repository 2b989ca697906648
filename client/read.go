package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Head is the table's last TxID, 0 if it has none yet. Its errors: ErrUnavailable, *InvalidError (of the name), ErrClosed.
func (t *Table) Head(ctx context.Context) (uint64, error) {
	if err := api.CheckTable(t.name); err != nil {
		return 0, &InvalidError{Table: t.name, Message: err.Error()}
	}
	var answer api.TablesAnswer
	err := t.c.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = t.c.sequencer.Tables(ctx, api.TablesRequest{Only: t.name})
		return err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("head of table %s: %w", t.name, t.c.public(ctx, err))
	case len(answer.Tables) == 0:
		return 0, nil
	}
	return answer.Tables[0].Head, nil
}

// Columns are the table's schema: the timestamp first, the others in the order in which the table got them; none if
// there is no such table. Columns are added, and never change. Its errors: ErrUnavailable, *InvalidError, ErrClosed.
func (t *Table) Columns(ctx context.Context) ([]Column, error) {
	if err := api.CheckTable(t.name); err != nil {
		return nil, &InvalidError{Table: t.name, Message: err.Error()}
	}
	var schema api.Schema
	err := t.c.retry(ctx, func(ctx context.Context) (err error) {
		schema, err = t.c.catalog.Refresh(ctx, t.name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("schema of table %s: %w", t.name, t.c.public(ctx, err))
	}
	return publicColumns(schema.Columns()), nil
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
	r, err := c.get(ctx, node, "/tables", nil)
	if err != nil {
		return nil, fmt.Errorf("tables of %s: %w", node, err)
	}
	defer r.body.Close()
	var answer api.NodeTables
	if err := json.NewDecoder(r.body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("tables of %s: %w", node, err)
	}
	out := make([]NodeTable, len(answer.Tables))
	for i, t := range answer.Tables {
		out[i] = NodeTable{t.Name, t.Applied, t.Rows, t.Digest, t.Problem}
	}
	return out, nil
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
