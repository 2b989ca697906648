package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/seed-551dd829/braid/client"
)

type followCmd struct {
	natsFlags
	Table    string  `arg:"" help:"Table to watch. It need not exist yet."`
	FromTxID *uint64 `name:"from-txid" help:"First transaction; 1 is the first of all. Default: the newest that there is."`
	ToTxID   uint64  `name:"to-txid" help:"Last transaction: end behind it. Default: never end."`
	Format   string  `help:"ndjson, csv (with a header) or ilp (InfluxDB line protocol)." default:"ndjson" enum:"ndjson,csv,ilp"`
	Node     string  `help:"Read from this node and no other. Default: any node, and another one when it dies."`
	TxID     bool    `name:"txid" help:"Add a column with each row's TxID: where to go on with --from-txid another time. Not for ilp."`
}

// Help says what --help says below the flags.
func (*followCmd) Help() string {
	return `Prints the rows of a table as they are committed, in the order of their TxIDs, each once, until it is interrupted. It
goes on at another node when one dies. Without --from-txid it begins with the newest transaction.

  braid follow cpu
  braid follow cpu --from-txid 1 --format csv --txid > cpu.csv
  braid follow cpu --format ilp | braid write --server nats://elsewhere:4222`
}

// Run prints rows until it is interrupted, which is its proper end.
func (c *followCmd) Run(p *process) (err error) {
	if c.TxID && c.Format == "ilp" {
		return errors.New("line protocol has no place for a TxID: --txid goes with ndjson and csv")
	}
	cl, err := c.client(p.ctx, p)
	if err != nil {
		return err
	}
	defer closing(cl, &err)
	table := cl.Table(c.Table)
	from, err := c.begin(p.ctx, table)
	if err != nil {
		return interrupted(p, err)
	}
	opts := []client.ReadOption{client.FromNode(c.Node), client.ToTxID(c.ToTxID)}
	out := bufio.NewWriterSize(p.stdout, 64<<10)
	printer := newPrinter(c.Format, c.Table, c.TxID)
	for row, err := range table.Follow(p.ctx, from, opts...) {
		if err != nil {
			return interrupted(p, errors.Join(err, out.Flush()))
		}
		if err := c.print(out, printer, row); err != nil {
			return err
		}
	}
	return out.Flush()
}

// begin is the TxID to begin with.
func (c *followCmd) begin(ctx context.Context, table *client.Table) (uint64, error) {
	if c.FromTxID != nil {
		return *c.FromTxID, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return table.Head(ctx)
}

// print shows a transaction once it is there as a whole.
func (c *followCmd) print(out *bufio.Writer, printer printer, row client.Row) error {
	line, err := printer.line(row)
	if err != nil {
		return fmt.Errorf("%w; go on with --from-txid %d", err, row.TxID())
	}
	if _, err := out.Write(line); err != nil {
		return err
	}
	if row.Last() {
		return out.Flush()
	}
	return nil
}

// interrupted is nil if the command was asked to end, which is no failure.
func interrupted(p *process, err error) error {
	if p.ctx.Err() != nil {
		return nil
	}
	return err
}
