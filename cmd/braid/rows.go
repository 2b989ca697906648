package main

import (
	"errors"
	"io"

	"github.com/seed-551dd829/braid/client"
)

type rowsCmd struct {
	natsFlags
	Table    string `arg:"" help:"Table to read."`
	FromTxID uint64 `name:"from-txid" help:"First transaction."`
	ToTxID   uint64 `name:"to-txid" help:"Last transaction. Default: the last that the node has applied."`
	Format   string `help:"ndjson, csv or arrow (an IPC stream)." default:"ndjson" enum:"ndjson,csv,arrow"`
	Node     string `help:"The node to read from. Default: one that is live."`
	TxID     bool   `name:"txid" help:"Add a column with each row's TxID."`
}

// Run prints the rows of a table in the order of their TxIDs.
func (c *rowsCmd) Run(p *process) (err error) {
	cl, err := c.client(p.ctx, p)
	if err != nil {
		return err
	}
	defer closing(cl, &err)
	rows, err := cl.Rows(p.ctx, c.Table, client.ReadOptions{
		From: c.FromTxID, To: c.ToTxID, Format: client.Format(c.Format), Node: c.Node, TxID: c.TxID,
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(p.stdout, rows)
	return errors.Join(err, rows.Close())
}
