package columnar_test

import (
	"bytes"
	encodingcsv "encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

var kinds = []api.ColumnType{api.Tag, api.Int64, api.Uint64, api.Float64, api.Boolean, api.String}

// randomRows draws rows for a schema: a map per row, without its nulls, "timestamp" included.
func randomRows(r *rand.Rand, schema api.Schema, n int) []map[string]any {
	density := []float64{1, 1, 0.9, 0.5, 0.02}[r.IntN(5)]
	rows := make([]map[string]any, n)
	for i := range rows {
		row := map[string]any{"timestamp": int64(r.Uint64())}
		for _, c := range schema.Columns()[1:] {
			if r.Float64() < density {
				row[c.Name] = randomValue(r, c.Type)
			}
		}
		rows[i] = row
	}
	return rows
}

func randomValue(r *rand.Rand, t api.ColumnType) any {
	texts := []string{"", "a", "héllo", "a,b", `q"q`, "line\nbreak", " lead", "tab\tx", `\.`, "\x00", "日本", "x=y",
		strings.Repeat("long", 50), "\x01\x1f\x7f", " "}
	switch t {
	case api.Int64:
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, int64(r.Uint64())}[r.IntN(6)]
	case api.Uint64:
		return []uint64{0, 1, math.MaxUint64, r.Uint64()}[r.IntN(4)]
	case api.Float64:
		v := math.Float64frombits(r.Uint64())
		if math.IsNaN(v) || math.IsInf(v, 0) {
			v = 0.1
		}
		return []float64{0, math.Copysign(0, -1), 1, 1e21, 1e-7, 5e-324, math.MaxFloat64, v}[r.IntN(8)]
	case api.Boolean:
		return r.IntN(2) == 0
	case api.Tag:
		return texts[r.IntN(len(texts))] + strconv.Itoa(r.IntN(30))
	}
	return texts[r.IntN(len(texts))]
}

// batchOf puts rows into a batch, with the columns in random order.
func batchOf(tb testing.TB, r *rand.Rand, schema api.Schema, rows []map[string]any) *columnar.Batch {
	tb.Helper()
	b := columnar.NewBatch("m", nil)
	columns := schema.Columns()
	for i, row := range rows {
		for _, k := range r.Perm(len(columns)) {
			v, ok := row[columns[k].Name]
			if !ok || k == 0 {
				continue
			}
			c, err := b.Column([]byte(columns[k].Name), columns[k].Type, i+1)
			if err != nil {
				tb.Fatal(err)
			}
			var put bool
			switch v := v.(type) {
			case int64:
				put = c.PutWord(i, uint64(v))
			case uint64:
				put = c.PutWord(i, v)
			case float64:
				put = c.PutWord(i, math.Float64bits(v))
			case bool:
				put = c.PutBool(i, v)
			case string:
				if columns[k].Type == api.Tag {
					put = c.PutTag(i, []byte(v))
				} else {
					put = c.PutString(i, []byte(v))
				}
			}
			if !put {
				tb.Fatal(c.Refusal())
			}
		}
		b.EndRow(row["timestamp"].(int64))
	}
	if err := b.Finish(); err != nil {
		tb.Fatal(err)
	}
	return b
}

func randomSchema(tb testing.TB, r *rand.Rand) api.Schema {
	var columns []api.Column
	for i := range r.IntN(12) {
		columns = append(columns, api.Column{Name: fmt.Sprintf("c\"%d,é", i), Type: kinds[r.IntN(len(kinds))]})
	}
	return schemaOf(tb, columns...)
}

func sameValue(a, b any) bool {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if ok1 && ok2 {
		return math.Float64bits(x) == math.Float64bits(y)
	}
	return a == b
}

// TestRoundTrip: random batches, merged, come back from the group with every value and every null
// as it was; Validate agrees, and arrow-go reads the same.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		schema := randomSchema(t, r)
		var all []map[string]any
		var batches []*columnar.Batch
		for range 1 + r.IntN(4)*r.IntN(3) {
			rows := randomRows(r, schema, 1+r.IntN(1<<r.IntN(9)))
			all = append(all, rows...)
			batches = append(batches, batchOf(t, r, schema, rows))
		}
		stream := encode(t, schema, batches...)
		for _, b := range batches {
			b.Release()
		}
		if err := columnar.Validate(stream, schema, len(all)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkRows(t, schema, stream, all)
		for i, row := range readArrow(t, stream) {
			for _, c := range schema.Columns() {
				want := all[i][c.Name]
				if s, ok := want.(string); ok && c.Type == api.Tag {
					want = "tag:" + s
				}
				if !sameValue(row[c.Name], want) {
					t.Fatalf("seed %d row %d %s: %v, want %v", seed, i, c.Name, row[c.Name], want)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkRows(t *testing.T, schema api.Schema, stream []byte, want []map[string]any) {
	t.Helper()
	rows, err := columnar.Decode(stream, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Release()
	if rows.Len() != len(want) {
		t.Fatalf("%d rows, want %d", rows.Len(), len(want))
	}
	for i := range want {
		for k, c := range schema.Columns() {
			v, ok := want[i][c.Name]
			if ok == rows.IsNull(k, i) || ok && !sameValue(rows.Value(k, i), v) {
				t.Fatalf("row %d %s differs, want %v", i, c.Name, v)
			}
		}
	}
}

// TestWriters: NDJSON, CSV and Arrow give every value back exactly, with and without a TxID column,
// also for rows of an older and shorter schema.
func TestWriters(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		older := randomSchema(t, r)
		schema := schemaOf(t, append(append([]api.Column(nil), older.Columns()[1:]...),
			api.Column{Name: "new", Type: api.Float64}, api.Column{Name: "newtag", Type: api.Tag})...)
		var want []map[string]any
		txid, txidName := seed%2 == 0, ""
		if txid {
			txidName = "txid"
		}
		outs := map[string]*bytes.Buffer{}
		writers := map[string]columnar.Writer{}
		for _, format := range []string{"ndjson", "csv", "arrow"} {
			outs[format] = new(bytes.Buffer)
			w, err := columnar.NewWriter(outs[format], format, schema, txidName)
			if err != nil {
				t.Fatal(err)
			}
			writers[format] = w
		}
		for i := range uint64(r.IntN(4)) {
			s := older
			if i > 1 {
				s = schema
			}
			rows := randomRows(r, s, 5+r.IntN(300))
			decoded, err := columnar.Decode(encode(t, s, batchOf(t, r, s, rows)), s)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range writers {
				if err := w.Write(decoded, 2, len(rows)-1, i+1); err != nil {
					t.Fatal(err)
				}
			}
			decoded.Release()
			for _, row := range rows[2 : len(rows)-1] {
				if txid {
					row["txid"] = i + 1
				}
				want = append(want, row)
			}
		}
		for _, w := range writers {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		checkNDJSON(t, schema, outs["ndjson"].Bytes(), want)
		checkCSV(t, schema, outs["csv"].String(), want, txid)
		rows := readArrow(t, outs["arrow"].Bytes())
		if len(rows) != len(want) {
			t.Fatalf("arrow: %d rows, want %d", len(rows), len(want))
		}
		for i, row := range rows {
			for _, c := range schema.Columns() {
				v := want[i][c.Name]
				if s, ok := v.(string); ok && c.Type == api.Tag {
					v = "tag:" + s
				}
				if !sameValue(row[c.Name], v) {
					t.Fatalf("arrow row %d %s: %v, want %v", i, c.Name, row[c.Name], v)
				}
			}
			if txid && row["txid"] != want[i]["txid"] {
				t.Fatalf("arrow row %d: txid %v", i, row["txid"])
			}
		}
	}
}

func checkNDJSON(t *testing.T, schema api.Schema, out []byte, want []map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	for i, row := range want {
		var got map[string]any
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(row) {
			t.Fatalf("ndjson row %d: %v, want %v", i, got, row)
		}
		for name, v := range row {
			k, _ := schema.Index(name)
			if n, ok := got[name].(json.Number); ok {
				if !sameValue(fromText(t, v, n.String()), v) {
					t.Fatalf("ndjson row %d, column %d: %v, want %v", i, k, n, v)
				}
			} else if got[name] != v {
				t.Fatalf("ndjson row %d, column %d: %v, want %v", i, k, got[name], v)
			}
		}
	}
	if d.More() {
		t.Fatal("ndjson: rows are left")
	}
}

// fromText parses text as a value of v's type.
func fromText(t *testing.T, v any, text string) any {
	t.Helper()
	var out any
	var err error
	switch v.(type) {
	case int64:
		out, err = strconv.ParseInt(text, 10, 64)
	case uint64:
		out, err = strconv.ParseUint(text, 10, 64)
	case float64:
		out, err = strconv.ParseFloat(text, 64)
	case bool:
		out, err = strconv.ParseBool(text)
	default:
		out = text
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func checkCSV(t *testing.T, schema api.Schema, out string, want []map[string]any, txid bool) {
	t.Helper()
	// A null and an empty string look the same to encoding/csv: mark the latter.
	out = strings.ReplaceAll(out, `,"",`, `,EMPTY,`)
	out = strings.NewReplacer(`,"",`, `,EMPTY,`, `,""`+"\n", ",EMPTY\n").Replace(out)
	records, err := encodingcsv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(want)+1 {
		t.Fatalf("csv: %d records", len(records))
	}
	for k, name := range records[0] {
		if k == 0 && name != "timestamp" || txid && k == 1 && name != "txid" {
			t.Fatalf("csv header %q", records[0])
		}
		for i, row := range want {
			cell := records[i+1][k]
			v, ok := row[name]
			if cell == "EMPTY" {
				cell = ""
			} else if (cell == "") == ok {
				t.Fatalf("csv row %d %s: %q, want %v", i, name, cell, v)
			}
			if ok && !sameValue(fromText(t, v, cell), v) {
				t.Fatalf("csv row %d %s: %q, want %v", i, name, cell, v)
			}
		}
	}
}

func TestWriterDetails(t *testing.T) {
	b, schema := parse(t, "m,t=a f=-0,s=\"\" 1\nm f=1e21,s=\"x\" 2\nm f=1 3")
	rows, err := columnar.Decode(encode(t, schema, b), schema)
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"ndjson": `{"timestamp":1,"t":"a","f":-0,"s":""}` + "\n" + `{"timestamp":2,"f":1e+21,"s":"x"}` + "\n" +
			`{"timestamp":3,"f":1}` + "\n",
		"csv": "timestamp,t,f,s\n1,a,-0,\"\"\n2,,1e+21,x\n3,,1,\n",
	} {
		var out bytes.Buffer
		w, err := columnar.NewWriter(&out, format, schema, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(rows, 0, 3, 1); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s: %q, want %q", format, out.String(), want)
		}
	}
	if _, err := columnar.NewWriter(nil, "parquet", schema, ""); !api.IsName(err, api.Invalid) {
		t.Errorf("an unknown format: %v", err)
	}
}
