package columnar

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/seed-551dd829/braid/internal/api"
)

// ParseNDJSON reads one JSON object a line into a batch: `timestamp` is integer nanoseconds or RFC
// 3339 (now if it is absent); a number without dot or exponent is an int64, unless the column is
// float64 already; a string is a string field, unless the table has a tag of that name (see
// Missing); null is absent. The first bad line refuses the whole, and the error names it.
func ParseNDJSON(data []byte, table string, now int64) (*Batch, *api.Error) {
	p := &ndjsonParser{batch: NewBatch(table, nil), now: now, nulls: map[string]bool{}}
	for line := 1; len(data) > 0; line++ {
		var text []byte
		text, data, _ = bytes.Cut(data, []byte{'\n'})
		p.line = line
		if err := p.row(text); err != nil {
			p.batch.Release()
			return nil, err.AtLine(line).InTable(table)
		}
	}
	if err := p.batch.Finish(); err != nil {
		p.batch.Release()
		return nil, err
	}
	return p.batch, nil
}

type ndjsonParser struct {
	batch *Batch
	now   int64
	line  int
	s     jsonScanner
	nulls map[string]bool // keys of the row that were null
	keys  []jsonKey       // of the row before, in its order: the most likely ones of the next row
	timed bool            // the row has had its timestamp
	time  int64
}

type jsonKey struct {
	name   string
	column *Column
}

func invalid(err error) *api.Error { return api.Errorf(api.Invalid, "%v", err) }

func (p *ndjsonParser) row(text []byte) *api.Error {
	s := &p.s
	s.b, s.pos = text, 0
	if s.space(); s.pos == len(text) {
		return nil
	}
	if !s.take('{') {
		return invalid(s.unexpected("a JSON object"))
	}
	p.timed, p.time = false, p.now
	clear(p.nulls)
	if !s.take('}') {
		for n := 0; ; n++ {
			if err := p.member(n); err != nil {
				return err
			}
			if s.take('}') {
				break
			}
			if !s.take(',') {
				return invalid(s.unexpected("a comma or the end of the object"))
			}
		}
	}
	if s.space(); s.pos != len(text) {
		return invalid(s.unexpected("the end of the line"))
	}
	p.batch.EndRow(p.time)
	return nil
}

// member takes one key and its value.
func (p *ndjsonParser) member(n int) *api.Error {
	s := &p.s
	if !s.take('"') {
		return invalid(s.unexpected("a quoted name"))
	}
	name, err := s.str(&s.keyText)
	if err != nil {
		return invalid(err)
	}
	if !s.take(':') {
		return invalid(s.unexpected("a colon"))
	}
	kind, text, err := s.value()
	if err != nil {
		return api.Errorf(api.Invalid, "column %q: %v", name, err)
	}
	if string(name) == api.TimestampColumn {
		return p.timestamp(kind, text)
	}
	if len(p.nulls) > 0 && p.nulls[string(name)] {
		return api.Errorf(api.Invalid, "column %q is there twice", name)
	}
	if kind == jsonNull {
		if c := p.batch.lookup(name); c != nil && c.n > p.batch.rows {
			return api.Errorf(api.Invalid, "column %q is there twice", name)
		}
		p.nulls[string(name)] = true
		return nil
	}
	return p.put(n, name, kind, text)
}

// column returns the column of a name, nil if there is none yet.
func (p *ndjsonParser) column(n int, name []byte) *Column {
	if n < len(p.keys) && p.keys[n].name == string(name) {
		return p.keys[n].column
	}
	return p.batch.lookup(name)
}

func (p *ndjsonParser) remember(n int, c *Column) {
	for len(p.keys) <= n {
		p.keys = append(p.keys, jsonKey{})
	}
	p.keys[n] = jsonKey{c.Name, c}
}

func (p *ndjsonParser) put(n int, name []byte, kind jsonKind, text []byte) *api.Error {
	v, err := parseJSONValue(kind, text)
	if err != nil {
		return api.Errorf(api.Invalid, "column %q: %v", name, err)
	}
	c := p.column(n, name)
	if c == nil {
		var e *api.Error
		if c, e = p.batch.Column(name, v.kind, p.line); e != nil {
			return e
		}
		if v.kind == api.Int64 || v.kind == api.String {
			c.soft = new(soft)
		}
	}
	p.remember(n, c)
	numbers := (v.kind == api.Int64 || v.kind == api.Float64) && (c.Type == api.Int64 || c.Type == api.Float64)
	if c.Type != v.kind && !numbers {
		return typeClash(c.Name, v.kind, c.Type, c.FirstLine)
	}
	row, ok := p.batch.rows, false
	switch v.kind {
	case api.Boolean:
		ok = c.PutBool(row, kind == jsonTrue)
	case api.String:
		ok = c.PutString(row, text)
	case api.Int64:
		ok = c.putInteger(row, v.integer, v.integer == 0 && text[0] == '-')
	case api.Float64:
		ok = c.putFloat(row, v.float, p.line)
	}
	if !ok {
		return c.Refusal()
	}
	return nil
}

type jsonValue struct {
	kind    api.ColumnType
	integer int64
	float   float64
}

func parseJSONValue(kind jsonKind, text []byte) (v jsonValue, err error) {
	switch kind {
	case jsonString:
		return jsonValue{kind: api.String}, nil
	case jsonTrue, jsonFalse:
		return jsonValue{kind: api.Boolean}, nil
	}
	number := unsafe.String(unsafe.SliceData(text), len(text))
	if !bytes.ContainsAny(text, ".eE") {
		v.kind = api.Int64
		if v.integer, err = strconv.ParseInt(number, 10, 64); err != nil {
			return v, fmt.Errorf("%s is out of the range of int64", api.Quote(text))
		}
		return v, nil
	}
	v.kind = api.Float64
	if v.float, err = strconv.ParseFloat(number, 64); err != nil {
		return v, fmt.Errorf("%s is out of the range of float64", api.Quote(text))
	}
	return v, nil
}

func (p *ndjsonParser) timestamp(kind jsonKind, text []byte) *api.Error {
	if p.timed {
		return api.Errorf(api.Invalid, "column %q is there twice", api.TimestampColumn)
	}
	p.timed = true
	switch kind {
	case jsonNull:
		return nil
	case jsonNumber:
		if bytes.ContainsAny(text, ".eE") {
			break
		}
		v, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return api.Errorf(api.Invalid, "timestamp %s is out of the range of int64", text)
		}
		p.time = v
		return nil
	case jsonString:
		t, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			break
		}
		v, ok := unixNano(t)
		if !ok {
			return api.Errorf(api.Invalid, "timestamp %q is out of range in nanoseconds", text)
		}
		p.time = v
		return nil
	}
	return api.Errorf(api.Invalid, "timestamp %s is neither integer nanoseconds nor RFC 3339", orWord(kind, text))
}

func orWord(kind jsonKind, text []byte) string {
	switch kind {
	case jsonTrue:
		return "true"
	case jsonFalse:
		return "false"
	}
	return api.Quote(text)
}

// unixNano is t.UnixNano with a check of its range.
func unixNano(t time.Time) (int64, bool) {
	return scale(t.Unix(), int64(time.Second), int64(t.Nanosecond()))
}

// scale is v*unit + rest, 0 <= rest < unit, if an int64 can hold it.
func scale(v, unit, rest int64) (int64, bool) {
	low := math.MinInt64 / unit
	switch {
	case v > math.MaxInt64/unit || v < low-1:
		return 0, false
	case v == low-1:
		// Below the range as it stands, but the rest may lift it back.
		d := low*unit - unit + rest // wraps around if it does not fit
		return d, rest > 0 && d < 0 && d <= low*unit
	}
	d := v * unit
	return d + rest, d <= math.MaxInt64-rest
}
