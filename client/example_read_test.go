package client_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"

	"github.com/seed-551dd829/braid/client"
)

// writeUsage makes two transactions, and waits until every node has them.
func writeUsage(ctx context.Context, c *client.Client) {
	rows := client.NewRows()
	rows.Symbol("host", "a").Int64("usage", 1).At(noon)
	rows.Symbol("host", "b").At(noon) // no usage: a null
	must(c.Table("cpu").Write(ctx, rows))
	rows.Reset()
	rows.Symbol("host", "a").Int64("usage", 3).At(noon)
	must(c.Table("cpu").Write(ctx, rows))
	for _, node := range []string{"p1", "p2", "r1"} {
		check(c.Wait(ctx, node, "cpu", 2))
	}
}

// Rows of a range of transactions, from the node that is furthest ahead.
func ExampleTable_Read() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()
	writeUsage(ctx, c)

	rows := must(c.Table("cpu").Read(ctx, client.FromTxID(1), client.ToTxID(1)))
	for row, err := range rows.Rows() {
		check(err) // the rest did not come: this is no short answer
		var host string
		var usage sql.Null[int64]
		check(row.Scan("host", &host, "usage", &usage))
		fmt.Println(row.TxID(), host, usage.V, usage.Valid)
	}
	fmt.Println("complete up to", rows.TxID())
	// Output:
	// 1 a 1 true
	// 1 b 0 false
	// complete up to 1
}

// A consumer that goes on where it was, and misses nothing: it keeps the last TxID of which it has done every row.
func ExampleTable_Follow() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()
	writeUsage(ctx, c)

	last := uint64(0) // from where you keep it
	for row, err := range c.Table("cpu").Follow(ctx, last+1) {
		check(err)
		fmt.Println(row.TxID(), row.Value("host"), row.Value("usage"))
		if row.Last() {
			last = row.TxID() // keep it, together with what was made of the rows
		}
		if last == 2 {
			break // it would wait for the next transaction
		}
	}
	// Output:
	// 1 a 1
	// 1 b null
	// 2 a 3
}

// The bytes of a table as a node prints them.
func ExampleClient_Rows() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()
	writeUsage(ctx, c)

	stream := must(c.Rows(ctx, "cpu", client.ReadOptions{Format: client.FormatCSV, TxID: true, Node: "r1"}))
	defer stream.Close()
	fmt.Print(string(must(io.ReadAll(stream))))
	fmt.Println("complete up to", stream.TxID)
	// Output:
	// timestamp,txid,host,usage
	// 1767268800000000000,1,a,1
	// 1767268800000000000,1,b,
	// 1767268800000000000,2,a,3
	// complete up to 2
}
