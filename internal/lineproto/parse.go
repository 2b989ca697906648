// Package lineproto reads InfluxDB line protocol straight into typed columns. What is escaped where
// is that of github.com/influxdata/line-protocol/v2, which the tests use as an oracle;
// docs/formats/wire.md names the few differences. Nothing is allocated per row.
package lineproto

import (
	"bytes"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// Options say what the payload does not.
type Options struct {
	Precision int64  // nanoseconds in a unit of the timestamps; 0 is 1
	Now       int64  // of rows without a timestamp, nanoseconds since 1970
	Table     string // the only measurement that is allowed; "" allows any
}

// Entry is one table of a payload: its rows, or the error of its first bad line.
type Entry struct {
	Table string
	Batch *columnar.Batch // nil if Err is not
	Err   *api.Error
}

// Result has one entry per table, in order of first appearance.
type Result []Entry

// Release gives all batches back.
func (r Result) Release() {
	for i := range r {
		if r[i].Batch != nil {
			r[i].Batch.Release()
			r[i].Batch = nil
		}
	}
}

// tablesMax bounds the tables of one payload: each costs memory of its own.
const tablesMax = 10_000

// Parse reads a payload. An error refuses the whole of it: a line whose measurement cannot be read,
// an unterminated string with lines behind it (nobody can say which tables they belong to), or, if
// o.Table is set, any bad line. Else a bad line refuses its table alone. Errors carry the physical
// line where the row begins.
func Parse(data []byte, o Options) (Result, *api.Error) {
	p := parsers.Get().(*parser)
	defer p.release()
	p.data, p.line, p.options, p.budget = data, 1, o, columnar.Budget()
	if p.options.Precision == 0 {
		p.options.Precision = 1
	}
	err := p.run()
	if err == nil {
		err = p.finish()
	}
	result := make(Result, len(p.order))
	for i, t := range p.order {
		result[i] = Entry{Table: t.name, Batch: t.batch, Err: t.err}
		if t.err != nil {
			t.batch.Release()
			result[i].Batch = nil
		}
		t.release()
	}
	if err != nil {
		result.Release()
		return nil, err
	}
	return result, nil
}

type parser struct {
	data    []byte
	pos     int
	line    int // physical line of pos
	start   int // physical line where the row begins
	options Options
	tables  map[string]*table
	order   []*table
	last    *table // of the line before
	key     []byte // memory for an unescaped key
	value   []byte // memory for an unescaped value
	raw     []byte // the key that was read last as the payload spells it, "=" included
	budget  *int

	inFields bool // the row's fields have begun: quotes have a meaning
	open     bool // the row's error is a string that never ends
}

var parsers = sync.Pool{New: func() any { return &parser{tables: map[string]*table{}} }}

// What is worth keeping of a parser for another payload.
const (
	tablesPooledMax = 64
	bytesPooledMax  = 64 << 10
)

// release gives the parser's memory back. Nothing of the payload may stay referenced.
func (p *parser) release() {
	if len(p.order) > tablesPooledMax || cap(p.key)+cap(p.value) > bytesPooledMax {
		return
	}
	clear(p.tables)
	clear(p.order)
	*p = parser{tables: p.tables, order: p.order[:0], key: p.key[:0], value: p.value[:0]}
	parsers.Put(p)
}

// table is what the parser knows of a measurement.
type table struct {
	name  string
	raw   []byte // as the payload spells it, if that is without a backslash
	batch *columnar.Batch
	err   *api.Error
	slots []slot // the columns of the row before, in its order: the most likely ones of the next row
}

var tables = sync.Pool{New: func() any { return new(table) }}

// slotsPooledMax is how many slots are worth keeping for another payload.
const slotsPooledMax = 256

// release gives the table's memory back. Nothing of the payload may stay referenced.
func (t *table) release() {
	if cap(t.slots) > slotsPooledMax {
		return
	}
	clear(t.slots)
	*t = table{slots: t.slots[:0]}
	tables.Put(t)
}

// slot is a column, and what the payload had for it in the row before.
type slot struct {
	raw    []byte // the key as the payload spells it, "=" included
	column *columnar.Column
	value  []byte // of a tag, as the payload spells it
	code   uint32 // of value
}

func (p *parser) run() *api.Error {
	for p.skipBlank() {
		p.start = p.line
		t, err := p.measurement()
		if err != nil {
			if p.options.Table != "" {
				err = err.InTable(p.options.Table)
			}
			return err.AtLine(p.start)
		}
		if t.err != nil {
			if err := p.skipRow(t); err != nil {
				return err
			}
			continue
		}
		if err = p.row(t); err == nil {
			continue
		}
		err = err.AtLine(p.start).InTable(t.name)
		if p.options.Table != "" {
			return err
		}
		t.err = err
		if p.open && p.linesFollow() {
			return err
		}
		if err := p.skipRow(t); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) linesFollow() bool { return len(bytes.TrimSpace(p.data[p.lineEnd():])) > 0 }

func (p *parser) finish() *api.Error {
	for _, t := range p.order {
		if t.err == nil {
			t.err = t.batch.Finish()
		}
		if t.err != nil && p.options.Table != "" {
			return t.err
		}
	}
	return nil
}

// skipBlank moves to the next row; false at the end. Comments may hold anything.
func (p *parser) skipBlank() bool {
	for {
		p.skipSpaces()
		if p.pos >= len(p.data) {
			return false
		}
		switch c := p.data[p.pos]; {
		case c == '#':
			p.pos = p.lineEnd()
		case !p.endOfLine():
			return true
		}
	}
}

func (p *parser) skipSpaces() {
	for p.pos < len(p.data) && p.data[p.pos] == ' ' {
		p.pos++
	}
}

// lineEnd is the place of the next line feed, or the end.
func (p *parser) lineEnd() int {
	if i := bytes.IndexByte(p.data[p.pos:], '\n'); i >= 0 {
		return p.pos + i
	}
	return len(p.data)
}

// endOfLine takes a line break; true also at the end of the payload.
func (p *parser) endOfLine() bool {
	switch rest := p.data[p.pos:]; {
	case len(rest) == 0:
	case rest[0] == '\n':
		p.pos++
		p.line++
	case rest[0] == '\r' && len(rest) == 1:
		p.pos++
	case rest[0] == '\r' && rest[1] == '\n':
		p.pos += 2
		p.line++
	default:
		return false
	}
	return true
}

// skipRow moves behind a bad row. A string in its fields may hold line breaks, which do not end the
// row: what stands in a string must never be read as rows. An error refuses the whole payload.
func (p *parser) skipRow(t *table) *api.Error {
	for !p.inFields {
		if p.pos >= len(p.data) || p.data[p.pos] == '\n' {
			return nil
		}
		switch p.data[p.pos] {
		case '\\':
			if p.pos+1 < len(p.data) && p.data[p.pos+1] != '\n' {
				p.pos++
			}
		case ' ':
			p.inFields = true
		}
		p.pos++
	}
	for p.pos < len(p.data) && p.data[p.pos] != '\n' {
		if p.data[p.pos] == '"' && p.data[p.pos-1] == '=' {
			end, lines, closed := quoteEnd(p.data, p.pos+1)
			switch {
			case closed:
				p.pos, p.line = end, p.line+lines
			case p.linesFollow():
				e := api.Errorf(api.Invalid, "a string of the row has no closing quote")
				return e.AtLine(p.start).InTable(t.name)
			}
		}
		p.pos++
	}
	return nil
}

// quoteEnd finds the quote that ends a string beginning at pos, and counts the line feeds in it.
func quoteEnd(data []byte, pos int) (end, lines int, ok bool) {
	for ; pos < len(data); pos++ {
		switch data[pos] {
		case '"':
			return pos, lines, true
		case '\\':
			if pos+1 < len(data) && (data[pos+1] == '"' || data[pos+1] == '\\') {
				pos++
			}
		case '\n':
			lines++
		}
	}
	return pos, lines, false
}

// measurement reads the row's table.
func (p *parser) measurement() (*table, *api.Error) {
	p.inFields, p.open = false, false
	rest := p.data[p.pos:]
	if t := p.last; t != nil && len(t.raw) > 0 && len(rest) > len(t.raw) {
		n := len(t.raw)
		if (rest[n] == ',' || rest[n] == ' ') && string(rest[:n]) == string(t.raw) {
			p.pos += n
			return t, nil
		}
	}
	start := p.pos
	name, ok := p.token(&p.key, endsMeasurement, escapedInMeasurement)
	switch {
	case !ok:
		return nil, api.Errorf(api.Invalid, "the measurement %q is not UTF-8", name)
	case len(name) == 0:
		return nil, api.Errorf(api.Invalid, "a measurement cannot begin with %q", p.data[p.pos])
	}
	t := p.tables[string(name)]
	if t == nil {
		if p.options.Table != "" && string(name) != p.options.Table {
			return nil, api.Errorf(api.Invalid, "the measurement %q is not the table %q of the request", name,
				p.options.Table)
		}
		if len(p.order) >= tablesMax {
			return nil, api.Errorf(api.Invalid, "more than %d tables in one request", tablesMax)
		}
		t = tables.Get().(*table)
		t.name, t.raw, t.err = string(name), plain(p.data[start:p.pos]), nil
		t.batch = columnar.NewBatch(t.name, p.budget)
		if err := api.CheckTable(t.name); err != nil {
			t.err = api.Errorf(api.Invalid, "%v", err).AtLine(p.line).InTable(t.name)
		}
		p.tables[t.name] = t
		p.order = append(p.order, t)
	}
	p.last = t
	return t, nil
}

// plain is raw if it has no backslash, so that equal bytes in front of a separator are the same
// token; else nil.
func plain(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return nil
	}
	return raw
}
