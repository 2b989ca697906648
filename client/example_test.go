package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/client/arrowrows"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func Example() {
	server, stop := startCluster()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.Connect(ctx, server)
	check(err)
	defer c.Close()

	rows := client.NewRows()
	rows.Symbol("host", "a").Int64("usage", 1).Float64("load", 0.5).At(noon)
	rows.Symbol("host", "b").Int64("usage", 2).At(noon)
	result, err := c.Table("cpu").Write(ctx, rows)
	check(err)
	fmt.Printf("table %s: %d rows are transaction %d\n", result.Table, result.Rows, result.TxID)
	// Output: table cpu: 2 rows are transaction 1
}

func ExampleLineProtocol() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	result, err := c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i\ncpu,host=b usage=2i")))
	check(err)
	fmt.Println(result.TxID, result.Rows)

	// What is wrong is refused as a whole, and says where.
	_, err = c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=3i\ncpu,host=b usage=4.5")))
	invalid := new(client.InvalidError)
	fmt.Println(errors.As(err, &invalid), invalid.Line)
	// Output:
	// 1 2
	// true 2
}

func ExampleNDJSON() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	rows := client.NDJSON([]byte(`{"timestamp":"2026-01-01T12:00:00Z","host":"a","usage":1}` + "\n"))
	result, err := c.Table("cpu").Write(ctx, rows)
	check(err)
	fmt.Println(result.TxID, result.Rows)
	// Output: 1 1
}

func ExampleStructs() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	type usage struct {
		Host  string    `braid:"host,symbol"`
		Usage int64     `braid:"usage"`
		Load  *float64  `braid:"load"`
		Time  time.Time `braid:",timestamp"`
	}
	result, err := c.Table("cpu").Write(ctx, client.Structs([]usage{
		{Host: "a", Usage: 1, Time: noon},
		{Host: "b", Usage: 2, Time: noon},
	}))
	check(err)
	fmt.Println(result.TxID, result.Rows)
	// Output: 1 2
}

func ExampleTable_WriteAsync() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))

	rows := client.NewRows()
	var futures []*client.Future
	for n := range 3 {
		rows.Int64("n", int64(n)).At(noon)
		futures = append(futures, c.Table("numbers").WriteAsync(ctx, rows))
		rows.Reset()
	}
	for _, f := range futures {
		fmt.Println(must(f.Result(ctx)).Rows)
	}
	check(c.Drain(ctx)) // takes no more, waits for what is open, and closes
	// Output:
	// 1
	// 1
	// 1
}

func ExampleClient_Writer() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	w := c.Writer(client.FlushRows(1000), client.FlushEvery(time.Second))
	for n := range 2500 {
		err := w.Table("cpu").Symbol("host", "a").Int64("usage", int64(n)).At(ctx, noon)
		check(err)
	}
	check(w.Flush(ctx)) // every row has its answer, and none failed
	fmt.Println(must(c.Heads(ctx))["cpu"], "transactions")
	// Output: 3 transactions
}

func ExampleExpectTxID() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	row := client.LineProtocol([]byte("account balance=10i"))
	fmt.Println(must(c.Table("account").Write(ctx, row, client.ExpectTxID(0))).TxID)
	_, err := c.Table("account").Write(ctx, row, client.ExpectTxID(0))
	conflict := new(client.ConflictError)
	if errors.As(err, &conflict) {
		fmt.Println("expected", conflict.Expected, "but the head is", conflict.Current)
	}
	// Output:
	// 1
	// expected 0 but the head is 1
}

func ExampleTable_Update() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	for range 2 {
		r, err := c.Table("counter").Update(ctx, func(_ context.Context, head uint64) (client.Rows, error) {
			rows := client.NewRows()
			rows.Int64("value", int64(head)*10).At(noon) // of what it has read up to head
			return rows, nil
		})
		check(err)
		fmt.Println(r.TxID)
	}
	// Output:
	// 1
	// 2
}

func ExampleVia() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server, client.WithRoute(client.Direct))) // for all writes that do not say
	defer c.Close()

	row := client.LineProtocol([]byte("cpu,host=a usage=1i"))
	for _, route := range []client.Route{client.Gateway, client.Primary("p1"), client.Direct, client.DirectTo("p2")} {
		fmt.Println(route, must(c.Table("cpu").Write(ctx, row, client.Via(route))).TxID)
	}
	// Output:
	// gateway 1
	// primary.p1 2
	// direct 3
	// direct.p2 4
}

func ExampleTable_Prepare() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	table := c.Table("cpu")
	rows, err := table.Prepare(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i 1")))
	check(err)
	for range 2 { // encoded once, written twice: two writes
		fmt.Println(must(table.Write(ctx, rows, client.Via(client.Direct))).TxID)
	}
	// Output:
	// 1
	// 2
}

func ExampleWithProducer() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	row := client.LineProtocol([]byte("cpu,host=a usage=1i"))

	first := must(client.Connect(ctx, server, client.WithProducer("meter-7")))
	defer first.Close()
	must(first.Table("cpu").Write(ctx, row))
	second := must(client.Connect(ctx, server, client.WithProducer("meter-7")))
	defer second.Close()
	fmt.Println(must(second.Table("cpu").Write(ctx, row)).TxID)
	_, err := first.Table("cpu").Write(ctx, row)
	fmt.Println(errors.Is(err, client.ErrFenced))
	// Output:
	// 2
	// true
}

// Rows that are on disk before they are sent: they outlive the application and any outage, and are stored once.
func ExampleWithDirectory() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "braid-example"))
	defer os.RemoveAll(dir)

	// No cluster is there, and the application ends.
	first := must(client.Connect(ctx, "nats://127.0.0.1:1", client.WithDirectory(dir)))
	var futures []*client.Future
	for n := range 3 {
		rows := client.NewRows()
		rows.Symbol("host", "a").Int64("usage", int64(n)).At(noon)
		futures = append(futures, first.Table("cpu").WriteAsync(ctx, rows)) // on disk when it returns
	}
	check(first.Close())
	_, err := futures[0].Result(ctx)
	fmt.Println("kept:", errors.Is(err, client.ErrKept))

	// Its next process delivers what is there, in order.
	second := must(client.Connect(ctx, server, client.WithDirectory(dir)))
	defer second.Close()
	check(second.Flush(ctx))
	fmt.Println("transactions:", must(second.Table("cpu").Head(ctx)))
	// Output:
	// kept: true
	// transactions: 3
}

// What cannot be stored comes back, with its rows, also when it was written by an earlier process.
func ExampleWithUndelivered() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "braid-example"))
	defer os.RemoveAll(dir)

	first := must(client.Connect(ctx, "nats://127.0.0.1:1", client.WithDirectory(dir)))
	first.Table("account").WriteAsync(ctx, client.LineProtocol([]byte("account balance=10i")), client.ExpectTxID(7))
	check(first.Close())

	back := make(chan client.Undelivered)
	second := must(client.Connect(ctx, server, client.WithDirectory(dir),
		client.WithUndelivered(func(_ context.Context, u client.Undelivered) error {
			back <- u
			return nil // it leaves the directory
		})))
	defer second.Close()
	u := <-back
	fmt.Println(u.Err)
	fmt.Println(string(u.Rows.Data))
	// Output:
	// table account: expected TxID 7, the head is 0
	// account balance=10i
}

// Arrow record batches in, and out again.
func Example_arrow() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server))
	defer c.Close()

	schema := arrow.NewSchema([]arrow.Field{
		{Name: "timestamp", Type: arrow.FixedWidthTypes.Timestamp_ns},
		{Name: "usage", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{1, 2, 3}, nil)
	b.Field(1).(*array.Int64Builder).AppendValues([]int64{10, 20, 30}, nil)
	r := must(c.Table("cpu").Write(ctx, arrowrows.Records(b.NewRecordBatch())))
	fmt.Println(r.Rows, "rows are transaction", r.TxID)

	check(c.Wait(ctx, "r1", "cpu", r.TxID)) // a replica is a little behind
	in := must(arrowrows.Read(ctx, c, "cpu", client.FromNode("r1"), client.FromTxID(r.TxID)))
	for batch, err := range in.Batches() {
		check(err)
		fmt.Println(batch.Column(1))
	}
	// Output:
	// 3 rows are transaction 1
	// [10 20 30]
}

func ExampleClient_Topology() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c := must(client.Connect(ctx, server, client.WithTopologyHandler(func(t client.Topology) {
		// called with the first, and with every change
	})))
	defer c.Close()
	for _, n := range c.Topology().Nodes {
		fmt.Println(n.ID, n.Role, n.State)
	}
	// Output:
	// p1 primary live
	// p2 primary live
	// r1 replica live
}

func ExampleWithMetrics() {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	c := must(client.Connect(ctx, server, client.WithMetrics(registry)))
	defer c.Close()
	must(c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i"))))
	for _, f := range must(registry.Gather()) {
		if f.GetName() == "braid_client_rows_total" {
			fmt.Println(f.GetName(), f.Metric[0].GetCounter().GetValue())
		}
	}
	// Output: braid_client_rows_total 1
}

// A trace context goes with each write. With OpenTelemetry its propagator fills the headers; see WithTrace.
func ExampleWithTrace() {
	server, stop := startCluster()
	defer stop()
	type traceparent struct{}
	c := must(client.Connect(context.Background(), server,
		client.WithTrace(func(ctx context.Context, set func(key, value string)) {
			if id, ok := ctx.Value(traceparent{}).(string); ok {
				set("traceparent", id)
			}
		})))
	defer c.Close()

	nc := must(nats.Connect(server)) // somebody who sees what is sent
	defer nc.Close()
	sent := must(nc.SubscribeSync("ingest.cpu"))
	check(nc.Flush())
	ctx := context.WithValue(context.Background(), traceparent{}, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	must(c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i"))))
	fmt.Println(must(sent.NextMsg(time.Minute)).Header.Get("traceparent"))
	// Output: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
}
