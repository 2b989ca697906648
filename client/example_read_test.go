package client_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/seed-551dd829/braid/client"
)

// Rows of a range of transactions, from the node that is furthest ahead.
func ExampleTable_Read() {
	ctx := context.Background()
	c, err := client.Connect(ctx, "nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rows, err := c.Table("cpu").Read(ctx, client.FromTxID(42))
	if err != nil {
		log.Fatal(err)
	}
	for row, err := range rows.Rows() {
		if err != nil {
			log.Fatal(err) // the rest did not come: this is no short answer
		}
		var host string
		var usage sql.Null[int64]
		if err := row.Scan("host", &host, "usage", &usage); err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Time(), host, usage.V, usage.Valid)
	}
	fmt.Println("complete up to", rows.TxID())
}

// A consumer that goes on where it was, and misses nothing: it keeps the last TxID of which it has done every row.
func ExampleTable_Follow() {
	ctx := context.Background()
	c, err := client.Connect(ctx, "nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	last := uint64(0) // from where you keep it
	for row, err := range c.Table("cpu").Follow(ctx, last+1) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.TxID(), row.Value("host"), row.Value("usage"))
		if row.Last() {
			last = row.TxID() // keep it, together with what was made of the rows
		}
	}
}

// The bytes of a table as a node prints them.
func ExampleClient_Rows() {
	ctx := context.Background()
	c, err := client.Connect(ctx, "nats://127.0.0.1:4222")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	stream, err := c.Rows(ctx, "cpu", client.ReadOptions{Format: client.FormatCSV, TxID: true})
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	fmt.Println("complete up to", stream.TxID)
}
