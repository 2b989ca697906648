package columnar_test

import (
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// ndjsonOf parses, fits the batch to schema (nil: to none) and returns what NDJSON the rows read
// back as.
func ndjsonOf(t *testing.T, text string, columns []api.Column) (string, *api.Error) {
	t.Helper()
	b, err := columnar.ParseNDJSON([]byte(text), "m", 7)
	if err != nil {
		return "", err
	}
	defer b.Release()
	schema := api.Schema{}
	if columns != nil {
		schema = schemaOf(t, columns...)
	}
	missing, err := b.Missing(schema)
	if err != nil {
		return "", err
	}
	schema = schemaOf(t, append(columns, missing...)...)
	if _, err := b.Missing(schema); err != nil {
		t.Fatalf("again: %v", err)
	}
	stream := encode(t, schema, b)
	if err := columnar.Validate(stream, schema, b.Rows()); err != nil {
		t.Fatal(err)
	}
	rows, e := columnar.Decode(stream, schema)
	if e != nil {
		t.Fatal(e)
	}
	defer rows.Release()
	var out strings.Builder
	w, e := columnar.NewWriter(&out, "ndjson", schema, "")
	if e == nil {
		e = w.Write(rows, 0, rows.Len(), 1)
	}
	if e == nil {
		e = w.Close()
	}
	if e != nil {
		t.Fatal(e)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func TestParseNDJSON(t *testing.T) {
	for _, c := range []struct {
		name    string
		text    string
		columns []api.Column
		want    string // rows, or the message of the error
		line    int    // of the error
	}{
		{"types", `{"timestamp":5,"i":1,"f":1.5,"b":true,"s":"x","n":null}`, nil,
			`{"timestamp":5,"i":1,"f":1.5,"b":true,"s":"x"}`, 0},
		{"no timestamp is now", `{"i":-3}`, nil, `{"timestamp":7,"i":-3}`, 0},
		{"a null timestamp is now", `{"timestamp":null,"i":1}`, nil, `{"timestamp":7,"i":1}`, 0},
		{"RFC 3339", `{"timestamp":"2016-01-01T00:00:00.123456789+01:00"}`, nil,
			`{"timestamp":1451602800123456789}`, 0},
		{"the first and last instants", `{"timestamp":"1677-09-21T00:12:43.145224192Z"}` + "\n" +
			`{"timestamp":"2262-04-11T23:47:16.854775807Z"}`, nil,
			`{"timestamp":-9223372036854775808}` + "\n" + `{"timestamp":9223372036854775807}`, 0},
		{"before the first instant", `{"timestamp":"1677-09-21T00:12:43.145224191Z"}`, nil,
			`line 1: timestamp "1677-09-21T00:12:43.145224191Z" is out of range in nanoseconds`, 1},
		{"after the last instant", `{"timestamp":"2262-04-11T23:47:16.854775808Z"}`, nil,
			`line 1: timestamp "2262-04-11T23:47:16.854775808Z" is out of range in nanoseconds`, 1},
		{"a float timestamp", `{"timestamp":1.5}`, nil,
			`line 1: timestamp "1.5" is neither integer nanoseconds nor RFC 3339`, 1},
		{"blank lines and CRLF", "\r\n{\"i\":1}\r\n\n {\"i\" : 2 } \n", nil,
			`{"timestamp":7,"i":1}` + "\n" + `{"timestamp":7,"i":2}`, 0},
		{"int64 limits", `{"a":9223372036854775807,"b":-9223372036854775808}`, nil,
			`{"timestamp":7,"a":9223372036854775807,"b":-9223372036854775808}`, 0},
		{"beyond int64", "{\"a\":1}\n{\"a\":9223372036854775808}", nil,
			`line 2: column "a": "9223372036854775808" is out of the range of int64`, 2},
		{"beyond float64", `{"a":1e400}`, nil, `line 1: column "a": "1e400" is out of the range of float64`, 1},
		{"tiny is zero", `{"a":1e-400}`, nil, `{"timestamp":7,"a":0}`, 0},
		{"minus zero", `{"a":-0.0}`, nil, `{"timestamp":7,"a":-0}`, 0},
		{"minus zero as integer", `{"a":-0}`, nil, `{"timestamp":7,"a":0}`, 0},
		{"minus zero in a float column", "{\"a\":3}\n{}\n{\"a\":-0}", []api.Column{{Name: "a", Type: api.Float64}},
			`{"timestamp":7,"a":3}` + "\n" + `{"timestamp":7}` + "\n" + `{"timestamp":7,"a":-0}`, 0},
		{"whole numbers in a float column", "{\"a\":1}\n{\"a\":2.5}\n{}\n{\"a\":3}",
			[]api.Column{{Name: "a", Type: api.Float64}}, `{"timestamp":7,"a":1}` + "\n" + `{"timestamp":7,"a":2.5}` +
				"\n" + `{"timestamp":7}` + "\n" + `{"timestamp":7,"a":3}`, 0},
		{"first seen as float", "{\"a\":0.5}\n{\"a\":1}", nil,
			`{"timestamp":7,"a":0.5}` + "\n" + `{"timestamp":7,"a":1}`, 0},
		{"first seen as integer", "{\"a\":1}\n{\"a\":0.5}", nil,
			`line 2: column "a" is int64 since line 1, the value is float64`, 2},
		{"a float in an integer column", "{\"b\":1}\n{\"a\":0.5}", []api.Column{{Name: "a", Type: api.Int64}},
			`line 2: column "a" of the table is int64, the value is float64`, 2},
		{"an integer in a string column", "{\"a\":1}", []api.Column{{Name: "a", Type: api.String}},
			`line 1: column "a" of the table is string, the value is int64`, 1},
		{"a string is a tag where there is one", "{\"a\":\"x\"}\n{\"b\":\"y\"}\n{\"a\":\"\"}",
			[]api.Column{{Name: "a", Type: api.Tag}}, `{"timestamp":7,"a":"x"}` + "\n" + `{"timestamp":7,"b":"y"}` +
				"\n" + `{"timestamp":7,"a":""}`, 0},
		{"types differ", "{\"a\":1}\n{\"a\":\"x\"}", nil, `line 2: column "a" is int64 since line 1, the value is string`, 2},
		{"escapes", `{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000"}`, nil,
			`{"timestamp":7,"s":"\"\\/\u0008\u000c\n\r\té😀\u0000"}`, 0},
		{"escaped keys", `{"\u0061":1,"b":2}`, nil, `{"timestamp":7,"a":1,"b":2}`, 0},
		{"a lone surrogate", `{"s":"\ud83d"}`, nil, `line 1: column "s": a string has a malformed \u escape`, 1},
		{"not UTF-8", "{\"s\":\"\xff\"}", nil, `line 1: column "s": the string "\xff" is not UTF-8`, 1},
		{"a raw control character", "{\"s\":\"\t\"}", nil,
			`line 1: column "s": the control character '\t' in a string must be escaped`, 1},
		{"a key twice", `{"a":1,"a":2}`, nil, `line 1: column "a" is there twice`, 1},
		{"a null and a value", `{"a":null,"a":2}`, nil, `line 1: column "a" is there twice`, 1},
		{"a value and a null", `{"a":2,"a":null}`, nil, `line 1: column "a" is there twice`, 1},
		{"two timestamps", `{"timestamp":1,"timestamp":null}`, nil, `line 1: column "timestamp" is there twice`, 1},
		{"nested object", `{"a":{}}`, nil, `line 1: column "a": nested values are not allowed`, 1},
		{"nested array", `{"a":[1]}`, nil, `line 1: column "a": nested values are not allowed`, 1},
		{"an empty name", `{"":1}`, nil, `line 1: column name is empty`, 1},
		{"not an object", "{\"a\":1}\n[1]", nil, `line 2: a JSON object was expected, not '['`, 2},
		{"two objects", `{"a":1}{"a":2}`, nil, `line 1: the end of the line was expected, not '{'`, 1},
		{"cut short", `{"a":1`, nil, `line 1: a comma or the end of the object was expected, but the line ends`, 1},
		{"a trailing comma", `{"a":1,}`, nil, `line 1: a quoted name was expected, not '}'`, 1},
		{"a leading zero", `{"a":01}`, nil, `line 1: column "a": "01" is not a JSON number`, 1},
		{"a bare dot", `{"a":1.}`, nil, `line 1: column "a": "1." is not a JSON number`, 1},
		{"NaN", `{"a":NaN}`, nil, `line 1: column "a": a value was expected, not 'N'`, 1},
	} {
		got, err := ndjsonOf(t, c.text, c.columns)
		if err != nil {
			got = err.Message
		}
		if got != c.want {
			t.Errorf("%s: %s\n  got  %s\n  want %s", c.name, c.text, got, c.want)
		}
		if err != nil && (err.Line != c.line || err.Code != 400 || err.Table != "m") || err == nil && c.line != 0 {
			t.Errorf("%s: %+v", c.name, err)
		}
	}
}

func TestMissing(t *testing.T) {
	b, _ := parse(t, "m,host=a v=1i 1\nm,host=a w=2.5 2")
	schema := schemaOf(t, api.Column{Name: "v", Type: api.Int64})
	missing, err := b.Missing(schema)
	if err != nil || len(missing) != 2 || missing[0] != (api.Column{Name: "host", Type: api.Tag}) ||
		missing[1] != (api.Column{Name: "w", Type: api.Float64}) {
		t.Errorf("missing %v, %v", missing, err)
	}
	_, err = b.Missing(schemaOf(t, api.Column{Name: "w", Type: api.Int64}))
	if err == nil || err.Line != 2 || err.Table != "m" ||
		err.Message != `line 2: column "w" of the table is int64, the value is float64` {
		t.Errorf("another type: %+v", err)
	}
	_, err = b.Missing(schemaOf(t, api.Column{Name: "host", Type: api.String}))
	if err == nil || err.Line != 1 || err.Message != `line 1: column "host" of the table is string, the value is tag` {
		t.Errorf("a tag that is a field: %+v", err)
	}
	var many []api.Column
	for i := range api.ColumnsMax - 2 {
		many = append(many, api.Column{Name: strings.Repeat("x", 1+i%100) + string(rune('a'+i/100)), Type: api.Int64})
	}
	if _, err = b.Missing(schemaOf(t, many...)); err == nil || err.Code != 400 {
		t.Errorf("too many columns: %v", err)
	}
}

func TestSmallestPrefix(t *testing.T) {
	b, _ := parse(t, "m b=1i 1")
	schema := schemaOf(t, api.Column{Name: "a", Type: api.Int64}, api.Column{Name: "b", Type: api.Int64},
		api.Column{Name: "c", Type: api.Int64})
	p := columnar.SmallestPrefix(schema, []*columnar.Batch{b})
	if p.Len() != 3 || p.Fingerprint(3) != schema.Fingerprint(3) {
		t.Errorf("prefix of %d columns", p.Len())
	}
}

// TestI7_NullsAreBounded: rows that leave out nearly all columns cannot take memory without bound.
func TestI7_NullsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("{")
	for i := range 1900 {
		text.WriteString(`"c` + strings.Repeat("x", i%60) + string(rune(0x100+i/60)) + `":1,`)
	}
	text.WriteString("\"z\":1}\n" + strings.Repeat("{\"z\":1}\n", 20_000))
	_, err := columnar.ParseNDJSON([]byte(text.String()), "m", 0)
	if err == nil || err.Code != 413 || err.Table != "m" {
		t.Errorf("%v", err)
	}
}
