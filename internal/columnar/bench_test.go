package columnar_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// cpuBatch has the shape of the Time Series Benchmark Suite's cpu-only rows: 10 tags of 4,000
// hosts, 10 small integers.
func cpuBatch(tb testing.TB, rows, firstHost int) (*columnar.Batch, api.Schema) {
	tb.Helper()
	r := rand.New(rand.NewPCG(123, uint64(firstHost)))
	b := columnar.NewBatch("cpu", nil)
	var columns []*columnar.Column
	for i := range 20 {
		name, t := fmt.Sprintf("tag_%d", i), api.Tag
		if i >= 10 {
			name, t = fmt.Sprintf("usage_%d", i), api.Int64
		}
		c, err := b.Column([]byte(name), t, 1)
		if err != nil {
			tb.Fatal(err)
		}
		columns = append(columns, c)
	}
	values := []int{4000, 9, 27, 100, 3, 2, 4, 20, 2, 3}
	for i := range rows {
		host := (firstHost + i) % 4000
		for k, c := range columns {
			switch {
			case k == 0:
				c.PutTag(i, fmt.Appendf(nil, "host_%d", host))
			case k < 10:
				c.PutTag(i, fmt.Appendf(nil, "value-%d", (host*7919+k*31)%values[k]))
			default:
				c.PutWord(i, uint64(r.IntN(101)))
			}
		}
		b.EndRow(1451606400000000000 + int64(i/4000)*10_000_000_000)
	}
	if err := b.Finish(); err != nil {
		tb.Fatal(err)
	}
	return b, schemaFor(tb, b)
}

func BenchmarkEncode(b *testing.B) {
	const rows = 10_000
	batch, schema := cpuBatch(b, rows, 0)
	var out []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if out, err = columnar.Encode(out[:0], schema, []*columnar.Batch{batch}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(len(out))/rows, "B/row")
}

func BenchmarkEncodeOneRow(b *testing.B) {
	batch, schema := cpuBatch(b, 1, 0)
	var out []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if out, err = columnar.Encode(out[:0], schema, []*columnar.Batch{batch}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(out)), "B/group")
}

// BenchmarkMerge is a gateway's full group of single rows.
func BenchmarkMerge(b *testing.B) {
	const writes = 1000
	var batches []*columnar.Batch
	var schema api.Schema
	for i := range writes {
		var batch *columnar.Batch
		batch, schema = cpuBatch(b, 1, i)
		batches = append(batches, batch)
	}
	var out []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if out, err = columnar.Encode(out[:0], schema, batches); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(writes*float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkValidate(b *testing.B) {
	for _, rows := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			batch, schema := cpuBatch(b, rows, 0)
			group := encode(b, schema, batch)
			b.ReportAllocs()
			for b.Loop() {
				if err := columnar.Validate(group, schema, rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, rows := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			batch, schema := cpuBatch(b, rows, 0)
			group := encode(b, schema, batch)
			b.ReportAllocs()
			for b.Loop() {
				decoded, err := columnar.Decode(group, schema)
				if err != nil {
					b.Fatal(err)
				}
				decoded.Release()
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkParseArrow(b *testing.B) {
	const rows = 10_000
	batch, schema := cpuBatch(b, rows, 0)
	stream := encode(b, schema, batch)
	b.ReportAllocs()
	for b.Loop() {
		parsed, err := columnar.ParseArrow(stream, "cpu", 0)
		if err != nil {
			b.Fatal(err)
		}
		parsed.Release()
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkWriter(b *testing.B) {
	const rows = 10_000
	batch, schema := cpuBatch(b, rows, 0)
	group := encode(b, schema, batch)
	for _, format := range []string{"ndjson", "csv", "arrow"} {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decoded, err := columnar.Decode(group, schema)
				if err != nil {
					b.Fatal(err)
				}
				w, err := columnar.NewWriter(io.Discard, format, schema, "")
				if err == nil {
					err = w.Write(decoded, 0, rows, 1)
				}
				if err == nil {
					err = w.Close()
				}
				if err != nil {
					b.Fatal(err)
				}
				decoded.Release()
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
