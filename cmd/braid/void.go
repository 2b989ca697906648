package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/hold"
)

type voidCmd struct {
	natsFlags
	confirmFlag
	Table string `arg:"" help:"The table."`
	TxID  uint64 `arg:"" name:"txid" help:"A TxID of the pending record: the one at which the table stands (braid status)."`
	JSON  bool   `help:"Print JSON." name:"json"`
}

// voidResult is the output of `braid void --json`: either what was confirmed after all, or what is lost.
type voidResult struct {
	Table     string         `json:"table"`
	Confirmed bool           `json:"confirmed"` // nothing is lost
	By        string         `json:"by,omitempty"`
	Lost      api.VoidAnswer `json:"lost"`
}

// Run gives up a pending record for good, if no live node and not the object store has its segment.
func (c *voidCmd) Run(p *process) error {
	nc, err := bus.Connect(bus.Options{Servers: c.Server, Name: "braid-void", Extra: c.options(), Logger: p.log})
	if err != nil {
		return fmt.Errorf("%w\nIs a cluster running? --server says where it is", err)
	}
	defer nc.Close()
	subjects := api.Subjects{Namespace: c.Namespace}
	seq := bus.NewSequencer(nc, subjects)
	record, err := c.find(p.ctx, seq)
	if err != nil {
		return err
	}
	by, deaf, err := c.settle(p.ctx, nc, subjects, seq, record)
	if err != nil {
		return err
	}
	result := voidResult{Table: c.Table, Confirmed: by != "", By: by}
	if !result.Confirmed {
		if err := c.confirm(p, c.lost(record, deaf), c.Table); err != nil {
			return err
		}
		if result.Lost, err = c.void(p.ctx, seq, record); err != nil {
			return err
		}
	}
	if c.JSON {
		printJSON(p, result)
	} else {
		result.print(p)
	}
	return nil
}

// find looks the record up in the list of pending ones.
func (c *voidCmd) find(ctx context.Context, seq *bus.Sequencer) (api.PendingRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q := api.PendingRequest{Limit: 1000}
	for {
		page, err := seq.Pending(ctx, q)
		if err != nil {
			return api.PendingRecord{}, fmt.Errorf("list pending records: %w", err)
		}
		for _, r := range page.Records {
			if r.Table == c.Table && r.First <= c.TxID && c.TxID <= r.Last {
				return r, c.check(r)
			}
		}
		if q.After = page.Next; q.After == nil {
			return api.PendingRecord{}, fmt.Errorf("TxID %d of table %s is not pending: nothing to void\n"+
				"Try: braid status", c.TxID, c.Table)
		}
	}
}

func (c *voidCmd) check(r api.PendingRecord) error {
	if r.Fenced {
		return nil
	}
	return fmt.Errorf("epoch %d of node %s, which committed TxIDs %d to %d, is not fenced: the node may still bring them "+
		"into the object store\nIf it is gone for good, wait until failover has declared it dead (braid status)",
		r.Segment.Epoch, r.Segment.Node, r.First, r.Last)
}

// settle asks every node whether it can bring the segment into the object store. It returns the node that did; "" only if
// none can, and at least one has looked into the object store. deaf are the nodes that are gone and have not answered.
func (c *voidCmd) settle(
	ctx context.Context, nc *nats.Conn, subjects api.Subjects, seq *bus.Sequencer, r api.PendingRecord,
) (by string, deaf []string, err error) {
	bound, cancel := context.WithTimeout(ctx, askTimeout)
	topology, err := seq.Topology(bound)
	cancel()
	if err != nil {
		return "", nil, fmt.Errorf("ask for the nodes: %w", err)
	}
	return settleAnywhere(ctx, hold.OverNATS(nc, subjects), topology.Nodes, r.Segment)
}

// lost says what voiding a record means.
func (c *voidCmd) lost(r api.PendingRecord, deaf []string) string {
	unasked := ""
	if len(deaf) > 0 {
		unasked = fmt.Sprintf("No answer came from %s.\n", strings.Join(deaf, ", "))
	}
	return fmt.Sprintf("Table %s, TxIDs %d to %d: %d rows in %d writes were acknowledged and are on no live node's disk and "+
		"not in the object store.\n%sThey were held by %s. If one of those comes back with its disk, nothing is lost.\n"+
		"After void they are lost for good, and their writers are told so if they ask again.",
		c.Table, r.First, r.Last, r.Rows, r.Last-r.First+1, unasked, strings.Join(slices.Sorted(slices.Values(r.Holders)), ", "))
}

func (c *voidCmd) void(ctx context.Context, seq *bus.Sequencer, r api.PendingRecord) (api.VoidAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	lost, err := seq.Void(ctx, api.VoidRequest{Table: c.Table, TxID: c.TxID, Index: r.Index})
	if err != nil {
		return lost, fmt.Errorf("void TxID %d of table %s: %w", c.TxID, c.Table, err)
	}
	return lost, nil
}

func (r *voidResult) print(p *process) {
	if r.Confirmed {
		fmt.Fprintf(p.stdout, "%s: nothing is lost: node %s has the segment in the object store, its records are confirmed\n",
			r.Table, r.By)
		return
	}
	fmt.Fprintf(p.stdout, "%s: TxIDs %d to %d are void, %d rows are lost\n", r.Table, r.Lost.First, r.Lost.Last, r.Lost.Rows)
}
