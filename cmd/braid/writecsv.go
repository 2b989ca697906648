package main

import (
	"context"
	csvtext "encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/seed-551dd829/braid/client"
)

// csvFile is a CSV file with a header on its way into a table.
type csvFile struct {
	w       *fileWriter
	in      *csvtext.Reader
	header  []string
	kinds   map[string]client.Kind // what is known of the columns: the table's, then what values have shown
	records []csvRecord            // of the write at hand
}

type csvRecord struct {
	line  int
	cells []string
}

// table writes a CSV file. A column has the type that the table has; one that the table does not have gets what all of
// its values in the first write can be: an integer, a float, a boolean, else a string; a tag if --symbols names it.
func (w *fileWriter) table(ctx context.Context, in io.Reader) error {
	f := &csvFile{w: w, in: csvtext.NewReader(in), kinds: make(map[string]client.Kind)}
	if err := f.begin(ctx); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	for {
		cells, err := f.in.Read()
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w\n%s", w.name, err, "What stands before the last write's end is stored")
		}
		if err == nil {
			line, _ := f.in.FieldPos(0)
			f.records = append(f.records, csvRecord{line, cells})
		}
		full := len(f.records) >= w.cmd.Rows || f.in.InputOffset()-w.bytes >= int64(w.cmd.Bytes)
		if len(f.records) > 0 && (err == io.EOF || full) {
			if err := f.send(ctx); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (f *csvFile) begin(ctx context.Context) (err error) {
	if f.header, err = f.in.Read(); err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	f.header[0] = trimMark(f.header[0])
	for i, name := range f.header {
		if slices.Contains(f.header[:i], name) {
			return fmt.Errorf("column %q is there twice", name)
		}
	}
	for _, name := range f.w.cmd.Symbols {
		if !slices.Contains(f.header, name) {
			return fmt.Errorf("--symbols: the header has no column %q", name)
		}
		f.kinds[name] = client.KindTag
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	columns, err := f.w.client.Table(f.w.cmd.Table).Columns(ctx)
	for _, c := range columns {
		f.kinds[c.Name] = c.Kind
	}
	return err
}

// trimMark takes off the mark that some programs put in front of UTF-8.
func trimMark(s string) string {
	if len(s) >= 3 && s[:3] == "\ufeff" {
		return s[3:]
	}
	return s
}

func (f *csvFile) send(ctx context.Context) error {
	w := f.w
	first, last := f.records[0].line, f.records[len(f.records)-1].line
	rows, err := f.build()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, w.upTo(first, last))
	}
	ctx, cancel := context.WithTimeout(ctx, w.cmd.Timeout)
	defer cancel()
	if err := w.note(w.client.Table(w.cmd.Table).Write(ctx, rows)); err != nil {
		return w.explain(err, first, last)
	}
	f.records = f.records[:0]
	w.bytes = f.in.InputOffset()
	w.bar.show(w.bytes, w.done.Rows, false)
	return nil
}

func (f *csvFile) build() (*client.Builder, error) {
	for i, name := range f.header {
		if f.kinds[name] == client.KindNull && name != f.w.cmd.Timestamp {
			f.kinds[name] = f.guess(i)
		}
	}
	rows := client.NewRows()
	for _, r := range f.records {
		if err := f.row(rows, r); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (f *csvFile) row(rows *client.Builder, r csvRecord) error {
	at, timed := int64(0), false
	for i, cell := range r.cells {
		name := f.header[i]
		var err error
		switch {
		case cell == "": // a null
		case name == f.w.cmd.Timestamp:
			timed = true
			at, err = parseTime(cell, f.w.cmd.Unit)
		default:
			err = setCell(rows, name, f.kinds[name], cell)
		}
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			return fmt.Errorf("%s:%d: column %q: %w", f.w.name, r.line, name, err)
		}
	}
	if timed {
		rows.AtNanos(at)
	} else {
		rows.AtNow()
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", f.w.name, r.line, err)
	}
	return nil
}

// guess is what all values of a column can be.
func (f *csvFile) guess(column int) client.Kind {
	for _, k := range []client.Kind{client.KindInt64, client.KindFloat64, client.KindBool} {
		some, all := false, true
		for _, r := range f.records {
			if cell := r.cells[column]; cell != "" {
				some = true
				all = all && setCell(client.NewRows(), "v", k, cell) == nil
			}
		}
		if some && all {
			return k
		}
		if !some {
			return client.KindNull // later writes may tell
		}
	}
	return client.KindString
}

// setCell puts a cell into the row at hand.
func setCell(rows *client.Builder, name string, k client.Kind, cell string) (err error) {
	switch k {
	case client.KindTag:
		rows.Symbol(name, cell)
	case client.KindInt64:
		var v int64
		if v, err = strconv.ParseInt(cell, 10, 64); err == nil {
			rows.Int64(name, v)
		}
	case client.KindUint64:
		var v uint64
		if v, err = strconv.ParseUint(cell, 10, 64); err == nil {
			rows.Uint64(name, v)
		}
	case client.KindFloat64:
		var v float64
		if v, err = strconv.ParseFloat(cell, 64); err == nil {
			rows.Float64(name, v)
		}
	case client.KindBool:
		switch cell {
		case "true", "false":
			rows.Bool(name, cell == "true")
		default:
			err = strconv.ErrSyntax
		}
	default:
		rows.String(name, cell)
	}
	if err != nil {
		return fmt.Errorf("%q is not %s: %w", cell, k, cause(err))
	}
	return nil
}

// cause is what strconv found wrong, without the name of its function.
func cause(err error) error {
	if e := new(strconv.NumError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// units are nanoseconds.
var units = map[string]int64{"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}

func parseTime(cell, unit string) (int64, error) {
	if unit == "rfc3339" {
		t, err := time.Parse(time.RFC3339Nano, cell)
		return t.UnixNano(), err
	}
	n, err := strconv.ParseInt(cell, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time in %s: %w", cell, unit, cause(err))
	}
	factor := units[unit]
	if n*factor/factor != n {
		return 0, fmt.Errorf("%q %s is out of range", cell, unit)
	}
	return n * factor, nil
}
