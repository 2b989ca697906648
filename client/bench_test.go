//go:build unix

package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
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
// a row, of this process with the whole cluster in it. Line protocol is printed before, so its rows are only sent; as
// curl sends it, it goes to POST /write, on 16 connections that stay open. A directory keeps each write until its answer.
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
			b.Run(form.name+"/"+string(route), func(b *testing.B) {
				benchWrite(b, sdkWrites(b, form.rows, client.WithRoute(route)))
			})
		}
		b.Run(form.name+"/directory", func(b *testing.B) {
			benchWrite(b, sdkWrites(b, form.rows, client.WithDirectory(b.TempDir())))
		})
	}
	b.Run("line protocol/curl", func(b *testing.B) { benchWrite(b, httpWrites(b, text.Data)) })
}

// asyncWrite begins a write and returns what waits for its answer.
type asyncWrite func() (answered func() error)

func sdkWrites(b *testing.B, rows func() client.Rows, opts ...client.Option) asyncWrite {
	up, stop := startUp()
	b.Cleanup(stop)
	ctx := context.Background()
	c, err := client.Connect(ctx, up.NATS, append(opts, client.WithMemory(256<<20))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	table := c.Table("cpu")
	return func() func() error {
		f := table.WriteAsync(ctx, rows())
		return func() error {
			_, err := f.Result(ctx)
			return err
		}
	}
}

func httpWrites(b *testing.B, text []byte) asyncWrite {
	up, stop := startUp()
	b.Cleanup(stop)
	h := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: openWrites}}
	b.Cleanup(h.CloseIdleConnections)
	post := func() error {
		r, err := h.Post(up.HTTP+"/write", "text/plain", bytes.NewReader(text))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if answer, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusNoContent {
			return fmt.Errorf("%s: %s, %w", r.Status, answer, err)
		}
		return nil
	}
	return func() func() error {
		done := make(chan error, 1)
		go func() { done <- post() }()
		return func() error { return <-done }
	}
}

// openWrites is how many writes are open at the same time.
const openWrites = 16

func benchWrite(b *testing.B, write asyncWrite) {
	open := make(chan func() error, openWrites)
	before, n := cpuSeconds(b), 0
	wait := func() {
		if err := (<-open)(); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n++; len(open) == cap(open) {
			wait()
		}
		open <- write()
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
