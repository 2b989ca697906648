package columnar_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/lineproto"
)

// parse reads line protocol of one table, and returns its batch and the schema it would create.
func parse(tb testing.TB, text string) (*columnar.Batch, api.Schema) {
	tb.Helper()
	result, err := lineproto.Parse([]byte(text), lineproto.Options{Now: 7})
	if err != nil {
		tb.Fatal(err)
	}
	if result[0].Err != nil {
		tb.Fatal(result[0].Err)
	}
	return result[0].Batch, schemaFor(tb, result[0].Batch)
}

func schemaFor(tb testing.TB, b *columnar.Batch) api.Schema {
	tb.Helper()
	missing, err := b.Missing(api.Schema{})
	if err != nil {
		tb.Fatal(err)
	}
	return schemaOf(tb, missing...)
}

func schemaOf(tb testing.TB, columns ...api.Column) api.Schema {
	tb.Helper()
	s, err := api.NewSchema(append([]api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}, columns...))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func encode(tb testing.TB, schema api.Schema, batches ...*columnar.Batch) []byte {
	tb.Helper()
	out, err := columnar.Encode(nil, schema, batches)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// readArrow reads a stream with arrow-go: rows of column name to value, nil for null.
func readArrow(tb testing.TB, stream []byte) (rows []map[string]any) {
	tb.Helper()
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Release()
	for r.Next() {
		rec := r.RecordBatch()
		for i := range int(rec.NumRows()) {
			row := map[string]any{}
			for k, f := range rec.Schema().Fields() {
				row[f.Name] = arrowValue(tb, rec.Column(k), i)
			}
			rows = append(rows, row)
		}
	}
	if err := r.Err(); err != nil {
		tb.Fatal(err)
	}
	return rows
}

func arrowValue(tb testing.TB, a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.Int64:
		return a.Value(i)
	case *array.Uint64:
		return a.Value(i)
	case *array.Float64:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.String:
		return a.Value(i)
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Dictionary:
		return "tag:" + a.Dictionary().(*array.String).Value(a.GetValueIndex(i))
	}
	tb.Fatalf("unexpected array %T", a)
	return nil
}

func TestEncodeIsReadByArrow(t *testing.T) {
	b, schema := parse(t, "cpu,host=a,dc=x v=1i,f=1.5,u=18446744073709551615u 1\n"+
		"cpu,host=b b=t,s=\"hello\",f=-0 2\ncpu,host=a v=-3i,s=\"\",b=false\n")
	rows := readArrow(t, encode(t, schema, b))
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	want := []map[string]any{
		{"timestamp": int64(1), "host": "tag:a", "dc": "tag:x", "v": int64(1), "f": 1.5, "u": uint64(1<<64 - 1),
			"b": nil, "s": nil},
		{"timestamp": int64(2), "host": "tag:b", "dc": nil, "v": nil, "f": 0.0, "u": nil, "b": true, "s": "hello"},
		{"timestamp": int64(7), "host": "tag:a", "dc": nil, "v": int64(-3), "f": nil, "u": nil, "b": false, "s": ""},
	}
	for i := range want {
		for name, v := range want[i] {
			if rows[i][name] != v {
				t.Errorf("row %d, %s: %v, want %v", i, name, rows[i][name], v)
			}
		}
	}
}

func TestEncodeMergesBatches(t *testing.T) {
	schema := schemaOf(t, api.Column{Name: "host", Type: api.Tag}, api.Column{Name: "v", Type: api.Int64},
		api.Column{Name: "s", Type: api.String}, api.Column{Name: "b", Type: api.Boolean},
		api.Column{Name: "later", Type: api.Float64})
	texts := []string{"m,host=x v=1i 1", "m,host=y s=\"q\",v=2i 2\nm v=3i 3", "m,host=x b=t 4", "m s=\"z\" 5",
		"m,host=z b=f,v=9i 6\nm,host=y b=t 7"}
	var batches []*columnar.Batch
	for _, text := range texts {
		b, _ := parse(t, text)
		batches = append(batches, b)
	}
	rows := readArrow(t, encode(t, schema, batches...))
	hosts := []any{"tag:x", "tag:y", nil, "tag:x", nil, "tag:z", "tag:y"}
	vs := []any{int64(1), int64(2), int64(3), nil, nil, int64(9), nil}
	ss := []any{nil, "q", nil, nil, "z", nil, nil}
	bs := []any{nil, nil, nil, true, nil, false, true}
	for i, row := range rows {
		if row["timestamp"] != int64(i+1) || row["host"] != hosts[i] || row["v"] != vs[i] || row["s"] != ss[i] ||
			row["b"] != bs[i] || row["later"] != nil {
			t.Errorf("row %d: %v", i, row)
		}
	}
	if len(rows) != 7 {
		t.Fatalf("%d rows", len(rows))
	}
}

func TestEncodeLargeColumns(t *testing.T) {
	// More than one LZ4 block of 4 MB, one of them incompressible.
	r := rand.New(rand.NewPCG(1, 2))
	b := columnar.NewBatch("m", nil)
	defer b.Release()
	const rows = 700_000
	noise, _ := b.Column([]byte("noise"), api.Uint64, 1)
	flat, _ := b.Column([]byte("flat"), api.Int64, 1)
	for i := range rows {
		noise.PutWord(i, r.Uint64())
		flat.PutWord(i, 5)
		b.EndRow(int64(i))
	}
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	stream := encode(t, schemaFor(t, b), b)
	rd, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Release()
	if !rd.Next() {
		t.Fatal(rd.Err())
	}
	r = rand.New(rand.NewPCG(1, 2))
	rec := rd.RecordBatch()
	for i := range rows {
		if rec.Column(1).(*array.Uint64).Value(i) != r.Uint64() || rec.Column(2).(*array.Int64).Value(i) != 5 {
			t.Fatalf("row %d differs", i)
		}
	}
}
