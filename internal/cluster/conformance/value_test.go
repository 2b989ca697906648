package conformance_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// TestI2_LineProtocolValues: what a line says is what NDJSON gives back; CSV and Arrow are compared
// with it elsewhere. T stands for the table.
func TestI2_LineProtocolValues(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`T f=1 1`:                             `"f":1`,
		`T f=-0 1`:                            `"f":-0`,
		`T f=-0.0 1`:                          `"f":-0`,
		`T f=1e-400 1`:                        `"f":0`,
		`T f=-1e-400 1`:                       `"f":-0`,
		`T f=5e-324 1`:                        `"f":5e-324`,
		`T f=1.7976931348623157e308 1`:        `"f":1.7976931348623157e+308`,
		`T f=0.1 1`:                           `"f":0.1`,
		`T f=100000000000000000000 1`:         `"f":100000000000000000000`,
		`T f=1e21 1`:                          `"f":1e+21`,
		`T f=9007199254740993 1`:              `"f":9007199254740992`,
		`T f=0.30000000000000004 1`:           `"f":0.30000000000000004`,
		`T i=-9223372036854775808i 1`:         `"i":-9223372036854775808`,
		`T i=9223372036854775807i 1`:          `"i":9223372036854775807`,
		`T u=18446744073709551615u 1`:         `"u":18446744073709551615`,
		`T u=0u 1`:                            `"u":0`,
		`T b=t,c=T,d=true,e=True,f=TRUE 1`:    `"b":true,"c":true,"d":true,"e":true,"f":true`,
		`T b=f,c=F,d=false,e=False,f=FALSE 1`: `"b":false,"c":false,"d":false,"e":false,"f":false`,
		`T s="" 1`:                            `"s":""`,
		`T s="a\"b\\c" 1`:                     `"s":"a\"b\\c"`,
		`T s="comma, equals= and space" 1`:    `"s":"comma, equals= and space"`,
		"T s=\"nul\x00end\" 1":                `"s":"nul\u0000end"`,
		"T s=\"two\nlines\" 1":                `"s":"two\nlines"`,
		"T s=\"# no comment\" 1":              `"s":"# no comment"`,
		`T s="日本 ünï 🎉" 1`:                    `"s":"日本 ünï 🎉"`,
		`T,ta\ g=v\,a\=l\ ue f=1 1`:           `"ta g":"v,a=l ue","f":1`,
		`T,größe=groß fläche=1i 1`:            `"größe":"groß","fläche":1`,
		`T,t=back\slash f=1 1`:                `"t":"back\\slash","f":1`,
		`T,t="quoted" f=1 1`:                  `"t":"\"quoted\"","f":1`,
		`T fi\,el\=d\ x=1i 1`:                 `"fi,el=d x":1`,
		"T a=1i 1\r":                          `"a":1`,
		"  T a=1i   1  ":                      `"a":1`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			table := fresh()
			ok(t, write(t, table, strings.Replace(line, "T", table, 1)), table, 1, 1)
			if got := rows(t, table, 1); len(got) != 1 || got[0] != `{"timestamp":1,`+want+"}" {
				t.Fatalf("read %q", got)
			}
		})
	}
}

// TestI2_Timestamps: the extreme int64s, every unit over HTTP, and server time where there is none.
func TestI2_Timestamps(t *testing.T) {
	t.Parallel()
	table := fresh()
	var lines, want []string
	for _, at := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64} {
		lines = append(lines, fmt.Sprintf("%s a=1i %d", table, at))
		want = append(want, fmt.Sprintf(`{"timestamp":%d,"a":1}`, at))
	}
	ok(t, write(t, table, strings.Join(lines, "\n")), table, 1, len(lines))
	if got := rows(t, table, 1); !slices.Equal(got, want) {
		t.Fatalf("read %q", got)
	}
	before := time.Now().UnixNano()
	ok(t, write(t, table, table+" a=2i\n"+table+" a=2i"), table, 2, 2)
	ok(t, write(t, table, `{"a":2}`, "Content-Type", typeNDJSON), table, 3, 1)
	ok(t, write(t, table, `{"a":2,"timestamp":null}`, "Content-Type", typeNDJSON), table, 4, 1)
	after := time.Now().UnixNano()
	for _, row := range strings.Fields(read(t, table, 4, "from_txid=2").body) {
		text, _, _ := strings.Cut(strings.TrimPrefix(row, `{"timestamp":`), ",")
		if at, err := strconv.ParseInt(text, 10, 64); err != nil || at < before || at > after {
			t.Errorf("server time is %s, not within %d and %d", row, before, after)
		}
	}
	for text, at := range map[string]int64{
		`"2016-01-01T00:00:10Z"`: 1451606410e9, `"2016-01-01T01:00:10.000000001+01:00"`: 1451606410e9 + 1, "-5": -5,
	} {
		table := fresh()
		ok(t, write(t, table, `{"timestamp":`+text+`,"a":1}`, "Content-Type", typeNDJSON), table, 1, 1)
		if got := rows(t, table, 1); got[0] != fmt.Sprintf(`{"timestamp":%d,"a":1}`, at) {
			t.Errorf("%s is read as %q", text, got)
		}
	}
}

// TestI2_NDJSONTypes: what the table already has decides what a whole number or a string is.
func TestI2_NDJSONTypes(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, table+",tag=x f=1.5,i=1i,u=1u 1"), table, 1, 1)
	ok(t, write(t, table, `{"timestamp":2,"tag":"y","f":2,"i":3,"new":4.5}`+"\n"+`{"timestamp":3,"new":7,"s":"text"}`,
		"Content-Type", typeNDJSON), table, 2, 2)
	want := []string{"timestamp timestamp", "tag tag", "f float64", "i int64", "u uint64", "new float64", "s string"}
	if got := columns(t, table); !slices.Equal(got, want) {
		t.Fatalf("columns %q", got)
	}
	got := rows(t, table, 2)
	if !slices.Equal(got[1:], []string{`{"timestamp":2,"tag":"y","f":2,"i":3,"new":4.5}`,
		`{"timestamp":3,"new":7,"s":"text"}`}) {
		t.Fatalf("read %q", got)
	}
	for _, bad := range []string{`{"i":1.5}`, `{"i":"x"}`, `{"tag":1}`, `{"f":true}`, `{"s":1}`, `{"i":1e0}`} {
		a := write(t, table, "\n"+bad, "Content-Type", typeNDJSON)
		if refused(t, a, 400, "invalid"); a.Line != 2 {
			t.Errorf("%s: %s", bad, a.raw)
		}
	}
	if got := columns(t, table); !slices.Equal(got, want) {
		t.Fatalf("columns %q", got)
	}
}

// TestI2_ArrowTypes: smaller integers and float32 are widened, timestamps of any unit converted, a
// missing or null one is server time, both kinds of compressed bodies are taken.
func TestI2_ArrowTypes(t *testing.T) {
	t.Parallel()
	p := arrow.PrimitiveTypes
	fields := []arrow.Field{
		field("i8", p.Int8), field("i16", p.Int16), field("i32", p.Int32), field("i64", p.Int64), field("u8", p.Uint8),
		field("u16", p.Uint16), field("u32", p.Uint32), field("u64", p.Uint64), field("f32", p.Float32), field("f64", p.Float64),
		field("b", arrow.FixedWidthTypes.Boolean), field("s", arrow.BinaryTypes.String), field("tag", tagType),
	}
	fill := func(b *array.RecordBuilder) {
		b.Field(0).(*array.Int8Builder).Append(-128)
		b.Field(1).(*array.Int16Builder).Append(-32768)
		b.Field(2).(*array.Int32Builder).Append(math.MinInt32)
		b.Field(3).(*array.Int64Builder).Append(math.MinInt64)
		b.Field(4).(*array.Uint8Builder).Append(255)
		b.Field(5).(*array.Uint16Builder).Append(65535)
		b.Field(6).(*array.Uint32Builder).Append(math.MaxUint32)
		b.Field(7).(*array.Uint64Builder).Append(math.MaxUint64)
		b.Field(8).(*array.Float32Builder).Append(0.1)
		b.Field(9).(*array.Float64Builder).Append(math.Copysign(0, -1))
		b.Field(10).(*array.BooleanBuilder).Append(true)
		b.Field(11).(*array.StringBuilder).Append("")
		if err := b.Field(12).(*array.BinaryDictionaryBuilder).AppendString("x"); err != nil {
			t.Fatal(err)
		}
	}
	const want = `"i8":-128,"i16":-32768,"i32":-2147483648,"i64":-9223372036854775808,"u8":255,"u16":65535,` +
		`"u32":4294967295,"u64":18446744073709551615,"f32":0.10000000149011612,"f64":-0,"b":true,"s":"","tag":"x"}`
	for name, o := range map[string][]ipc.Option{"plain": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()}} {
		table := fresh()
		data := stream(t, fields, fill, o...)
		ok(t, send(t, "ingest."+table, headers("Content-Type", typeArrow), data), table, 1, 1)
		if got := rows(t, table, 1); !strings.HasSuffix(got[0], want) {
			t.Errorf("%s: read %q", name, got)
		}
		if got := columns(t, table); len(got) != 14 || got[13] != "tag tag" || got[12] != "s string" {
			t.Errorf("%s: columns %q", name, got)
		}
	}
	for unit, want := range map[arrow.TimeUnit]string{
		arrow.Second: "7000000000", arrow.Millisecond: "7000000", arrow.Microsecond: "7000", arrow.Nanosecond: "7",
	} {
		table := fresh()
		data := stream(t, []arrow.Field{field("a", p.Int64), field("timestamp", &arrow.TimestampType{Unit: unit})},
			func(b *array.RecordBuilder) {
				b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil)
				b.Field(1).(*array.TimestampBuilder).Append(7)
				b.Field(1).AppendNull()
			})
		ok(t, send(t, "ingest."+table, headers("Content-Type", typeArrow), data), table, 1, 2)
		if got := rows(t, table, 1); got[0] != `{"timestamp":`+want+`,"a":1}` || len(got[1]) < len(`{"timestamp":1700000000000000000`) {
			t.Errorf("%s: read %q", unit, got)
		}
	}
	table := fresh()
	nan := stream(t, []arrow.Field{field("f", p.Float64)}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Float64Builder).AppendValues([]float64{1, math.NaN()}, nil)
	})
	refused(t, send(t, "ingest."+table, headers("Content-Type", typeArrow), nan), 400, "invalid", `"f"`)
	absent(t, table)
}

// everyValue fills a table with nulls and values of every type, in five transactions, and with a
// column that comes late.
func everyValue(t *testing.T) (table string) {
	table = fresh()
	for i, lines := range []string{
		"T,tag=a f=-0,i=-9223372036854775808i,u=18446744073709551615u,b=t,s=\"x,\"\"\\\"y\" 1",
		"T,tag=b f=0.1 2\nT s=\"\" 3\nT s=\" lead\" 4\nT s=\"nul\x00\" 5",
		"T s=\"two\nlines\" 6\nT s=\"cr\rhere\" 7\nT,tag=\\,\" b=f 8",
		"T,late=ü f=1e300 9\nT,tag=a f=5e-324,s=\"\\\\.\" 10",
		"T i=0i,u=0u 11",
	} {
		a := write(t, table, strings.ReplaceAll(strings.ReplaceAll(lines, `""`+`\"`, `\"`), "T", table))
		if a.code != 0 || a.txid != strconv.Itoa(i+1) {
			t.Fatalf("told %s", a.raw)
		}
	}
	return table
}

// TestI4_FormatsAgreeOnEveryNode: each node gives the same bytes, and the three formats the same
// values, exactly those that went in.
func TestI4_FormatsAgreeOnEveryNode(t *testing.T) {
	t.Parallel()
	table := everyValue(t)
	want := []string{
		`{"timestamp":1,"tag":"a","f":-0,"i":-9223372036854775808,"u":18446744073709551615,"b":true,"s":"x,\"y"}`,
		`{"timestamp":2,"tag":"b","f":0.1}`, `{"timestamp":3,"s":""}`, `{"timestamp":4,"s":" lead"}`,
		`{"timestamp":5,"s":"nul\u0000"}`, `{"timestamp":6,"s":"two\nlines"}`, `{"timestamp":7,"s":"cr\rhere"}`,
		`{"timestamp":8,"tag":",\"","b":false}`, `{"timestamp":9,"f":1e+300,"late":"ü"}`,
		`{"timestamp":10,"tag":"a","f":5e-324,"s":"\\."}`, `{"timestamp":11,"i":0,"u":0}`,
	}
	if len(up.Nodes) != 3 {
		t.Fatalf("nodes %v", up.Nodes)
	}
	for _, n := range up.Nodes {
		for base, query := range map[string]string{"http://" + n.HTTP: "", up.HTTP: "node=" + n.ID + "&"} {
			if got := readFrom(t, base, table, 5, query); got.body != strings.Join(want, "\n")+"\n" {
				t.Errorf("%s: NDJSON is %s", n.ID, got.body)
			}
			checkCSV(t, readFrom(t, base, table, 5, query+"format=csv"))
			checkArrow(t, readFrom(t, base, table, 5, query+"format=arrow"))
		}
	}
}

func checkCSV(t *testing.T, got response) {
	t.Helper()
	if ct := got.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/csv") {
		t.Errorf("Content-Type %q", ct)
	}
	const want = "timestamp,tag,f,i,u,b,s,late\n" +
		"1,a,-0,-9223372036854775808,18446744073709551615,true,\"x,\"\"y\",\n" +
		"2,b,0.1,,,,,\n" + "3,,,,,,\"\",\n" + "4,,,,,,\" lead\",\n" + "5,,,,,,nul\x00,\n" +
		"6,,,,,,\"two\nlines\",\n" + "7,,,,,,\"cr\rhere\",\n" + "8,\",\"\"\",,,,false,,\n" +
		"9,,1e+300,,,,,ü\n" + "10,a,5e-324,,,,\"\\.\",\n" + "11,,,0,0,,,\n"
	if got.body != want {
		t.Errorf("CSV is %q", got.body)
	}
	if records, err := csv.NewReader(strings.NewReader(got.body)).ReadAll(); err != nil || len(records) != 12 {
		t.Errorf("CSV does not parse: %v, %d records", err, len(records))
	}
}

func checkArrow(t *testing.T, got response) {
	t.Helper()
	if ct := got.header.Get("Content-Type"); ct != typeArrow {
		t.Errorf("Content-Type %q", ct)
	}
	r, err := ipc.NewReader(bytes.NewReader([]byte(got.body)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	var out []string
	for r.Next() {
		b := r.RecordBatch()
		for row := range int(b.NumRows()) {
			cells := make([]string, b.NumCols())
			for i, c := range b.Columns() {
				cells[i] = c.ValueStr(row)
				if f, isFloat := c.(*array.Float64); isFloat && f.IsValid(row) {
					cells[i] = strconv.FormatFloat(f.Value(row), 'g', -1, 64)
				}
				if ts, isTime := c.(*array.Timestamp); isTime {
					cells[i] = strconv.FormatInt(int64(ts.Value(row)), 10)
				}
			}
			out = append(out, strings.Join(cells, "|"))
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	n := array.NullValueStr
	want := []string{
		`1|a|-0|-9223372036854775808|18446744073709551615|true|x,"y|N`, `2|b|0.1|N|N|N|N|N`, `3|N|N|N|N|N||N`,
		`4|N|N|N|N|N| lead|N`, "5|N|N|N|N|N|nul\x00|N", "6|N|N|N|N|N|two\nlines|N", "7|N|N|N|N|N|cr\rhere|N",
		`8|,"|N|N|N|false|N|N`, `9|N|1e+300|N|N|N|N|ü`, `10|a|5e-324|N|N|N|\.|N`, `11|N|N|0|0|N|N|N`,
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "N", n)
	}
	if !slices.Equal(out, want) {
		t.Errorf("Arrow is %q", out)
	}
}

// TestI8_TypesAreKept: a type that differs from the column's is refused with line, column and both
// types, and nothing of it is stored, nor a new column of the same request.
func TestI8_TypesAreKept(t *testing.T) {
	t.Parallel()
	table := fresh()
	values := map[string]string{"f": "1", "i": "1i", "u": "1u", "b": "t", "s": `"x"`}
	types := map[string]string{"f": "float64", "i": "int64", "u": "uint64", "b": "boolean", "s": "string"}
	ok(t, write(t, table, table+`,tag=x f=1,i=1i,u=1u,b=t,s="x" 1`), table, 1, 1)
	before := columns(t, table)
	for column := range values {
		for other, value := range values {
			if other == column {
				continue
			}
			a := write(t, table, fmt.Sprintf("%s new=1i\n\n%s %s=%s", table, table, column, value))
			refused(t, a, 400, "invalid", strconv.Quote(column), types[column], types[other])
			if a.Line != 3 || a.Table != table {
				t.Errorf("told %s", a.raw)
			}
		}
		refused(t, write(t, table, fmt.Sprintf("%s,%s=x new=1i", table, column)), 400, "invalid", strconv.Quote(column), "tag")
	}
	refused(t, write(t, table, table+` tag="x",new=1i`), 400, "invalid", `"tag"`, "tag", "string")
	if after := columns(t, table); !slices.Equal(before, after) {
		t.Fatalf("columns %q became %q", before, after)
	}
	ok(t, write(t, table, table+" f=2 2"), table, 2, 1)
}

// TestI8_Names: the table names that are allowed and those that are not, in subjects and payloads.
func TestI8_Names(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"日本", "a.b.c", "A", "a", strings.Repeat("n", 118), "x=y", "a;b", "$x", "_"} {
		name += fresh()
		line := strings.NewReplacer(" ", `\ `, ",", `\,`).Replace(name) + " a=1i 1"
		ok(t, send(t, "ingest", nil, []byte(line)), name, 1, 1)
		ok(t, send(t, "ingest."+name, nil, []byte(line)), name, 2, 1)
		if got := rows(t, name, 2); len(got) != 2 {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{"a/b", "a*b", "a>b", `a\b`, `a"b`, `a\ b`, ".a", "a.", "a..b", strings.Repeat("n", 128)} {
		e := send(t, "ingest", nil, []byte("\n"+name+" a=1i 1"))
		if refused(t, e, 400, "invalid"); e.Line != 2 {
			t.Errorf("%s: told %s", name, e.raw)
		}
	}
	for _, name := range []string{"a/b", `a\b`, `a"b`, strings.Repeat("n", 128)} {
		refused(t, send(t, "ingest."+name, nil, []byte("m a=1i")), 400, "invalid")
	}
}

// TestI7_Columns: 2,000 with the timestamp, however they come together.
func TestI7_Columns(t *testing.T) {
	t.Parallel()
	table := fresh()
	ok(t, write(t, table, table+" "+wide(1999)+" 1"), table, 1, 1)
	refused(t, write(t, table, table+" more=1i 1"), 400, "invalid", "2000")
	ok(t, write(t, table, table+" c7=1i 1"), table, 2, 1)
	if got := columns(t, table); len(got) != 2000 {
		t.Fatalf("%d columns", len(got))
	}
}
