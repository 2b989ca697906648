package lineproto

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// rowsOf prints a batch's rows as NDJSON, after a round through a group.
func rowsOf(tb testing.TB, b *columnar.Batch) string {
	tb.Helper()
	missing, e := b.Missing(api.Schema{})
	if e != nil {
		tb.Fatal(e)
	}
	schema, err := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, missing...))
	if err != nil {
		tb.Fatal(err)
	}
	group, err := columnar.Encode(nil, schema, []*columnar.Batch{b})
	if err != nil {
		tb.Fatal(err)
	}
	if err := columnar.Validate(group, schema, b.Rows()); err != nil {
		tb.Fatal(err)
	}
	rows, err := columnar.Decode(group, schema)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Release()
	var out strings.Builder
	w, err := columnar.NewWriter(&out, "ndjson", schema, "")
	if err == nil {
		err = w.Write(rows, 0, rows.Len(), 1)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

// outcome prints a payload's result: a paragraph per table, or the error of the whole.
func outcome(tb testing.TB, data string, o Options) string {
	tb.Helper()
	result, err := Parse([]byte(data), o)
	if err != nil {
		return fmt.Sprintf("%d refused: %s\n", err.Line, err.Message)
	}
	defer result.Release()
	var out strings.Builder
	for _, e := range result {
		if e.Err != nil {
			if e.Err.Table != e.Table || e.Err.Code != 400 && e.Err.Code != 413 || e.Batch != nil {
				tb.Errorf("%+v", e)
			}
			fmt.Fprintf(&out, "%s: %d %s\n", e.Table, e.Err.Line, e.Err.Message)
			continue
		}
		fmt.Fprintf(&out, "%s: %s", e.Table, rowsOf(tb, e.Batch))
	}
	return out.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"all types", `m,t=a f=1.5,i=-2i,u=3u,b=t,s="x" 9`,
			`m: {"timestamp":9,"t":"a","f":1.5,"i":-2,"u":3,"b":true,"s":"x"}`},
		{"no timestamp is now", "m a=1i", `m: {"timestamp":7,"a":1}`},
		{"each spelling of true", "m a=t,b=T,c=true,d=True,e=TRUE 1",
			`m: {"timestamp":1,"a":true,"b":true,"c":true,"d":true,"e":true}`},
		{"each spelling of false", "m a=f,b=F,c=false,d=False,e=FALSE 1",
			`m: {"timestamp":1,"a":false,"b":false,"c":false,"d":false,"e":false}`},
		{"integer limits", "m a=9223372036854775807i,b=-9223372036854775808i,c=18446744073709551615u 1",
			`m: {"timestamp":1,"a":9223372036854775807,"b":-9223372036854775808,"c":18446744073709551615}`},
		{"time limits", "m a=1i -9223372036854775808\nm a=1i 9223372036854775807",
			"m: {\"timestamp\":-9223372036854775808,\"a\":1}\n{\"timestamp\":9223372036854775807,\"a\":1}"},
		{"floats", "m a=1,b=-0,c=.5,d=5.,e=1e21,f=-1.5E-7,g=1e-400,h=0.1,i=123456789012345678 1",
			`m: {"timestamp":1,"a":1,"b":-0,"c":0.5,"d":5,"e":1e+21,"f":-1.5e-07,"g":0,"h":0.1,"i":123456789012345680}`},
		{"escapes in names and tags", `m\ \,x,t\=\,\ k=v\=\,\ w f\=\ \,n=1i 1`, ""},
		{"an escaped comma and the like", `m\,x,t\=\,\ k=v\=\,\ w f\=\ \,n=1i 1`,
			`m,x: {"timestamp":1,"t=, k":"v=, w","f= ,n":1}`},
		{"a backslash that escapes nothing", `m\x,t\y=a\z f\w=1i 1`, ""},
		{"a backslash in a tag and a string", `m,t=a\z,u=\\z s="a\z\\n" 1`,
			`m: {"timestamp":1,"t":"a\\z","u":"\\\\z","s":"a\\z\\n"}`},
		{"strings", "m a=\"\",b=\"q\\\"q\",c=\"l1\nl2\",d=\"\\n\\r\\t\",e=\"x,y z=1\" 1",
			`m: {"timestamp":1,"a":"","b":"q\"q","c":"l1\nl2","d":"\n\r\t","e":"x,y z=1"}`},
		{"NUL in a string", "m a=\"\x00\" 1", `m: {"timestamp":1,"a":"\u0000"}`},
		{"UTF-8 names", "mé,tägé=日本 fß=1i 1", `mé: {"timestamp":1,"tägé":"日本","fß":1}`},
		{"a quote in a tag is itself", `m,t="a v=1i 1`, `m: {"timestamp":1,"t":"\"a","v":1}`},
		{"CRLF, blank lines, comments", "\r\n# c\t\x01\n  \n  m a=1i 1\r\n#\nm a=2i 2\r",
			"m: {\"timestamp\":1,\"a\":1}\n{\"timestamp\":2,\"a\":2}"},
		{"several spaces", "m,t=a   a=1i   1  \nm a=2i  \n",
			"m: {\"timestamp\":1,\"t\":\"a\",\"a\":1}\n{\"timestamp\":7,\"a\":2}"},
		{"missing tags and fields, later columns", "m,t=a x=1i 1\nm y=2i 2\nm,u=b,t=c x=3i,z=t 3",
			"m: {\"timestamp\":1,\"t\":\"a\",\"x\":1}\n{\"timestamp\":2,\"y\":2}\n" +
				"{\"timestamp\":3,\"t\":\"c\",\"x\":3,\"u\":\"b\",\"z\":true}"},
		{"another order", "m,a=1,b=2 x=1i,y=2i 1\nm,b=3,a=4 y=5i,x=6i 2",
			"m: {\"timestamp\":1,\"a\":\"1\",\"b\":\"2\",\"x\":1,\"y\":2}\n" +
				"{\"timestamp\":2,\"a\":\"4\",\"b\":\"3\",\"x\":6,\"y\":5}"},
		{"several tables", "a v=1i 1\nb v=2i 2\na v=3i 3",
			"a: {\"timestamp\":1,\"v\":1}\n{\"timestamp\":3,\"v\":3}\nb: {\"timestamp\":2,\"v\":2}"},
		{"no rows", "\n# nothing\n", ""},
		{"a name that begins like the one before", "m,t=a v=1i 1\nmm,t=ab v=2i 2\nm,tt=a vv=3i 3",
			"m: {\"timestamp\":1,\"t\":\"a\",\"v\":1}\n{\"timestamp\":3,\"tt\":\"a\",\"vv\":3}\n" +
				"mm: {\"timestamp\":2,\"t\":\"ab\",\"v\":2}"},
		{"a tag value spelt in two ways", "m,t=a\\,b v=1i 1\nm,t=a\\,b v=1i 2\nm,t=a v=1i 3",
			"m: {\"timestamp\":1,\"t\":\"a,b\",\"v\":1}\n{\"timestamp\":2,\"t\":\"a,b\",\"v\":1}\n" +
				"{\"timestamp\":3,\"t\":\"a\",\"v\":1}"},
	} {
		want := c.want
		if want != "" {
			want += "\n"
		}
		got := outcome(t, c.data, Options{Now: 7})
		if c.want == "" && c.name != "no rows" {
			if !strings.Contains(got, "table name") { // a space or backslash in a table's name is refused
				t.Errorf("%s: %s", c.name, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%s:\n got  %s want %s", c.name, got, want)
		}
	}
}

// TestI8_BadLines: each row is a sentence about a bad line: which table it refuses, at which line,
// and why.
func TestI8_BadLines(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"no fields", "m 1", `m: 1 line 1: a = was expected behind the field "1", but the payload ends`},
		{"no fields at all", "m\n", `m: 1 line 1: a tag or the fields were expected, but the line ends`},
		{"no tag value", "m,t= v=1i", `m: 1 line 1: tag "t" has no value`},
		{"no tag name", "m,=a v=1i", `m: 1 line 1: the name of a tag was expected, not '='`},
		{"a comma too much", "m,t=a, v=1i", `m: 1 line 1: the name of a tag was expected, not ' '`},
		{"a field comma too much", "m v=1i, 5", `m: 1 line 1: the name of a field was expected, not ' '`},
		{"a tab in a tag", "m,t=a\tb v=1i", `m: 1 line 1: a tag or the fields were expected, not '\t'`},
		{"a field without a value", "m v= 1",
			`m: 1 line 1: field "v": a number, a boolean or a quoted string was expected, not ' '`},
		{"NaN", "m v=NaN",
			`m: 1 line 1: field "v": a number, a boolean or a quoted string was expected, not 'N'`},
		{"minus infinity", "m v=-inf", `m: 1 line 1: field "v": "-inf" is not a finite number`},
		{"a float out of range", "m v=1e400", `m: 1 line 1: field "v": "1e400" is out of the range of float64`},
		{"an integer out of range", "m v=9223372036854775808i",
			`m: 1 line 1: field "v": "9223372036854775808i" is out of the range of int64`},
		{"a negative uint64", "m v=-1u", `m: 1 line 1: field "v": "-1u" is not a number of type uint64`},
		{"not a boolean", "m v=tRUE", `m: 1 line 1: field "v": "tRUE" is not a boolean`},
		{"text behind a string", `m v="a"b`,
			`m: 1 line 1: a comma or a space was expected behind the field "v", not 'b'`},
		{"a bad timestamp", "m v=1i 1.5", `m: 1 line 1: "1.5" is not a timestamp`},
		{"a timestamp out of range", "m v=1i 9223372036854775808", `m: 1 line 1: "9223372036854775808" is not a timestamp`},
		{"text behind the timestamp", "m v=1i 1 2", `m: 1 line 1: nothing was expected behind the timestamp, not '2'`},
		{"a field twice", "m v=1i,v=2i", `m: 1 line 1: column "v" is there twice`},
		{"a tag twice", "m,t=a,t=b v=1i", `m: 1 line 1: column "t" is there twice`},
		{"a tag twice as in the row before", "m,t=a v=1i\nm,t=a,t=a v=1i", `m: 2 line 2: column "t" is there twice`},
		{"a tag and a field of one name", "m,t=a t=1i", `m: 1 line 1: column "t" is tag since line 1, the value is int64`},
		{"timestamp as a tag", "m,timestamp=a v=1i",
			`m: 1 line 1: column name "timestamp" is reserved for the designated timestamp`},
		{"timestamp as a field", "m timestamp=1i",
			`m: 1 line 1: column name "timestamp" is reserved for the designated timestamp`},
		{"types differ", "m v=1i\nm v=2i\nm v=3", `m: 3 line 3: column "v" is int64 since line 1, the value is float64`},
		{"types differ in another order", "m v=1i,w=t\nm w=1i,v=3i",
			`m: 2 line 2: column "w" is boolean since line 1, the value is int64`},
		{"a string that is not UTF-8", "m v=\"\xff\"", `m: 1 line 1: field "v": the string is not UTF-8`},
		{"a tag that is not UTF-8", "m,t=\xff v=1i", `m: 1 line 1: tag "t": the value "\xff" is not UTF-8`},
		{"a long name", "m " + strings.Repeat("x", 128) + "=1i",
			`m: 1 line 1: column name of 128 bytes is longer than 127`},
		{"a bad table name", "a/b v=1i", `a/b: 1 line 1: table name "a/b" must not contain '/'`},
		{"an unterminated string names its first line", "ok v=1i\n\nm v=\"a\n", "ok: {\"timestamp\":7,\"v\":1}\n" +
			`m: 3 line 3: field "v": the string has no closing quote`},
		{"lines behind an unterminated string", "ok v=1i\nm v=\"a\nok v=2i",
			`2 refused: line 2: field "v": the string has no closing quote`},
		{"no measurement", "ok v=1i\n,t=a v=1i", `2 refused: line 2: a measurement cannot begin with ','`},
		{"a measurement that is not UTF-8", "ok v=1i\n\xff v=1i", `2 refused: line 2: the measurement "\xff" is not UTF-8`},
		{"others are not harmed", "a v=1i\nb v=x\na v=2i\nb v=1i\nc v=\"l\n\"\nd v=y",
			"a: {\"timestamp\":7,\"v\":1}\n{\"timestamp\":7,\"v\":2}\n" +
				"b: 2 line 2: field \"v\": a number, a boolean or a quoted string was expected, not 'x'\n" +
				"c: {\"timestamp\":7,\"v\":\"l\\n\"}\n" +
				"d: 7 line 7: field \"v\": a number, a boolean or a quoted string was expected, not 'y'"},
		{"what stands in a string is no row", "a v=x,s=\"\nb v=1i\n\",t=1i\nc v=1i",
			"a: 1 line 1: field \"v\": a number, a boolean or a quoted string was expected, not 'x'\n" +
				"c: {\"timestamp\":7,\"v\":1}"},
		{"nor in a refused table's later row", "a v=x\na s=\"\nb v=1i\n\"\nc v=1i",
			"a: 1 line 1: field \"v\": a number, a boolean or a quoted string was expected, not 'x'\n" +
				"c: {\"timestamp\":7,\"v\":1}"},
		{"lines behind a string in a skipped row", "a v=x\na s=\"\nb v=1i\n",
			"2 refused: line 2: a string of the row has no closing quote"},
		{"lines are counted physically", "# c\n\nm s=\"1\n2\n3\" 1\r\nm v=\n", `m: 6 line 6: field "v": ` +
			"a number, a boolean or a quoted string was expected, but the line ends"},
	} {
		if got := outcome(t, c.data, Options{Now: 7}); got != c.want+"\n" {
			t.Errorf("%s:\n got  %s want %s", c.name, got, c.want)
		}
	}
}

func TestOneTable(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"the table", "m v=1i 1", "m: {\"timestamp\":1,\"v\":1}\n"},
		{"another measurement", "m v=1i 1\n\nn v=1i",
			"3 refused: line 3: the measurement \"n\" is not the table \"m\" of the request\n"},
		{"a bad line", "m v=1i 1\nm v=", "2 refused: line 2: field \"v\": a number, a boolean or a quoted string was " +
			"expected, but the payload ends\n"},
	} {
		if got := outcome(t, c.data, Options{Table: "m", Now: 7}); got != c.want {
			t.Errorf("%s: got %s want %s", c.name, got, c.want)
		}
	}
	_, err := Parse([]byte("m v=1i 1\nm v="), Options{Table: "m"})
	if err == nil || err.Table != "m" || err.Line != 2 || err.Code != 400 {
		t.Errorf("%+v", err)
	}
}

func TestPrecision(t *testing.T) {
	for _, c := range []struct {
		precision int64
		data      string
		want      string
	}{
		{1_000_000_000, "m v=1i 1451606400", "m: {\"timestamp\":1451606400000000000,\"v\":1}\n"},
		{1_000_000, "m v=1i -5", "m: {\"timestamp\":-5000000,\"v\":1}\n"},
		{3600_000_000_000, "m v=1i 2562047\nm v=1i", "m: {\"timestamp\":9223369200000000000,\"v\":1}\n{\"timestamp\":7,\"v\":1}\n"},
		{3600_000_000_000, "m v=1i 2562048", "m: 1 line 1: the timestamp 2562048 is out of range in nanoseconds\n"},
		{1000, "m v=1i 9223372036854776\nn v=1i 1", "m: 1 line 1: the timestamp 9223372036854776 is out of range in " +
			"nanoseconds\nn: {\"timestamp\":1000,\"v\":1}\n"},
		{1000, "m v=1i -9223372036854776", "m: 1 line 1: the timestamp -9223372036854776 is out of range in nanoseconds\n"},
	} {
		if got := outcome(t, c.data, Options{Precision: c.precision, Now: 7}); got != c.want {
			t.Errorf("%d %s: got %s want %s", c.precision, c.data, got, c.want)
		}
	}
}

// TestI7_Bounds: neither tables, columns nor nulls of a payload take memory without bound.
func TestI7_Bounds(t *testing.T) {
	var b strings.Builder
	for i := range tablesMax + 1 {
		fmt.Fprintf(&b, "t%d v=1i\n", i)
	}
	if _, err := Parse([]byte(b.String()), Options{}); err == nil || err.Line != tablesMax+1 {
		t.Errorf("too many tables: %v", err)
	}
	b.Reset()
	b.WriteString("m ")
	for i := range api.ColumnsMax {
		fmt.Fprintf(&b, "c%d=1i,", i)
	}
	result, err := Parse([]byte(b.String()), Options{})
	if err != nil || result[0].Err == nil || !strings.Contains(result[0].Err.Message, "2000 columns") {
		t.Errorf("too many columns: %v, %v", result, err)
	}
	b.Reset()
	for i := range 1900 {
		fmt.Fprintf(&b, "m c%d=1i\n", i)
	}
	b.WriteString(strings.Repeat("m v=1i\n", 20_000) + "n v=1i\n")
	result, err = Parse([]byte(b.String()), Options{})
	if err != nil || result[0].Err == nil || result[0].Err.Code != 413 {
		t.Errorf("too many nulls: %v, %v", result, err)
	}
	result.Release()
}

func TestColumnsOfBatch(t *testing.T) {
	result, err := Parse([]byte("m,t=a v=1i 1\nm w=\"\" 2"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer result.Release()
	want := []columnar.BatchColumn{{Column: api.Column{Name: "t", Type: api.Tag}, FirstLine: 1},
		{Column: api.Column{Name: "v", Type: api.Int64}, FirstLine: 1},
		{Column: api.Column{Name: "w", Type: api.String}, FirstLine: 2}}
	if got := result[0].Batch.Columns(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestNoAllocationPerRow: what is allocated does not depend on the number of rows. Few hundred are those of a parser
// without memory: the race detector has pools lose one thing in four.
func TestNoAllocationPerRow(t *testing.T) {
	const rows = 5000
	data := cpuOnly(rows)
	parse := func() {
		result, err := Parse(data, Options{Table: "cpu"})
		if err != nil {
			t.Fatal(err)
		}
		result.Release()
	}
	parse()
	if n := testing.AllocsPerRun(10, parse); n > rows/10 {
		t.Errorf("%g allocations for %d rows", n, rows)
	}
}

// TestTagTwiceInTheFastPath: the row before has the tag twice as likely as not, and the same value.
func TestTagTwiceInTheFastPath(t *testing.T) {
	want := "m: 3 line 3: column \"t\" is there twice\n"
	if got := outcome(t, "m,t=a,u=b v=1i\nm,t=a,u=b v=1i\nm,t=a,t=a v=1i", Options{}); got != want {
		t.Errorf("%s", got)
	}
	want = "m: 2 line 2: column \"v\" is there twice\n"
	if got := outcome(t, "m v=1i,w=2i\nm v=1i,v=2i", Options{}); got != want {
		t.Errorf("%s", got)
	}
	// The second slot foresees u, which then comes first: the third row's second key is u again.
	want = "m: 2 line 2: column \"u\" is there twice\n"
	if got := outcome(t, "m,t=a,u=b v=1i\nm,u=b,u=b v=1i", Options{}); got != want {
		t.Errorf("%s", got)
	}
}

// TestI8_ErrorsQuoteLittle: megabytes that cannot be read do not come back; the line and the reason do.
func TestI8_ErrorsQuoteLittle(t *testing.T) {
	big := func(s string) string { return strings.Repeat(s, 4<<20/len(s)) }
	for payload, reason := range map[string]string{
		"m a=1" + big("1") + "x":      "is not a number of type float64",
		"m a=1" + big("1") + "i":      "is out of the range of int64",
		"m a=t" + big("r"):            "is not a boolean",
		"m a=1i 1" + big("x"):         "is not a timestamp",
		"m," + big("\xff") + "=1 a=1": "is not UTF-8",
		"m,t=" + big("\xff") + " a=1": "is not UTF-8",
		"m " + big("\xff") + "=1":     "is not UTF-8",
		"m " + big("n") + "=1":        "is longer than 127",
		"m " + big("n"):               "but the payload ends",
		"m," + big("n") + " a=1":      "not ' '",
		big("\xff") + " a=1":          "is not UTF-8",
	} {
		_, err := Parse([]byte("\n"+payload), Options{Table: "m"})
		if err == nil || len(err.Message) > 1100 || err.Line != 2 || !strings.HasPrefix(err.Message, "line 2: ") ||
			!strings.HasSuffix(err.Message, reason) {
			t.Errorf("%.20q: %d bytes: %.200v", payload, len(err.Message), err)
		}
	}
}
