package cluster

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/segment"
)

// comparedRows is how many rows of a group are read in every format.
const comparedRows = 300

// readEverywhere decodes the group as nodes do and prints it in every format: all of them, and Arrow's own reader, give
// the same values.
func readEverywhere(t testing.TB, frame []byte, schema api.Schema, r *api.LogRecord) {
	t.Helper()
	g, err := segment.ParseGroup(frame)
	if err != nil || g.Header.Table != r.Table || len(g.Header.Writes) != int(r.Writes) {
		t.Fatalf("%v: the record does not describe its group: %+v, %+v", err, r, g.Header)
	}
	rows, err := columnar.Decode(g.Arrow, schema)
	if err != nil || rows.Len() != g.Header.Rows() {
		t.Fatalf("a primary admits what nodes cannot read: %v", err)
	}
	defer rows.Release()
	n := min(rows.Len(), comparedRows)
	want := make([][]string, n)
	for row := range n {
		for c := range schema.Len() {
			want[row] = append(want[row], cell(rows, c, row))
		}
	}
	printed := map[string][]byte{}
	for _, format := range []string{"ndjson", "csv", "arrow"} {
		var out bytes.Buffer
		w, err := columnar.NewWriter(&out, format, schema, "")
		if err == nil {
			err = w.Write(rows, 0, n, r.First)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		printed[format] = out.Bytes()
	}
	same(t, "Arrow's reader", want, arrowCells(t, g.Arrow, n))
	same(t, "arrow", want, arrowCells(t, printed["arrow"], n))
	same(t, "ndjson", want, jsonCells(t, printed["ndjson"], schema))
	same(t, "csv", plainCells(want), csvCells(t, printed["csv"], schema))
}

func same(t testing.TB, what string, want, got [][]string) {
	t.Helper()
	if !slices.EqualFunc(want, got, slices.Equal) {
		t.Fatalf("%s gives %q, want %q", what, got, want)
	}
}

const null = "null"

func cell(rows *columnar.Rows, column, row int) string {
	if rows.IsNull(column, row) {
		return null
	}
	switch v := rows.Value(column, row).(type) {
	case float64:
		return floatCell(v)
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
}

func floatCell(v float64) string { return fmt.Sprintf("%016x", math.Float64bits(v)) }

func arrowCells(t testing.TB, stream []byte, most int) (out [][]string) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for r.Next() {
		b := r.RecordBatch()
		for row := 0; row < int(b.NumRows()) && len(out) < most; row++ {
			var cells []string
			for _, c := range b.Columns() {
				cells = append(cells, arrowCell(c, row))
			}
			out = append(out, cells)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func arrowCell(c arrow.Array, row int) string {
	if c.IsNull(row) {
		return null
	}
	switch c := c.(type) {
	case *array.Timestamp:
		return strconv.FormatInt(int64(c.Value(row)), 10)
	case *array.Float64:
		return floatCell(c.Value(row))
	case *array.String:
		return strconv.Quote(c.Value(row))
	case *array.Dictionary:
		return strconv.Quote(c.Dictionary().(*array.String).Value(c.GetValueIndex(row)))
	}
	return c.ValueStr(row)
}

func jsonCells(t testing.TB, text []byte, schema api.Schema) (out [][]string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for d.More() {
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		var cells []string
		for _, c := range schema.Columns() {
			switch v := row[c.Name].(type) {
			case nil:
				cells = append(cells, null)
			case string:
				cells = append(cells, strconv.Quote(v))
			case json.Number:
				cells = append(cells, numberCell(t, c.Type, v.String()))
			default:
				cells = append(cells, fmt.Sprint(v))
			}
		}
		out = append(out, cells)
	}
	return out
}

func numberCell(t testing.TB, kind api.ColumnType, text string) string {
	t.Helper()
	if kind != api.Float64 {
		return text
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return floatCell(v)
}

// plainCells are cells as encoding/csv can tell them: a null is like an empty string, and CR LF like LF.
func plainCells(rows [][]string) (out [][]string) {
	for _, row := range rows {
		cells := slices.Clone(row)
		for i, c := range cells {
			if text, err := strconv.Unquote(c); err == nil {
				cells[i] = strings.ReplaceAll(text, "\r\n", "\n")
			} else if c == null {
				cells[i] = ""
			}
		}
		out = append(out, cells)
	}
	return out
}

func csvCells(t testing.TB, text []byte, schema api.Schema) [][]string {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(records) == 0 || len(records[0]) != schema.Len() {
		t.Fatalf("CSV of %d lines: %v", len(records), err)
	}
	for _, row := range records[1:] {
		for i, c := range schema.Columns() {
			if c.Type == api.Float64 && row[i] != "" {
				row[i] = numberCell(t, c.Type, row[i])
			}
		}
	}
	return records[1:]
}
