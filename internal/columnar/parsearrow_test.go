package columnar_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// arrowStream writes records that fill appends to, one for each call of fill, with arrow-go.
func arrowStream(t testing.TB, schema *arrow.Schema, fills []func(*array.RecordBuilder), options ...ipc.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(options, ipc.WithSchema(schema))...)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, fill := range fills {
		fill(b)
		rec := b.NewRecordBatch()
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func column(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func dictionaryType(index, value arrow.DataType) *arrow.DictionaryType {
	return &arrow.DictionaryType{IndexType: index, ValueType: value}
}

func allTypes(t testing.TB, options ...ipc.Option) []byte {
	schema := arrow.NewSchema([]arrow.Field{
		column("i8", arrow.PrimitiveTypes.Int8), column("i16", arrow.PrimitiveTypes.Int16),
		column("i32", arrow.PrimitiveTypes.Int32), column("i64", arrow.PrimitiveTypes.Int64),
		column("u8", arrow.PrimitiveTypes.Uint8), column("u64", arrow.PrimitiveTypes.Uint64),
		column("f32", arrow.PrimitiveTypes.Float32), column("f64", arrow.PrimitiveTypes.Float64),
		column("b", arrow.FixedWidthTypes.Boolean), column("s", arrow.BinaryTypes.String),
		column("ls", arrow.BinaryTypes.LargeString),
		column("timestamp", &arrow.TimestampType{Unit: arrow.Millisecond}),
		column("tag", dictionaryType(arrow.PrimitiveTypes.Uint8, arrow.BinaryTypes.String)),
		column("tag64", dictionaryType(arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String)),
	}, nil)
	fill := func(suffix string, null bool) func(*array.RecordBuilder) {
		return func(b *array.RecordBuilder) {
			b.Field(0).(*array.Int8Builder).Append(-8)
			b.Field(1).(*array.Int16Builder).Append(-16)
			b.Field(2).(*array.Int32Builder).Append(-32)
			b.Field(3).(*array.Int64Builder).Append(math.MinInt64)
			b.Field(4).(*array.Uint8Builder).Append(200)
			b.Field(5).(*array.Uint64Builder).Append(math.MaxUint64)
			b.Field(6).(*array.Float32Builder).Append(0.5)
			b.Field(7).(*array.Float64Builder).Append(math.Copysign(0, -1))
			b.Field(8).(*array.BooleanBuilder).Append(true)
			b.Field(9).(*array.StringBuilder).Append("s" + suffix)
			b.Field(10).(*array.LargeStringBuilder).Append("é" + suffix)
			b.Field(11).(*array.TimestampBuilder).Append(5)
			for _, i := range []int{12, 13} {
				if err := b.Field(i).(*array.BinaryDictionaryBuilder).AppendString("t" + suffix); err != nil {
					t.Fatal(err)
				}
			}
			if null {
				for i := range 14 {
					b.Field(i).AppendNull()
				}
			}
		}
	}
	return arrowStream(t, schema, []func(*array.RecordBuilder){fill("1", true), fill("2", false), fill("1", true)},
		options...)
}

func TestParseArrow(t *testing.T) {
	for name, options := range map[string][]ipc.Option{"plain": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()},
		"deltas": {ipc.WithDictionaryDeltas(true)}} {
		b, err := columnar.ParseArrow(allTypes(t, options...), "m", 7)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		schema := schemaFor(t, b)
		row := func(s string) map[string]any {
			return map[string]any{"timestamp": int64(5_000_000), "i8": int64(-8), "i16": int64(-16), "i32": int64(-32),
				"i64": int64(math.MinInt64), "u8": uint64(200), "u64": uint64(math.MaxUint64), "f32": 0.5,
				"f64": math.Copysign(0, -1), "b": true, "s": "s" + s, "ls": "é" + s, "tag": "t" + s, "tag64": "t" + s}
		}
		null := map[string]any{"timestamp": int64(7)}
		stream := encode(t, schema, b)
		if err := columnar.Validate(stream, schema, 5); err != nil {
			t.Fatal(err)
		}
		checkRows(t, schema, stream, []map[string]any{row("1"), null, row("2"), row("1"), null})
		if c := b.Columns(); len(c) != 13 || c[12].Type != api.Tag || c[10].Type != api.String {
			t.Errorf("%v", c)
		}
	}
}

func TestParseArrowRefuses(t *testing.T) {
	one := func(f arrow.Field, fill func(array.Builder)) []byte {
		return arrowStream(t, arrow.NewSchema([]arrow.Field{f}, nil), []func(*array.RecordBuilder){
			func(b *array.RecordBuilder) { fill(b.Field(0)) }})
	}
	plain := one(column("a", arrow.PrimitiveTypes.Int64), func(b array.Builder) { b.(*array.Int64Builder).Append(1) })
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"NaN", one(column("a", arrow.PrimitiveTypes.Float64), func(b array.Builder) {
			b.(*array.Float64Builder).Append(math.NaN())
		}), `column "a": row 0 is NaN or infinite`},
		{"float32 infinity", one(column("a", arrow.PrimitiveTypes.Float32), func(b array.Builder) {
			b.(*array.Float32Builder).Append(float32(math.Inf(-1)))
		}), `column "a": row 0 is NaN or infinite`},
		{"a date", one(column("d", arrow.FixedWidthTypes.Date32), func(b array.Builder) { b.AppendNull() }),
			`column "d" has an Arrow type that is not supported`},
		{"a half float", one(column("h", arrow.FixedWidthTypes.Float16), func(b array.Builder) { b.AppendNull() }),
			`column "h" has an Arrow type that is not supported`},
		{"a list", one(column("l", arrow.ListOf(arrow.PrimitiveTypes.Int64)), func(b array.Builder) { b.AppendNull() }),
			`column "l" has an Arrow type that is not supported`},
		{"binary", one(column("x", arrow.BinaryTypes.Binary), func(b array.Builder) { b.AppendNull() }),
			`column "x" has an Arrow type that is not supported`},
		{"another timestamp", one(column("t2", arrow.FixedWidthTypes.Timestamp_s), func(b array.Builder) {
			b.AppendNull()
		}), `column "t2" has an Arrow type that is not supported`},
		{"timestamp is a number", one(column("timestamp", arrow.PrimitiveTypes.Int64), func(b array.Builder) {
			b.AppendNull()
		}), `column "timestamp" must be an Arrow timestamp`},
		{"timestamp overflow", one(column("timestamp", arrow.FixedWidthTypes.Timestamp_s), func(b array.Builder) {
			b.(*array.TimestampBuilder).Append(math.MaxInt64)
		}), `column "timestamp": row 0: the timestamp 9223372036854775807 is out of range in nanoseconds`},
		{"not UTF-8", one(column("s", arrow.BinaryTypes.String), func(b array.Builder) {
			b.(*array.StringBuilder).Append("\xff")
		}), `column "s": the text is not UTF-8`},
		{"a character over two values", one(column("s", arrow.BinaryTypes.String), func(b array.Builder) {
			b.(*array.StringBuilder).Append("\xc3")
			b.(*array.StringBuilder).Append("\xa9")
		}), `column "s": the text is not UTF-8`},
		{"an empty name", one(column("", arrow.PrimitiveTypes.Int64), func(b array.Builder) { b.AppendNull() }),
			`column name is empty`},
		{"nothing", nil, "the Arrow stream is cut short"},
		{"not Arrow", []byte("cpu,host=a v=1i"), "an Arrow message does not begin with its mark"},
		{"bytes behind the end", append(bytes.Clone(plain), 0), "the Arrow stream goes on behind its end"},
		{"a name twice", arrowStream(t, arrow.NewSchema([]arrow.Field{column("a", arrow.PrimitiveTypes.Int64),
			column("a", arrow.PrimitiveTypes.Int64)}, nil), nil), `column "a" is there twice`},
	} {
		b, err := columnar.ParseArrow(c.data, "m", 0)
		if err == nil {
			b.Release()
			t.Errorf("%s: accepted", c.name)
		} else if err.Message != c.want || err.Code != 400 || err.Table != "m" {
			t.Errorf("%s: %+v, want %s", c.name, err, c.want)
		}
	}
	if b, err := columnar.ParseArrow(plain[:len(plain)-8], "m", 0); err != nil || b.Rows() != 1 {
		t.Errorf("a stream without its end mark: %v", err)
	}
	big := one(column("s", arrow.BinaryTypes.String), func(b array.Builder) {
		b.(*array.StringBuilder).Append(strings.Repeat("x", api.UnpackedBytesMax))
	})
	if _, err := columnar.ParseArrow(big, "m", 0); err == nil || err.Code != 413 {
		t.Errorf("too large: %v", err)
	}
}

// TestParseArrowEveryFlip flips every bit of a client's stream: it is refused, or what is taken is a
// good group. Nothing panics.
func TestParseArrowEveryFlip(t *testing.T) {
	for _, options := range [][]ipc.Option{nil, {ipc.WithLZ4()}} {
		stream := allTypes(t, options...)
		for i := range stream {
			bit := byte(1) << (i % 8)
			stream[i] ^= bit
			parsedIsGood(t, stream)
			stream[i] ^= bit
		}
	}
}

// TestParseArrowMetadataBomb: many entries of custom metadata that are the same bytes are refused
// before arrow-go copies each.
func TestParseArrowMetadataBomb(t *testing.T) {
	b := flatbuffers.NewBuilder(0)
	text := b.CreateString(strings.Repeat("x", 1<<20))
	b.StartObject(2) // KeyValue
	b.PrependUOffsetTSlot(0, text, 0)
	b.PrependUOffsetTSlot(1, text, 0)
	pair := b.EndObject()
	const pairs = 1 << 20
	b.StartVector(4, pairs, 4)
	for range pairs {
		b.PrependUOffsetT(pair)
	}
	metadata := b.EndVector(pairs)
	b.StartVector(4, 0, 4)
	fields := b.EndVector(0)
	b.StartObject(4) // Schema
	b.PrependUOffsetTSlot(1, fields, 0)
	b.PrependUOffsetTSlot(2, metadata, 0)
	header := b.EndObject()
	b.StartObject(5) // Message
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt16Slot(0, 4, 0) // metadata version 5
	b.PrependByteSlot(1, 1, 0)  // the header is a schema
	b.Finish(b.EndObject())
	message := b.FinishedBytes()
	stream := binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, uint32(len(message)))
	stream = append(stream, message...)
	if _, err := columnar.ParseArrow(stream, "m", 0); err == nil || !strings.Contains(err.Message, "metadata") {
		t.Errorf("ParseArrow: %v", err)
	}
	if err := columnar.Validate(stream, schemaOf(t), 0); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("Validate: %v", err)
	}
}

// TestI8_ErrorsQuoteLittle: a name of megabytes does not come back; the reason does.
func TestI8_ErrorsQuoteLittle(t *testing.T) {
	big := strings.Repeat("n", 4<<20)
	for name, c := range map[string]struct {
		fields []arrow.Field
		reason string
	}{
		"type":  {[]arrow.Field{column(big, arrow.FixedWidthTypes.Date32)}, "an Arrow type that is not supported"},
		"list":  {[]arrow.Field{column(big, arrow.ListOf(arrow.PrimitiveTypes.Int64))}, "an Arrow type that is not supported"},
		"name":  {[]arrow.Field{column(big, arrow.PrimitiveTypes.Int64)}, "is longer than 127"},
		"UTF-8": {[]arrow.Field{column(strings.Repeat("\xff", 120), arrow.PrimitiveTypes.Int64)}, "is not UTF-8"},
	} {
		data := arrowStream(t, arrow.NewSchema(c.fields, nil), nil)
		_, err := columnar.ParseArrow(data, "m", 0)
		if err == nil || len(err.Message) > 1100 || !strings.HasSuffix(err.Message, c.reason) {
			t.Errorf("%s: %.200v", name, err)
		}
		if err := columnar.Validate(data, schemaOf(t), 0); err == nil || len(err.Error()) > 1100 {
			t.Errorf("%s: Validate: %.200v", name, err)
		}
	}
	for _, line := range []string{`{"` + big + `":1}`, `{"a":1` + strings.Repeat("1", 4<<20) + `}`, `{"a":-` + big + `}`,
		`{"timestamp":1` + strings.Repeat("1", 4<<20) + `}`, `{"timestamp":"` + big + `"}`, `{"a":"` + big + "\xff\"}",
		`{"` + big + "\xff\":1}", `{"a":1e` + strings.Repeat("1", 4<<20) + `}`} {
		_, err := columnar.ParseNDJSON([]byte(line), "m", 0)
		if err == nil || len(err.Message) > 1100 || err.Line != 1 {
			t.Errorf("%.20s: %.200v", line, err)
		}
	}
}

func FuzzArrow(f *testing.F) {
	f.Add(allTypes(f))
	f.Add(allTypes(f, ipc.WithLZ4(), ipc.WithDictionaryDeltas(true)))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsedIsGood(t, data)
	})
}

// parsedIsGood checks that what ParseArrow takes is a group that Validate takes.
func parsedIsGood(t *testing.T, data []byte) {
	t.Helper()
	b, err := columnar.ParseArrow(data, "m", 0)
	if err != nil {
		return
	}
	defer b.Release()
	schema := schemaFor(t, b)
	stream, e := columnar.Encode(nil, schema, []*columnar.Batch{b})
	if api.IsName(e, api.TooLarge) {
		return
	}
	if e != nil {
		t.Fatal(e)
	}
	if e := columnar.Validate(stream, schema, b.Rows()); e != nil {
		t.Fatalf("what ParseArrow takes, Validate refuses: %v", e)
	}
}
