//go:build unix

package client_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/seed-551dd829/braid/client"
)

const benchRows = 10_000

// buildRows makes rows of ten columns.
func buildRows(b *client.Builder, hosts []string) {
	for n := range int64(benchRows) {
		b.Symbol("host", hosts[n%int64(len(hosts))]).Symbol("region", "eu-west-1").Symbol("service", "web").
			Int64("user", n%100).Int64("system", n%7).Int64("idle", 100-n%100).Int64("steal", 0).
			Float64("load", float64(n%13)/4).Bool("up", true).AtNanos(n)
	}
}

func lineRows(text []byte, hosts []string) []byte {
	for n := range benchRows {
		text = fmt.Appendf(text, "cpu,host=%s,region=eu-west-1,service=web user=%di,system=%di,idle=%di,steal=0i,load=%g,up=t %d\n",
			hosts[n%len(hosts)], n%100, n%7, 100-n%100, float64(n%13)/4, n)
	}
	return text
}

// BenchmarkWrite is whole writes of 10,000 rows, built and acknowledged, with 16 of them open: rows/s, and the CPU time of
// a row, of this process with the whole cluster in it. Line protocol is printed before, so its rows are only sent.
func BenchmarkWrite(b *testing.B) {
	hosts := make([]string, 100)
	for i := range hosts {
		hosts[i] = fmt.Sprint("host_", i)
	}
	builder := client.NewRows()
	buildRows(builder, hosts)
	stream, err := builder.Payload()
	if err != nil {
		b.Fatal(err)
	}
	text := client.LineProtocol(lineRows(nil, hosts))
	forms := []struct {
		name string
		rows func() client.Rows
	}{
		{"builder", func() client.Rows { builder.Reset(); buildRows(builder, hosts); return builder }},
		{"line protocol", func() client.Rows { return text }},
		{"arrow", func() client.Rows { return stream }},
	}
	for _, form := range forms {
		for _, route := range []client.Route{client.Gateway, client.Direct} {
			b.Run(form.name+"/"+string(route), func(b *testing.B) { benchWrite(b, route, form.rows) })
		}
	}
}

func benchWrite(b *testing.B, route client.Route, rows func() client.Rows) {
	server, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, server, client.WithRoute(route), client.WithMemory(256<<20))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	table, open := c.Table("cpu"), make(chan *client.Future, 16)
	before, n := cpuSeconds(b), 0
	wait := func() {
		if _, err := (<-open).Result(ctx); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n++; len(open) == cap(open) {
			wait()
		}
		open <- table.WriteAsync(ctx, rows())
	}
	for len(open) > 0 {
		wait()
	}
	total := float64(n) * benchRows
	b.ReportMetric(total/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric((cpuSeconds(b)-before)*1e9/total, "cpu-ns/row")
}

func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
