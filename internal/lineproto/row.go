package lineproto

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
)

// row reads the rest of a row.
func (p *parser) row(t *table) *api.Error {
	n, err := p.tags(t)
	if err != nil {
		return err
	}
	p.inFields = true
	row := t.batch.Rows()
	for more := true; more; n++ {
		if n < len(t.slots) && p.plainInt(&t.slots[n], row) {
			if more = p.peek() == ','; more {
				p.pos++
			}
		} else if more, err = p.field(t, n); err != nil {
			return err
		}
	}
	timestamp, err := p.timestamp()
	if err != nil {
		return err
	}
	t.batch.EndRow(timestamp)
	return nil
}

// tags reads the tags and the spaces behind them, and returns how many there were.
func (p *parser) tags(t *table) (int, *api.Error) {
	row := t.batch.Rows()
	for n := 0; ; n++ {
		switch p.peek() {
		case ' ':
			p.skipSpaces()
			return n, nil
		case ',':
			p.pos++
		default:
			return n, p.unexpected("a tag or the fields were expected")
		}
		if n < len(t.slots) && p.plainTag(&t.slots[n], row) {
			continue
		}
		c, name, err := p.columnKey(t, n, "tag")
		if err != nil {
			return n, err
		}
		if c == nil {
			if c, err = p.newColumn(t, n, name, api.Tag); err != nil {
				return n, err
			}
		}
		if c.Type != api.Tag {
			return n, clash(c, api.Tag)
		}
		if err := p.tagValue(&t.slots[n], row); err != nil {
			return n, err
		}
	}
}

// tagValue reads the value of s's column.
func (p *parser) tagValue(s *slot, row int) *api.Error {
	c, start := s.column, p.pos
	v, ok := p.token(&p.value, endsKey, escapedInKey)
	switch {
	case !ok:
		return api.Errorf(api.Invalid, "tag %q: the value %q is not UTF-8", c.Name, v)
	case len(v) == 0:
		return api.Errorf(api.Invalid, "tag %q has no value", c.Name)
	case !c.PutTag(row, v):
		return c.Refusal()
	}
	s.value, s.code = p.data[start:p.pos], c.LastCode()
	return nil
}

// columnKey reads a key and its "=". The n-th key of a row is most likely that of the row before;
// otherwise only its name is returned.
func (p *parser) columnKey(t *table, n int, what string) (*columnar.Column, []byte, *api.Error) {
	if n < len(t.slots) {
		s := &t.slots[n]
		rest := p.data[p.pos:]
		if len(rest) > len(s.raw) && string(rest[:len(s.raw)]) == string(s.raw) {
			p.pos += len(s.raw)
			return s.column, nil, nil
		}
	}
	start := p.pos
	name, ok := p.token(&p.key, endsKey, escapedInKey)
	switch {
	case !ok:
		return nil, nil, api.Errorf(api.Invalid, "the %s name %q is not UTF-8", what, name)
	case len(name) == 0:
		return nil, nil, p.unexpected("the name of a " + what + " was expected")
	case p.peek() != '=':
		return nil, nil, p.unexpected("a = was expected behind the " + what + " " + api.Quote(name))
	}
	p.pos++
	p.raw = p.data[start:p.pos]
	return nil, name, nil
}

// newColumn finds the column of a name that was not foreseen, and foresees it for the next row.
func (p *parser) newColumn(t *table, n int, name []byte, kind api.ColumnType) (
	*columnar.Column, *api.Error) {
	c, err := t.batch.Column(name, kind, p.start)
	if err != nil {
		return nil, err
	}
	for len(t.slots) <= n {
		t.slots = append(t.slots, slot{raw: p.raw, column: c})
	}
	t.slots[n] = slot{raw: p.raw, column: c}
	return c, nil
}

func clash(c *columnar.Column, got api.ColumnType) *api.Error {
	return api.Errorf(api.Invalid, "column %q is %s since line %d, the value is %s", c.Name, c.Type,
		c.FirstLine, got)
}

// field reads one field and what is behind it; more says that another follows.
func (p *parser) field(t *table, n int) (more bool, err *api.Error) {
	c, name, err := p.columnKey(t, n, "field")
	if err != nil {
		return false, err
	}
	v, err := p.fieldValue()
	if err != nil {
		if c != nil {
			name = []byte(c.Name)
		}
		return false, api.Errorf(err.Name, "field %q: %s", name, err.Message)
	}
	if c == nil {
		if c, err = p.newColumn(t, n, name, v.kind); err != nil {
			return false, err
		}
	} else if c.Type != v.kind {
		return false, clash(c, v.kind)
	}
	if !put(c, t.batch.Rows(), v) {
		return false, c.Refusal()
	}
	if p.peek() == ',' {
		p.pos++
		return true, nil
	}
	if p.pos < len(p.data) && classes[p.data[p.pos]]&endsValue == 0 {
		return false, p.unexpected(fmt.Sprintf("a comma or a space was expected behind the field %q", c.Name))
	}
	return false, nil
}

func put(c *columnar.Column, row int, v fieldValue) bool {
	switch v.kind {
	case api.Boolean:
		return c.PutBool(row, v.word != 0)
	case api.String:
		return c.PutString(row, v.text)
	}
	return c.PutWord(row, v.word)
}

// fieldValue is a number or a boolean in word, a string in text.
type fieldValue struct {
	kind api.ColumnType
	word uint64
	text []byte
}

func (p *parser) fieldValue() (fieldValue, *api.Error) {
	switch c := p.peek(); {
	case '0' <= c && c <= '9', c == '-', c == '.':
		return parseNumber(p.word())
	case c == '"':
		p.pos++
		text, closed := p.quoted()
		if !closed {
			p.open = true
			return fieldValue{}, api.Errorf(api.Invalid, "the string has no closing quote")
		}
		if !utf8.Valid(text) {
			return fieldValue{}, api.Errorf(api.Invalid, "the string is not UTF-8")
		}
		return fieldValue{kind: api.String, text: text}, nil
	case c == 't', c == 'T', c == 'f', c == 'F':
		return p.boolean()
	}
	return fieldValue{}, p.unexpected("a number, a boolean or a quoted string was expected")
}

func (p *parser) boolean() (fieldValue, *api.Error) {
	v := fieldValue{kind: api.Boolean}
	switch word := p.word(); string(word) {
	case "t", "T", "true", "True", "TRUE":
		v.word = 1
	case "f", "F", "false", "False", "FALSE":
	default:
		return v, api.Errorf(api.Invalid, "%q is not a boolean", word)
	}
	return v, nil
}

// word takes the bytes of a value that is not a string.
func (p *parser) word() []byte {
	i := p.pos
	for i < len(p.data) && classes[p.data[i]]&endsValue == 0 {
		i++
	}
	w := p.data[p.pos:i]
	p.pos = i
	return w
}

// timestamp reads what is behind the fields, the end of the line included.
func (p *parser) timestamp() (int64, *api.Error) {
	p.skipSpaces()
	if p.endOfLine() {
		return p.options.Now, nil
	}
	w := p.word()
	v, ok := parseInt(w)
	if !ok {
		return 0, api.Errorf(api.Invalid, "%q is not a timestamp", w)
	}
	p.skipSpaces()
	if v > math.MaxInt64/p.options.Precision || v < math.MinInt64/p.options.Precision {
		return 0, api.Errorf(api.Invalid, "the timestamp %d is out of range in nanoseconds", v)
	}
	if !p.endOfLine() {
		return 0, p.unexpected("nothing was expected behind the timestamp")
	}
	return v * p.options.Precision, nil
}

func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

// unexpected says what stands at the parser's place instead of what was expected.
func (p *parser) unexpected(expected string) *api.Error {
	switch {
	case p.pos >= len(p.data):
		return api.Errorf(api.Invalid, "%s, but the payload ends", expected)
	case p.data[p.pos] == '\n' || p.data[p.pos] == '\r':
		return api.Errorf(api.Invalid, "%s, but the line ends", expected)
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	return api.Errorf(api.Invalid, "%s, not %q", expected, r)
}
