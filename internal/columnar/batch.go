package columnar

import (
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
)

// Batch is the rows of one write for one table, in typed columns in order of first appearance. It
// comes from a pool: whoever has it last releases it.
type Batch struct {
	table   string
	rows    int
	times   []int64
	columns []*Column          // the first of store
	store   []*Column          // with those of earlier uses, whose memory is used again
	layout  int                // so many of store had their names in one use: most likely this one's
	byName  map[string]*Column // of the layout, columns that this use does not have yet included
	budget  *int               // bytes of nulls that may still be added, shared by the batches of one request
	over    bool               // the budget is spent: the batch cannot be used
}

// BatchColumn is a column of a batch, and the physical line where it was seen first (0 where there
// are no lines).
type BatchColumn struct {
	api.Column
	FirstLine int
}

// What is worth keeping between two uses of a Batch: beyond it the memory is left to the garbage
// collector.
const (
	pooledBytesMax   = 16 << 20
	pooledColumnsMax = 256
)

// paddingBytesMax bounds the nulls of one request's batches. A table whose rows have few of its
// many columns could otherwise make gigabytes of a small payload.
const paddingBytesMax = 2 * api.UnpackedBytesMax

var batches = sync.Pool{New: func() any { return &Batch{byName: map[string]*Column{}} }}

// Budget is the memory for nulls that one request's batches share.
func Budget() *int {
	n := paddingBytesMax
	return &n
}

// NewBatch returns an empty batch for table. Batches of one request share a budget; nil is a budget
// of its own.
func NewBatch(table string, budget *int) *Batch {
	b := batches.Get().(*Batch)
	if budget == nil {
		budget = Budget()
	}
	b.table, b.budget = table, budget
	return b
}

// Release gives the batch back. Nobody may use it or its columns afterwards.
func (b *Batch) Release() {
	size := 8 * cap(b.times)
	for _, c := range b.columns {
		c.reset()
	}
	for _, c := range b.store {
		size += c.capBytes()
	}
	if size > pooledBytesMax || len(b.store) > pooledColumnsMax {
		return
	}
	b.columns = b.store[:0]
	b.table, b.rows, b.times, b.budget, b.over = "", 0, b.times[:0], nil, false
	batches.Put(b)
}

// Table returns the table's name.
func (b *Batch) Table() string { return b.table }

// Rows returns the number of finished rows.
func (b *Batch) Rows() int { return b.rows }

// Bytes is about what the rows take in memory, nulls included.
func (b *Batch) Bytes() int {
	n := 8 * len(b.times)
	for _, c := range b.columns {
		n += c.bytes() + (b.rows-c.n)*c.width()
	}
	return n
}

// Columns returns the columns in order of first appearance, without the timestamp.
func (b *Batch) Columns() []BatchColumn {
	out := make([]BatchColumn, len(b.columns))
	for i, c := range b.columns {
		out[i] = BatchColumn{c.Column, c.FirstLine}
	}
	return out
}

// Column returns the column of that name, adding it if it is new. It is Invalid if the name is not
// allowed, if the column has another type, or if the table would have too many columns.
func (b *Batch) Column(name []byte, t api.ColumnType, line int) (*Column, *api.Error) {
	if b.foreseen(name) {
		return b.appendColumn(name, t, line), nil
	}
	if c := b.lookup(name); c != nil {
		if c.Type != t {
			return nil, typeClash(c.Name, t, c.Type, c.FirstLine)
		}
		return c, nil
	}
	return b.addColumn(name, t, line)
}

// lookup returns the column of that name, nil if the batch has none.
func (b *Batch) lookup(name []byte) *Column {
	if c := b.byName[string(name)]; c != nil && c.batch != nil {
		return c
	}
	return nil
}

func (b *Batch) addColumn(name []byte, t api.ColumnType, line int) (*Column, *api.Error) {
	if len(b.columns)+2 > api.ColumnsMax {
		return nil, api.Errorf(api.Invalid, "column %q would be one more than the %d columns of a table", name,
			api.ColumnsMax)
	}
	if err := api.CheckColumn(string(name)); err != nil {
		return nil, api.Errorf(api.Invalid, "%v", err)
	}
	return b.appendColumn(name, t, line), nil
}

// appendColumn adds a column whose name is good, with the memory of an earlier use if there is
// some.
func (b *Batch) appendColumn(name []byte, t api.ColumnType, line int) *Column {
	if !b.foreseen(name) {
		b.foresee(name)
	}
	i := len(b.columns)
	b.columns = b.store[:i+1]
	c := b.store[i]
	c.Type, c.FirstLine, c.batch = t, line, b
	return c
}

// foreseen says whether name is good and the next column's, as it was in an earlier use.
func (b *Batch) foreseen(name []byte) bool {
	i := len(b.columns)
	return i < b.layout && b.store[i].Name == string(name)
}

// foresee makes name the next column's, and forgets what was foreseen from there on.
func (b *Batch) foresee(name []byte) {
	i := len(b.columns)
	for _, c := range b.store[i:max(i, b.layout)] {
		delete(b.byName, c.Name)
	}
	if i == len(b.store) {
		b.store = append(b.store, new(Column))
	}
	c := b.store[i]
	c.Name = string(name)
	b.byName[c.Name] = c
	b.layout = i + 1
}

// typeClash says that a value of type got met a column of type want.
func typeClash(name string, got, want api.ColumnType, firstLine int) *api.Error {
	if firstLine == 0 {
		return api.Errorf(api.Invalid, "column %q is %s, the value is %s", name, want, got)
	}
	return api.Errorf(api.Invalid, "column %q is %s since line %d, the value is %s", name, want, firstLine, got)
}

// EndRow finishes the row with its timestamp (nanoseconds since 1970).
func (b *Batch) EndRow(timestamp int64) {
	b.times = append(b.times, timestamp)
	b.rows++
}

// Finish fills the columns up to the last row. It is TooLarge when the rows with their nulls take
// too much memory.
func (b *Batch) Finish() *api.Error {
	for _, c := range b.columns {
		if c.n < b.rows && !c.pad(b.rows) {
			return b.tooLarge()
		}
	}
	return nil
}

func (b *Batch) tooLarge() *api.Error {
	e := api.Errorf(api.TooLarge, "the rows have too many columns without a value: with their nulls they would "+
		"take more than %d MB", paddingBytesMax>>20)
	return e.InTable(b.table)
}

func (b *Batch) spend(bytes int) bool {
	if b.over || bytes > *b.budget {
		b.over = true
		return false
	}
	*b.budget -= bytes
	return true
}
