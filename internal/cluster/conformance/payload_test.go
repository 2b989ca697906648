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

// TestI8_RefusedPayloadsLeaveNothing: no row, no TxID, no column, no table, whatever is wrong; and
// the error says what.
func TestI8_RefusedPayloadsLeaveNothing(t *testing.T) {
	t.Parallel()
	f64 := arrow.PrimitiveTypes.Float64
	arrowOf := func(name string, kind arrow.DataType) string {
		return string(stream(t, []arrow.Field{field(name, kind)}, func(b *array.RecordBuilder) { b.Field(0).AppendNull() }))
	}
	whole := string(twoRows(t, typeArrow, ""))
	for _, c := range []struct {
		name, payload string // T stands for the table
		header        []string
		code          int
		line          int
		pieces        []string
	}{
		{"bad second line", "T a=1i\nT a=1x\n", nil, 400, 2, []string{"line 2", "a", "1x"}},
		{"type differs within", "T a=1i\nT a=1\n", nil, 400, 2, []string{`"a"`, "int64", "float64"}},
		{"blank lines and comments count", "\n#x\n\r\nT a=1i\n\nT a=\n", nil, 400, 6, nil},
		{"line breaks in strings count", "T s=\"a\nb\n\"\nT s=1\n", nil, 400, 4, nil},
		{"a row begins on its first line", "T s=\"a\nb\",q=x\n", nil, 400, 1, nil},
		{"an unterminated string names its first line", "T a=1i\nT s=\"a\nb\n", nil, 400, 2, []string{"quote"}},
		{"other measurement", "T a=1i\nother a=1i\n", nil, 400, 2, []string{"other"}},
		{"no measurement", "T a=1i\n,a=b c=1i\n", nil, 400, 2, nil},
		{"tag twice", "T,a=1,a=2 v=1i\n", nil, 400, 1, []string{`"a"`}},
		{"field twice", "T v=1i,v=2i\n", nil, 400, 1, []string{`"v"`}},
		{"tag and field of one name", "T,a=1 a=1i\n", nil, 400, 1, []string{`"a"`}},
		{"tag, later a field of its name", "T,a=1 b=1i\nT a=1i\n", nil, 400, 2, []string{`"a"`}},
		{"timestamp as a field", "T timestamp=1i\n", nil, 400, 1, []string{"timestamp"}},
		{"timestamp as a tag", "T,timestamp=1 a=1i\n", nil, 400, 1, []string{"timestamp"}},
		{"NaN", "T a=NaN\n", nil, 400, 1, nil},
		{"infinity", "T a=inf\n", nil, 400, 1, nil},
		{"float out of range", "T a=1e400\n", nil, 400, 1, []string{"1e400"}},
		{"int out of range", "T a=9223372036854775808i\n", nil, 400, 1, []string{"9223372036854775808i"}},
		{"uint negative", "T a=-1u\n", nil, 400, 1, nil},
		{"timestamp out of range", "T a=1i 9223372036854775808\n", nil, 400, 1, []string{"timestamp"}},
		{"text behind the timestamp", "T a=1i 5 6\n", nil, 400, 1, nil},
		{"no field", "T,a=b\n", nil, 400, 1, nil},
		{"no tag value", "T,a= v=1i\n", nil, 400, 1, []string{`"a"`}},
		{"not UTF-8 in a string", "T a=\"\xff\"\n", nil, 400, 1, []string{"UTF-8"}},
		{"not UTF-8 in a tag", "T,t=\xff a=1i\n", nil, 400, 1, []string{"UTF-8"}},
		{"control character in a name", "T a\x01=1i\n", nil, 400, 1, nil},
		{"name too long", "T " + strings.Repeat("n", 128) + "=1i\n", nil, 400, 1, []string{"127"}},
		{"empty", "", nil, 400, 0, []string{"no row"}},
		{"only comments", "# a\n\n", nil, 400, 0, []string{"no row"}},
		{"2,001 columns", "T " + wide(2000) + "\n", nil, 400, 1, []string{"c1999", "2000"}},

		{"JSON: int out of range", `{"a":9223372036854775808}`, []string{"Content-Type", typeNDJSON}, 400, 1, []string{`"a"`}},
		{"JSON: nested", "{\"a\":1}\n{\"a\":{}}", []string{"Content-Type", typeNDJSON}, 400, 2, []string{`"a"`}},
		{"JSON: array", `{"a":[1]}`, []string{"Content-Type", typeNDJSON}, 400, 1, []string{`"a"`}},
		{"JSON: twice", `{"a":1,"a":1}`, []string{"Content-Type", typeNDJSON}, 400, 1, []string{`"a"`}},
		{"JSON: types differ", "\n{\"a\":1}\n{\"a\":\"x\"}", []string{"Content-Type", typeNDJSON}, 400, 3, []string{`"a"`, "int64", "string"}},
		{"JSON: not an object", `[1]`, []string{"Content-Type", typeNDJSON}, 400, 1, nil},
		{"JSON: two on a line", `{"a":1}{"a":2}`, []string{"Content-Type", typeNDJSON}, 400, 1, nil},
		{"JSON: cut", `{"a":1`, []string{"Content-Type", typeNDJSON}, 400, 1, nil},
		{"JSON: bad timestamp", `{"timestamp":"yesterday","a":1}`, []string{"Content-Type", typeNDJSON}, 400, 1, []string{"timestamp"}},
		{"JSON: float timestamp", `{"timestamp":1.5,"a":1}`, []string{"Content-Type", typeNDJSON}, 400, 1, []string{"timestamp"}},
		{"JSON: empty", "\n \n", []string{"Content-Type", typeNDJSON}, 400, 0, []string{"no row"}},
		{"JSON: nothing but a timestamp", `{"timestamp":5}`, []string{"Content-Type", typeNDJSON}, 400, 0, nil},

		{"Arrow: list", arrowOf("l", arrow.ListOf(f64)), []string{"Content-Type", typeArrow}, 400, 0, []string{`"l"`}},
		{"Arrow: decimal", arrowOf("d", &arrow.Decimal128Type{Precision: 5}), []string{"Content-Type", typeArrow}, 400, 0, []string{`"d"`}},
		{"Arrow: date", arrowOf("d", arrow.FixedWidthTypes.Date32), []string{"Content-Type", typeArrow}, 400, 0, []string{`"d"`}},
		{"Arrow: float16", arrowOf("h", arrow.FixedWidthTypes.Float16), []string{"Content-Type", typeArrow}, 400, 0, []string{`"h"`}},
		{"Arrow: binary", arrowOf("b", arrow.BinaryTypes.Binary), []string{"Content-Type", typeArrow}, 400, 0, []string{`"b"`}},
		{"Arrow: timestamp of another name", arrowOf("at", arrow.FixedWidthTypes.Timestamp_ns), []string{"Content-Type", typeArrow}, 400, 0, []string{`"at"`}},
		{"Arrow: timestamp is an int", arrowOf("timestamp", arrow.PrimitiveTypes.Int64), []string{"Content-Type", typeArrow}, 400, 0, []string{"timestamp"}},
		{"Arrow: no stream", "hello, this is not Arrow", []string{"Content-Type", typeArrow}, 400, 0, nil},
		{"Arrow: cut", whole[:len(whole)/2], []string{"Content-Type", typeArrow}, 400, 0, nil},
		{"Arrow: empty", "", []string{"Content-Type", typeArrow}, 400, 0, nil},

		{"unknown type", "T a=1i", []string{"Content-Type", "text/csv"}, 400, 0, []string{"text/csv"}},
		{"unknown encoding", "T a=1i", []string{"Content-Encoding", "br"}, 400, 0, []string{"br"}},
		{"not gzip", "T a=1i", []string{"Content-Encoding", "gzip"}, 400, 0, nil},
		{"not zstd", "T a=1i", []string{"Content-Encoding", "zstd"}, 400, 0, nil},
		{"cut gzip", string(gzipped([]byte("T a=1i"))[:20]), []string{"Content-Encoding", "gzip"}, 400, 0, nil},
		{"expected of words", "T a=1i", []string{"Braid-Expected-TxID", "none"}, 400, 0, []string{"Braid-Expected-TxID"}},
		{"expected negative", "T a=1i", []string{"Braid-Expected-TxID", "-1"}, 400, 0, []string{"Braid-Expected-TxID"}},
		{"expected empty", "T a=1i", []string{"Braid-Expected-TxID", ""}, 400, 0, []string{"Braid-Expected-TxID"}},
		{"expected with a sign", "T a=1i", []string{"Braid-Expected-TxID", "+0"}, 400, 0, []string{"Braid-Expected-TxID"}},
		{"durability", "T a=1i", []string{"Braid-Durability", "disk"}, 400, 0, []string{"Braid-Durability"}},
		{"another table", "T a=1i", []string{"Braid-Table", "other"}, 400, 0, []string{"other"}},
		{"bad table", "T a=1i", []string{"Braid-Table", "a b"}, 400, 0, []string{"Braid-Table"}},
		{"long key", "T a=1i", []string{"Nats-Msg-Id", strings.Repeat("k", 256)}, 400, 0, []string{"Nats-Msg-Id"}},
		{"unknown Braid header", "T a=1i", []string{"Braid-Expectd-TxID", "0"}, 400, 0, []string{"Braid-Expectd-TxID"}},
		{"a producer alone", "T a=1i", []string{"Braid-Producer", "p"}, 400, 0, []string{"Braid-Producer-Epoch"}},
		{"settled alone", "T a=1i", []string{"Braid-Settled", "0"}, 400, 0, []string{"Braid-Producer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := fresh()
			payload := c.payload
			if len(c.header) == 0 || c.header[0] != "Content-Type" {
				payload = strings.ReplaceAll(payload, "T", table)
			}
			a := write(t, table, payload, c.header...)
			refused(t, a, c.code, "invalid", c.pieces...)
			if a.Table != table || a.Line != c.line {
				t.Errorf("table %q line %d: %s", a.Table, a.Line, a.raw)
			}
			absent(t, table)
			// The corrected write gets the first TxID.
			ok(t, write(t, table, table+" other=1i", "Braid-Expected-TxID", "0"), table, 1, 1)
		})
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
