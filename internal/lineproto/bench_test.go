package lineproto

import (
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

func BenchmarkParse(b *testing.B) {
	const rows = 10_000
	data := cpuOnly(rows)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		result, err := Parse(data, Options{Table: "cpu"})
		if err != nil {
			b.Fatal(err)
		}
		result.Release()
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkParseEncode(b *testing.B) {
	const rows = 10_000
	data := cpuOnly(rows)
	schema := schemaOf(b, data)
	var out []byte
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		out = parseEncode(b, out[:0], data, schema)
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(len(out))/rows, "B/row")
}

// BenchmarkParseOneRow is what a gateway does for each write of the smallest kind.
func BenchmarkParseOneRow(b *testing.B) {
	data := cpuOnly(1)
	b.ReportAllocs()
	for b.Loop() {
		result, err := Parse(data, Options{Table: "cpu"})
		if err != nil {
			b.Fatal(err)
		}
		result.Release()
	}
}

// BenchmarkParseEncodeOneRow is what a producer of single rows costs before any merging.
func BenchmarkParseEncodeOneRow(b *testing.B) {
	data := cpuOnly(1)
	schema := schemaOf(b, data)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = parseEncode(b, out[:0], data, schema)
	}
	b.ReportMetric(float64(len(out)), "B/group")
}

func parseEncode(tb testing.TB, out, data []byte, schema api.Schema) []byte {
	result, err := Parse(data, Options{Table: "cpu"})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := result[0].Batch.Missing(schema); err != nil {
		tb.Fatal(err)
	}
	batches := [1]*columnar.Batch{result[0].Batch}
	out, e := columnar.Encode(out, schema, batches[:])
	if e != nil {
		tb.Fatal(e)
	}
	result.Release()
	return out
}

func schemaOf(tb testing.TB, data []byte) api.Schema {
	result, err := Parse(data, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	defer result.Release()
	missing, err := result[0].Batch.Missing(api.Schema{})
	if err != nil {
		tb.Fatal(err)
	}
	schema, e := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, missing...))
	if e != nil {
		tb.Fatal(e)
	}
	return schema
}
