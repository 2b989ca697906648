package conformance_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"
)

const (
	typeArrow  = "application/vnd.apache.arrow.stream"
	typeNDJSON = "application/x-ndjson"
)

func gzipped(parts ...[]byte) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		w.Write(p)
		w.Close()
	}
	return b.Bytes()
}

func zstded(parts ...[]byte) (out []byte) {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	for _, p := range parts {
		out = w.EncodeAll(p, out)
	}
	return out
}

// halves cuts a payload in the middle of whatever is there.
func halves(b []byte) [][]byte { return [][]byte{b[:len(b)/2], b[len(b)/2:]} }

var tagType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}

// stream is an Arrow IPC stream of one record batch, that fill appends to.
func stream(t testing.TB, fields []arrow.Field, fill func(*array.RecordBuilder), o ...ipc.Option) []byte {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(o, ipc.WithSchema(schema))...)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	fill(b)
	record := b.NewRecordBatch()
	defer record.Release()
	if err := w.Write(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func field(name string, kind arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: kind, Nullable: true}
}

// twoRows are the rows {host=a, v=1, at 5} and {host=b, v=2, at 6} in a format.
func twoRows(t testing.TB, format, table string) []byte {
	switch format {
	case "":
		return []byte(table + ",host=a v=1i 5\n" + table + ",host=b v=2i 6\n")
	case typeNDJSON:
		return []byte(`{"timestamp":5,"host":"a","v":1}` + "\n" + `{"timestamp":6,"host":"b","v":2}`)
	}
	return stream(t, []arrow.Field{
		field("timestamp", &arrow.TimestampType{Unit: arrow.Nanosecond}), field("host", tagType),
		field("v", arrow.PrimitiveTypes.Int32),
	}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{5, 6}, nil)
		for _, host := range []string{"a", "b"} {
			if err := b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(host); err != nil {
				t.Fatal(err)
			}
		}
		b.Field(2).(*array.Int32Builder).AppendValues([]int32{1, 2}, nil)
	}, ipc.WithLZ4())
}

// TestI8_EveryFormatPackedAnyWayOnEverySubject: three formats, five packings, six subjects, one
// result.
func TestI8_EveryFormatPackedAnyWayOnEverySubject(t *testing.T) {
	t.Parallel()
	formats := []string{"", typeArrow, typeNDJSON}
	packings := []struct {
		name, encoding string
		pack           func([]byte) []byte
	}{
		{"plain", "", func(b []byte) []byte { return b }},
		{"gzip", "gzip", func(b []byte) []byte { return gzipped(b) }},
		{"gzip members", "gzip", func(b []byte) []byte { return gzipped(halves(b)...) }},
		{"zstd", "zstd", func(b []byte) []byte { return zstded(b) }},
		{"zstd frames", "zstd", func(b []byte) []byte { return zstded(halves(b)...) }},
	}
	subjects := []struct {
		subject   string // %s is the table
		inSubject bool
	}{
		{"ingest.%s", true}, {"ingest", false}, {"primary.p1.ingest.%s", true},
		{"primary.p2.ingest.%s", true}, {"primary.p1.ingest", false}, {"primary.p2.ingest", false},
	}
	for _, f := range formats {
		for _, p := range packings {
			for i, s := range subjects {
				t.Run(fmt.Sprintf("%s/%s/%s", f, p.name, s.subject), func(t *testing.T) {
					t.Parallel()
					table := fresh()
					if i%2 == 0 {
						table += ".a.ü"
					}
					h := headers()
					if f != "" {
						h["Content-Type"] = []string{f}
					}
					if p.encoding != "" {
						h["Content-Encoding"] = []string{p.encoding}
					}
					if f != "" && !s.inSubject {
						h["Braid-Table"] = []string{table}
					}
					a := send(t, strings.ReplaceAll(s.subject, "%s", table), h, p.pack(twoRows(t, f, table)))
					ok(t, a, table, 1, 2)
					want := []string{`{"timestamp":5,"host":"a","v":1}`, `{"timestamp":6,"host":"b","v":2}`}
					if got := rows(t, table, 1); !slices.Equal(got, want) {
						t.Fatalf("stored %q", got)
					}
					kind := "tag"
					if f == typeNDJSON {
						kind = "string"
					}
					if got := columns(t, table); !slices.Equal(got, []string{"timestamp timestamp", "host " + kind, "v int64"}) {
						t.Fatalf("columns %q", got)
					}
				})
			}
		}
	}
}

// wide is n fields.
func wide(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "c%d=1i", i)
	}
	return b.String()
}
