package client_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/client"
)

type usage struct {
	Host  string    `braid:"host,symbol"`
	Usage int64     `braid:"usage"`
	Note  string    `braid:"note"`
	Time  time.Time `braid:",timestamp"`
}

// TestI4_EveryWayInStoresTheSameRows: whatever form the rows have and whichever way they take, a node reads them back
// alike.
func TestI4_EveryWayInStoresTheSameRows(t *testing.T) {
	server, stop := startCluster()
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	built := client.NewRows()
	built.Symbol("host", "a").Int64("usage", 1).String("note", "x y").At(time.Unix(0, 1))
	built.Symbol("host", "").Int64("usage", -2).String("note", "").At(time.Unix(0, 2))
	want := `{"timestamp":1,"host":"a","usage":1,"note":"x y"}` + "\n" +
		`{"timestamp":2,"host":"","usage":-2,"note":""}` + "\n"
	arrow, err := built.Payload()
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]client.Rows{
		"builder": built, "arrow": arrow,
		"structs": client.Structs([]usage{{"a", 1, "x y", time.Unix(0, 1)}, {"", -2, "", time.Unix(0, 2)}}),
	}
	for form, rows := range forms {
		for i, route := range []client.Route{client.Gateway, client.Direct, client.Primary("p1"), client.DirectTo("p2")} {
			table := fmt.Sprint(form, i)
			r, err := c.Table(table).Write(ctx, rows, client.Via(route), client.ExpectTxID(0))
			if err != nil || r != (client.Result{Table: table, TxID: 1, Rows: 2}) {
				t.Fatalf("%s by %s: %+v, %v", form, route, r, err)
			}
			if err := c.Wait(ctx, "r1", table, 1); err != nil {
				t.Fatal(err)
			}
			stream, err := c.Rows(ctx, table, client.ReadOptions{Node: "r1"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(stream)
			if err != nil || stream.Close() != nil || string(got) != want {
				t.Errorf("%s by %s: %v, read\n%s", form, route, err, got)
			}
		}
	}
	var text strings.Builder
	for n := range 100 {
		fmt.Fprintf(&text, "lp,host=h%d usage=%di %d\n", n%3, n, n)
	}
	for i, route := range []client.Route{client.Gateway, client.Direct} {
		r, err := c.Table("lp").Write(ctx, client.LineProtocol([]byte(text.String())), client.Via(route))
		if err != nil || r.TxID != uint64(i+1) || r.Rows != 100 {
			t.Errorf("line protocol by %s: %+v, %v", route, r, err)
		}
	}
}
