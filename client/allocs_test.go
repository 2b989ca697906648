//go:build !race

// The race detector makes pools forget at random, so that what allocates shows only without it.

package client

import (
	"testing"
	"time"
)

// TestBuilderAllocatesNothingPerRow: once warm.
func TestBuilderAllocatesNothingPerRow(t *testing.T) {
	b := NewRows()
	hosts := []string{"alpha", "a-host-with-a-name-of-more-than-thirty-two-bytes", "gamma"}
	build := func() {
		for i := range 1000 {
			b.Symbol("host", hosts[i%3]).Int64("usage", int64(i)).Float64("load", 0.5).Bool("up", true).
				String("note", "some text that is longer than thirty-two bytes").AtNanos(int64(i))
		}
		b.Reset()
	}
	build()
	if n := testing.AllocsPerRun(20, build); n > 10 { // of a thousand rows: Reset's budget, and what a pool has lost
		t.Fatalf("%.0f allocations for 1000 rows", n)
	}
}

// TestWriterAllocatesNothingPerRow: once warm.
func TestWriterAllocatesNothingPerRow(t *testing.T) {
	c, _ := gated(t)
	w := c.connect().Writer(FlushRows(1e9), FlushBytes(1<<30), FlushEvery(time.Hour), OnFlushError(func(*FlushError) {}))
	row := func() {
		err := w.Table("cpu").Symbol("host", "a").Int64("usage", 1).Float64("load", 0.5).String("note", "some text").
			AtNanos(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 10_000 {
		row()
	}
	if n := testing.AllocsPerRun(5000, row); n > 0 {
		t.Fatalf("%.0f allocations a row", n)
	}
}
