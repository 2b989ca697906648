package client

import (
	"context"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// WriterRow is one row on its way into a Writer. It is for one goroutine, which ends it with At and then lets go of it. A
// mistake is returned by At, and harms no other row.
type WriterRow struct {
	w      *Writer
	table  string
	values []cell
}

type cell struct {
	name string
	kind api.ColumnType
	text string
	bits uint64
}

// Table begins a row.
func (w *Writer) Table(name string) *WriterRow {
	r := w.rows.Get().(*WriterRow)
	r.w, r.table = w, name
	return r
}

// Symbol sets a tag of the row, as Builder.Symbol does.
func (r *WriterRow) Symbol(name, v string) *WriterRow {
	return r.set(cell{name: name, kind: api.Tag, text: v})
}

// String sets a string field.
func (r *WriterRow) String(name, v string) *WriterRow {
	return r.set(cell{name: name, kind: api.String, text: v})
}

// Int64 sets an integer field.
func (r *WriterRow) Int64(name string, v int64) *WriterRow {
	return r.set(cell{name: name, kind: api.Int64, bits: uint64(v)})
}

// Uint64 sets an unsigned integer field.
func (r *WriterRow) Uint64(name string, v uint64) *WriterRow {
	return r.set(cell{name: name, kind: api.Uint64, bits: v})
}

// Float64 sets a float field, neither NaN nor infinite.
func (r *WriterRow) Float64(name string, v float64) *WriterRow {
	return r.set(cell{name: name, kind: api.Float64, bits: math.Float64bits(v)})
}

// Bool sets a boolean field.
func (r *WriterRow) Bool(name string, v bool) *WriterRow {
	x := cell{name: name, kind: api.Boolean}
	if v {
		x.bits = 1
	}
	return r.set(x)
}

func (r *WriterRow) set(v cell) *WriterRow {
	r.values = append(r.values, v)
	return r
}

// At ends the row with its time and gives it to the writer, which holds it in memory: that the row is stored, Flush
// tells. While the memory bound is reached it waits.
//
// Its errors: *InvalidError (ErrInvalid), the row is not taken; ErrOverloaded, it is not taken because ctx has ended, or
// because failed flushes must be picked up with Flush first; ErrClosed.
func (r *WriterRow) At(ctx context.Context, t time.Time) error {
	if err := checkTime(t); err != nil {
		defer r.release()
		return &InvalidError{Table: r.table, Message: err.Error()}
	}
	return r.AtNanos(ctx, t.UnixNano())
}

// AtNanos is At with the time in nanoseconds since 1970.
func (r *WriterRow) AtNanos(ctx context.Context, timestamp int64) error {
	defer r.release()
	if err := r.check(); err != nil {
		return &InvalidError{Table: r.table, Message: err.Error()}
	}
	return r.w.take(ctx, r, timestamp)
}

// AtNow is At with the time of this machine's clock.
func (r *WriterRow) AtNow(ctx context.Context) error { return r.At(ctx, time.Now()) }

func (r *WriterRow) release() {
	w := r.w
	clear(r.values)
	r.w, r.table, r.values = nil, "", r.values[:0]
	w.rows.Put(r)
}

// check finds what no table would take.
func (r *WriterRow) check() error {
	if err := api.CheckTable(r.table); err != nil {
		return err
	}
	if len(r.values) == 0 {
		return fmt.Errorf("the row has no value")
	}
	for i := range r.values {
		v := &r.values[i]
		f := math.Float64frombits(v.bits)
		switch {
		case v.kind == api.Float64 && (math.IsNaN(f) || math.IsInf(f, 0)):
			return fmt.Errorf("column %s: %v is not a number that can be stored", api.Quote(v.name), f)
		case !utf8.ValidString(v.text):
			return fmt.Errorf("column %s: the value %s is not UTF-8", api.Quote(v.name), api.Quote(v.text))
		}
	}
	return nil
}

// size is about what the row takes in memory.
func (r *WriterRow) size() int {
	n := 8
	for i := range r.values {
		if n += 8; r.values[i].kind == api.String {
			n += len(r.values[i].text)
		}
	}
	return n
}

// add puts a row that fits into the builder.
func (b *Builder) add(values []cell, timestamp int64) {
	for i := range values {
		switch v := &values[i]; v.kind {
		case api.Tag:
			b.Symbol(v.name, v.text)
		case api.String:
			b.String(v.name, v.text)
		case api.Boolean:
			b.Bool(v.name, v.bits == 1)
		default:
			b.word(v.name, v.kind, v.bits)
		}
	}
	b.AtNanos(timestamp)
}

// fits says why a row's columns are not ones of the builder's, or nil. In most rows they are those of the row before.
func (b *Builder) fits(values []cell) error {
	alike := len(values) <= len(b.slots)
	for i := 0; alike && i < len(values); i++ {
		alike = b.slots[i].Name == values[i].name && b.slots[i].Type == values[i].kind
	}
	if alike {
		return nil
	}
	types := make(map[string]api.ColumnType)
	for _, c := range b.columns.Columns() {
		types[c.Name] = c.Type
	}
	seen := make(map[string]bool)
	for i := range values {
		v := &values[i]
		t, known := types[v.name]
		switch {
		case seen[v.name]:
			return fmt.Errorf("column %s is there twice", api.Quote(v.name))
		case known && t != v.kind:
			return fmt.Errorf("column %s is %s in the rows before, the value is %s", api.Quote(v.name), t, v.kind)
		case !known:
			if err := api.CheckColumn(v.name); err != nil {
				return err
			}
			types[v.name] = v.kind
		}
		seen[v.name] = true
	}
	if len(types) >= api.ColumnsMax {
		return fmt.Errorf("%d columns, a table has at most %d", len(types)+1, api.ColumnsMax)
	}
	return nil
}
