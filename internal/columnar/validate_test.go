package columnar_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const sampleText = "m,host=a,dc=é v=1i,u=2u,f=1.5,b=t,s=\"x\" 1\nm,host=b f=-0,s=\"yé\" 2\nm v=-9i,b=f 3\n"

var utcNanos = &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}

// groupFields is how arrow-go spells the schema of a group with a column of each type.
func groupFields() []arrow.Field {
	return []arrow.Field{
		{Name: "timestamp", Type: utcNanos},
		column("tag", dictionaryType(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String)),
		column("i", arrow.PrimitiveTypes.Int64),
		column("f", arrow.PrimitiveTypes.Float64),
		column("b", arrow.FixedWidthTypes.Boolean),
		column("s", arrow.BinaryTypes.String),
	}
}

func groupSchema(tb testing.TB) api.Schema {
	return schemaOf(tb, api.Column{Name: "tag", Type: api.Tag}, api.Column{Name: "i", Type: api.Int64},
		api.Column{Name: "f", Type: api.Float64}, api.Column{Name: "b", Type: api.Boolean},
		api.Column{Name: "s", Type: api.String})
}

func fillGroup(b *array.RecordBuilder) {
	for i, tag := range []string{"x", "y", "x"} {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		_ = b.Field(1).(*array.BinaryDictionaryBuilder).AppendString(tag)
		b.Field(2).(*array.Int64Builder).Append(int64(i))
		b.Field(3).(*array.Float64Builder).Append(float64(i))
		b.Field(4).(*array.BooleanBuilder).Append(i == 1)
		b.Field(5).(*array.StringBuilder).Append(strings.Repeat("s", i))
	}
}

// TestValidateForeignWriters: a group that another implementation of Arrow wrote is as good as
// ours.
func TestValidateForeignWriters(t *testing.T) {
	for name, options := range map[string][]ipc.Option{"plain": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		group := arrowStream(t, arrow.NewSchema(groupFields(), nil), []func(*array.RecordBuilder){fillGroup}, options...)
		if err := columnar.Validate(group, groupSchema(t), 3); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkRows(t, groupSchema(t), group, []map[string]any{
			{"timestamp": int64(0), "tag": "x", "i": int64(0), "f": 0.0, "b": false, "s": ""},
			{"timestamp": int64(1), "tag": "y", "i": int64(1), "f": 1.0, "b": true, "s": "s"},
			{"timestamp": int64(2), "tag": "x", "i": int64(2), "f": 2.0, "b": false, "s": "ss"}})
	}
}

// TestI8_ValidateRefuses: each row is a sentence about a group that a primary must not admit.
func TestI8_ValidateRefuses(t *testing.T) {
	fields := func(change func(f []arrow.Field)) *arrow.Schema {
		f := groupFields()
		change(f)
		return arrow.NewSchema(f, nil)
	}
	same := fields(func([]arrow.Field) {})
	group := func(s *arrow.Schema, fills ...func(*array.RecordBuilder)) []byte {
		return arrowStream(t, s, fills)
	}
	withNull := func(i int) func(*array.RecordBuilder) {
		return func(b *array.RecordBuilder) {
			fillExcept(b, i)
			for range 3 {
				b.Field(i).AppendNull()
			}
		}
	}
	good := group(same, fillGroup)
	for _, c := range []struct {
		name string
		data []byte
		rows int
		want string
	}{
		{"another row count", good, 4, "has 3 rows, the group says 4"},
		{"two record batches", group(same, fillGroup, fillGroup), 3, "goes on behind its only record batch"},
		{"no record batch", group(same), 0, "no record batch"},
		{"a byte behind the end", append(bytes.Clone(good), 0), 3, "goes on behind its only record batch"},
		{"no end mark", good[:len(good)-8], 3, "cut short"},
		{"nothing", nil, 0, "cut short"},
		{"another name", group(fields(func(f []arrow.Field) { f[2].Name = "j" }), fillGroup), 3, `not the fingerprint's "i"`},
		{"two columns swapped", group(fields(func(f []arrow.Field) { f[2], f[3] = f[3], f[2] })), 0, "not the fingerprint's"},
		{"another unit", group(fields(func(f []arrow.Field) { f[0].Type = arrow.FixedWidthTypes.Timestamp_us }),
			fillGroup), 3, `"timestamp"`},
		{"no time zone", group(fields(func(f []arrow.Field) { f[0].Type = &arrow.TimestampType{Unit: arrow.Nanosecond} }),
			fillGroup), 3, `"timestamp"`},
		{"uint64 for int64", group(fields(func(f []arrow.Field) { f[2].Type = arrow.PrimitiveTypes.Uint64 })), 0, `"i"`},
		{"int32 for int64", group(fields(func(f []arrow.Field) { f[2].Type = arrow.PrimitiveTypes.Int32 })), 0, `"i"`},
		{"float32", group(fields(func(f []arrow.Field) { f[3].Type = arrow.PrimitiveTypes.Float32 })), 0, `"f"`},
		{"a tag that is a string", group(fields(func(f []arrow.Field) { f[1].Type = arrow.BinaryTypes.String })), 0, `"tag"`},
		{"a string that is a tag", group(fields(func(f []arrow.Field) { f[5].Type = f[1].Type })), 0, `"s"`},
		{"large strings", group(fields(func(f []arrow.Field) { f[5].Type = arrow.BinaryTypes.LargeString })), 0, `"s"`},
		{"binary for text", group(fields(func(f []arrow.Field) { f[5].Type = arrow.BinaryTypes.Binary })), 0, `"s"`},
		{"small indices", group(fields(func(f []arrow.Field) {
			f[1].Type = dictionaryType(arrow.PrimitiveTypes.Int16, arrow.BinaryTypes.String)
		})), 0, `"tag"`},
		{"a column less", group(arrow.NewSchema(groupFields()[:5], nil)), 0, "has 5 columns, the fingerprint names 6"},
		{"a column more", group(arrow.NewSchema(append(groupFields(), column("z", arrow.PrimitiveTypes.Int64)), nil)), 0,
			"has 7 columns"},
		{"a null timestamp", group(same, withNull(0)), 3, "has no timestamp"},
		{"NaN", group(same, func(b *array.RecordBuilder) {
			fillExcept(b, 3)
			b.Field(3).(*array.Float64Builder).AppendValues([]float64{1, math.NaN(), 2}, nil)
		}), 3, `"f": row 1 is NaN`},
		{"infinity", group(same, func(b *array.RecordBuilder) {
			fillExcept(b, 3)
			b.Field(3).(*array.Float64Builder).AppendValues([]float64{math.Inf(1), 1, 2}, nil)
		}), 3, `"f": row 0 is NaN or infinite`},
		{"text that is not UTF-8", group(same, func(b *array.RecordBuilder) {
			fillExcept(b, 5)
			b.Field(5).(*array.StringBuilder).AppendValues([]string{"a", "\xff", "c"}, nil)
		}), 3, "not UTF-8"},
		{"a character cut in two", group(same, func(b *array.RecordBuilder) {
			fillExcept(b, 5)
			b.Field(5).(*array.StringBuilder).AppendValues([]string{"\xc3", "\xa9", "c"}, nil)
		}), 3, "not UTF-8"},
		{"a tag that is not UTF-8", group(same, func(b *array.RecordBuilder) {
			fillExcept(b, 1)
			for range 3 {
				_ = b.Field(1).(*array.BinaryDictionaryBuilder).AppendString("\x80")
			}
		}), 3, "not UTF-8"},
		{"an index behind the dictionary", badIndex(t, 2), 12, "code 2 of a dictionary of 2 values"},
		{"a negative index", badIndex(t, -1), 12, "code -1 of a dictionary"},
		{"a bomb", bomb(t), 1 << 23, "unpacks to more than 64 MB"},
	} {
		err := columnar.Validate(c.data, groupSchema(t), c.rows)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if err := columnar.Validate(group(same, withNull(3)), groupSchema(t), 3); err != nil {
		t.Errorf("nulls are fine elsewhere: %v", err)
	}
}

// fillExcept fills all columns but one.
func fillExcept(b *array.RecordBuilder, except int) {
	for i := range 3 {
		for k := range 6 {
			if k == except {
				continue
			}
			switch f := b.Field(k).(type) {
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(i))
			case *array.BinaryDictionaryBuilder:
				_ = f.AppendString("x")
			case *array.Int64Builder:
				f.Append(int64(i))
			case *array.Float64Builder:
				f.Append(1)
			case *array.BooleanBuilder:
				f.Append(true)
			case *array.StringBuilder:
				f.Append("s")
			}
		}
	}
}

// badIndex is a group of 12 rows whose second tag has an index that its dictionary of two values
// does not have.
func badIndex(t *testing.T, index int32) []byte {
	t.Helper()
	fill := func(b *array.RecordBuilder) {
		for range 4 {
			fillExcept(b, 1)
		}
		for i := range 12 {
			_ = b.Field(1).(*array.BinaryDictionaryBuilder).AppendString([]string{"x", "y", "y"}[i%3])
		}
	}
	good := arrowStream(t, arrow.NewSchema(groupFields(), nil), []func(*array.RecordBuilder){fill})
	var codes []byte
	for i := range 12 {
		codes = binary.LittleEndian.AppendUint32(codes, uint32(min(i%3, 1)))
	}
	at := bytes.Index(good, codes)
	if at < 0 {
		t.Fatal("the indices are not found")
	}
	binary.LittleEndian.PutUint32(good[at+4:], uint32(index))
	return good
}

// bomb is a small stream of 8 million rows.
func bomb(t *testing.T) []byte {
	t.Helper()
	const n = 1 << 23
	zeros := memory.NewBufferBytes(make([]byte, 8*n+8))
	var arrays []arrow.Array
	for _, f := range groupFields() {
		var d arrow.ArrayData
		switch f.Type.ID() {
		case arrow.STRING:
			d = array.NewData(f.Type, n, []*memory.Buffer{nil, zeros, zeros}, nil, 0, 0)
		case arrow.DICTIONARY:
			s := array.NewStringBuilder(memory.DefaultAllocator)
			s.Append("x")
			d = array.NewDataWithDictionary(f.Type, n, []*memory.Buffer{nil, zeros}, 0, 0, s.NewArray().Data().(*array.Data))
		default:
			d = array.NewData(f.Type, n, []*memory.Buffer{nil, zeros}, nil, 0, 0)
		}
		arrays = append(arrays, array.MakeFromData(d))
	}
	schema := arrow.NewSchema(groupFields(), nil)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema), ipc.WithLZ4())
	if err := w.Write(array.NewRecordBatch(schema, arrays, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// useAll decodes a group and prints it in every format: whatever Validate takes must not panic
// anywhere.
func useAll(t testing.TB, group []byte, schema api.Schema) {
	t.Helper()
	rows, err := columnar.Decode(group, schema)
	if err != nil {
		t.Fatalf("Validate takes what Decode refuses: %v", err)
	}
	defer rows.Release()
	for _, format := range []string{"ndjson", "csv", "arrow"} {
		w, err := columnar.NewWriter(io.Discard, format, schema, "txid")
		if err == nil {
			err = w.Write(rows, 0, min(rows.Len(), 1000), 1)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
	}
}

// TestValidateEveryFlip cuts a group at every byte and flips every bit: it is refused, or decodes
// wholly.
func TestValidateEveryFlip(t *testing.T) {
	b, schema := parse(t, sampleText)
	group := encode(t, schema, b)
	for n := range group {
		if columnar.Validate(group[:n], schema, 3) == nil {
			t.Fatalf("cut at %d: accepted", n)
		}
	}
	for i := range group {
		for bit := range 8 {
			group[i] ^= 1 << bit
			if columnar.Validate(group, schema, 3) == nil {
				useAll(t, group, schema)
			}
			group[i] ^= 1 << bit
		}
	}
}

// TestI8_LZ4WithoutAFrame: a buffer whose LZ4 is only to be skipped unpacks to nothing, not to what the memory held
// before; arrow-go would not read it.
func TestI8_LZ4WithoutAFrame(t *testing.T) {
	good := arrowStream(t, arrow.NewSchema(groupFields(), nil), []func(*array.RecordBuilder){fillGroup}, ipc.WithLZ4())
	magic, skippable := []byte{0x04, 0x22, 0x4d, 0x18}, []byte{0x50, 0x2a, 0x4d, 0x18}
	frames := 0
	for at := 0; ; frames++ {
		next := bytes.Index(good[at:], magic)
		if next < 0 {
			break
		}
		at += next
		bad := bytes.Clone(good)
		copy(bad[at:], skippable)
		for size := range 64 { // one of them reaches just to the end of the buffer
			binary.LittleEndian.PutUint32(bad[at+4:], uint32(size))
			if err := columnar.Validate(bad, groupSchema(t), 3); err == nil {
				t.Fatalf("frame %d, %d bytes to skip: accepted", frames, size)
			}
		}
		at += len(magic)
	}
	if frames < 6 {
		t.Fatalf("%d frames found", frames)
	}
}

// TestEncodeKnowsTheLimit: what Encode makes of rows near the unpacked limit is never refused by
// Validate.
func TestEncodeKnowsTheLimit(t *testing.T) {
	for _, rows := range []int{4_194_304, 4_161_790, 4_128_000} {
		b := columnar.NewBatch("m", nil)
		c, err := b.Column([]byte("v"), api.Int64, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if i%1000 != 0 {
				c.PutWord(i, 1)
			}
			b.EndRow(1)
		}
		if err := b.Finish(); err != nil {
			t.Fatal(err)
		}
		schema := schemaFor(t, b)
		group, e := columnar.Encode(nil, schema, []*columnar.Batch{b})
		if e == nil {
			e = columnar.Validate(group, schema, rows)
		}
		if e != nil && (!api.IsName(e, api.TooLarge) || rows < 4_161_000) {
			t.Errorf("%d rows: %v", rows, e)
		}
		b.Release()
	}
}

// TestGolden: the bytes of a group never change, and neither does what they mean.
func TestGolden(t *testing.T) {
	b, schema := parse(t, sampleText)
	groupFile, rowsFile := filepath.Join("testdata", "group-1.arrow"), filepath.Join("testdata", "group-1.ndjson")
	if *rewrite {
		if err := os.WriteFile(groupFile, encode(t, schema, b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	group, err := os.ReadFile(groupFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(group, encode(t, schema, b)) {
		t.Error("Encode makes other bytes than the golden file has: compare what arrow-go reads of both, then -rewrite")
	}
	rows, err := columnar.Decode(group, schema)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := columnar.NewWriter(&out, "ndjson", schema, "")
	if err == nil {
		err = w.Write(rows, 0, rows.Len(), 1)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(rowsFile, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(rowsFile)
	if err != nil || !bytes.Equal(want, out.Bytes()) {
		t.Errorf("the golden group reads as %s, want %s (%v)", out.Bytes(), want, err)
	}
}

func FuzzValidate(f *testing.F) {
	b, schema := parse(f, sampleText)
	group := encode(f, schema, b)
	f.Add(group)
	f.Add(arrowStream(f, arrow.NewSchema(groupFields(), nil), []func(*array.RecordBuilder){fillGroup}))
	f.Add(arrowStream(f, arrow.NewSchema(groupFields(), nil), []func(*array.RecordBuilder){fillGroup}, ipc.WithLZ4()))
	schemas := []api.Schema{schema, groupSchema(f)}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range schemas {
			if columnar.Validate(data, s, 3) == nil {
				useAll(t, data, s)
			}
		}
	})
}

func FuzzNDJSON(f *testing.F) {
	for _, text := range []string{`{"timestamp":5,"i":1,"f":1.5,"b":true,"s":"x","n":null}`, `{"a":"\u00e9\ud83d\ude00"}`,
		"{\"a\":1}\n{\"a\":2.5e3}\n\n{\"a\":-0}", `{"timestamp":"2016-01-01T00:00:00Z"}`, `{"a":[{}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { againstJSON(t, data) })
}
