package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/seed-551dd829/braid/internal/api"
)

// Validate says whether ipc is a group's Arrow stream that every node can decode and whose values a
// gateway would have accepted: exactly the schema's columns (names and types; tags are
// dictionary<int32, utf8>), one dictionary per tag, exactly one record batch of exactly rows rows,
// nothing behind the end of the stream; buffers, offsets and dictionary indices in range; text
// UTF-8; floats finite; every row with a timestamp; at most api.UnpackedBytesMax when unpacked. The
// nullable flags of the schema do not matter, since the nulls themselves are checked.
//
// It trusts nothing: no bytes make it panic or take more memory than that.
func Validate(ipc []byte, schema api.Schema, rows int) error {
	n, err := check(ipc, schema.Columns(), api.UnpackedBytesMax)
	if err == nil && n != rows {
		err = fmt.Errorf("the Arrow stream has %d rows, the group says %d", n, rows)
	}
	return err
}

// check is Validate for any number of rows, which it returns, that unpack to at most limit bytes.
func check(ipc []byte, columns []api.Column, limit budget) (rows int, err error) {
	o := openers.Get().(*opener)
	o.memory.budget = limit
	err = o.open(ipc, columns)
	rows = o.rows
	o.release()
	return rows, err
}

var openers = sync.Pool{New: func() any { return &opener{seen: map[int64]bool{}} }}

// opener checks a group's stream; each column may use the memory of the one before.
type opener struct {
	memory  unpacker
	columns []openColumn
	rows    int
	tag     int            // the column of the latest dictionary
	seen    map[int64]bool // dictionaries of the schema
}

// openColumn is what is known of a column.
type openColumn struct {
	api.Column
	valid      []byte // nil if there is no null
	values     []byte // numbers or codes
	id         int64  // of its dictionary; then:
	known      bool
	dictionary int // its length
}

func (o *opener) release() {
	clear(o.columns)
	o.columns = o.columns[:0]
	o.memory.reset()
	if cap(o.memory.arena) <= pooledBytesMax {
		openers.Put(o)
	}
}

func (o *opener) open(ipc []byte, columns []api.Column) error {
	s := ipcStream{ipc}
	m, end, err := s.next()
	if err != nil {
		return err
	}
	if end || m.kind != headerSchema {
		return errors.New("the Arrow stream does not begin with a schema")
	}
	if err := o.schema(&m, columns); err != nil {
		return err
	}
	for {
		if m, end, err = s.next(); err != nil {
			return err
		}
		switch {
		case end:
			return errors.New("the Arrow stream has no record batch")
		case m.kind == headerDictionary:
			if err := o.dictionary(&m); err != nil {
				return err
			}
			continue
		case m.kind != headerRecord:
			return fmt.Errorf("the Arrow stream has a message of kind %d", m.kind)
		}
		break
	}
	if err := o.record(&m); err != nil {
		return err
	}
	if _, end, err = s.next(); err != nil {
		return fmt.Errorf("behind the record batch: %w", err)
	}
	if !end || len(s.b) > 0 {
		return errors.New("the Arrow stream goes on behind its only record batch")
	}
	return nil
}

// schema checks the fields without building anything from them: they must be those of the
// fingerprint.
func (o *opener) schema(m *ipcMessage, columns []api.Column) error {
	f := &m.meta
	at, n, err := m.fields()
	if err != nil {
		return err
	}
	if n != len(columns) {
		return fmt.Errorf("the Arrow schema has %d columns, the fingerprint names %d", n, len(columns))
	}
	o.columns, o.tag = o.columns[:0], 0
	clear(o.seen)
	for i, c := range columns {
		var field ipcField
		f.readField(flatTable(f.follow(at+4*i)), &field)
		if f.err != nil {
			return f.err
		}
		if string(field.name) != c.Name || !field.is(c.Type) {
			return fmt.Errorf("column %d of the Arrow schema (%s) is not the fingerprint's %q of type %s", i,
				api.Quote(field.name), c.Name, c.Type)
		}
		if c.Type == api.Tag {
			if o.seen[field.dictionary] {
				return fmt.Errorf("column %q shares its dictionary with another", c.Name)
			}
			o.seen[field.dictionary] = true
		}
		o.columns = append(o.columns, openColumn{Column: c, id: field.dictionary})
	}
	return o.memory.pay(f.copied)
}

// is says whether the field is how a group has a column of type t.
func (f *ipcField) is(t api.ColumnType) bool {
	if f.encoded != (t == api.Tag) || f.children != 0 || f.metadata != 0 {
		return false
	}
	switch t {
	case api.Timestamp:
		return f.kind == typeTimestamp && f.unit == unitNanosecond && string(f.zone) == timezoneUTC
	case api.Tag:
		return f.kind == typeUtf8 && f.indexBits == 32 && f.indexSign
	case api.Int64, api.Uint64:
		return f.kind == typeInt && f.bits == 64 && f.signed == (t == api.Int64)
	case api.Float64:
		return f.kind == typeFloat && f.precision == precisionDouble
	case api.Boolean:
		return f.kind == typeBool
	case api.String:
		return f.kind == typeUtf8
	}
	return false
}

// tagOf finds the column of a dictionary. Dictionaries mostly come in the order of their columns.
func (o *opener) tagOf(id int64) *openColumn {
	n := len(o.columns)
	for k := range n {
		i := (o.tag + 1 + k) % n
		if c := &o.columns[i]; c.Type == api.Tag && c.id == id {
			o.tag = i
			return c
		}
	}
	return nil
}

func (o *opener) dictionary(m *ipcMessage) error {
	id := m.meta.i64Field(m.header, dictionaryID)
	c := o.tagOf(id)
	switch {
	case c == nil:
		return fmt.Errorf("the Arrow stream has a dictionary %d of no column", id)
	case c.known || m.meta.byteField(m.header, dictionaryDelta) != 0:
		return fmt.Errorf("column %q has more than one dictionary", c.Name)
	}
	r, err := m.record(m.meta.table(m.header, dictionaryData), &o.memory)
	if err != nil {
		return err
	}
	nulls, err := r.node()
	if err != nil {
		return err
	}
	if nulls != 0 {
		return fmt.Errorf("the dictionary of column %q has a null", c.Name)
	}
	if _, err = r.buffer(0); err != nil {
		return err
	}
	if err = text(&r); err != nil {
		return fmt.Errorf("the dictionary of column %q: %w", c.Name, err)
	}
	c.known, c.dictionary = true, r.length
	o.memory.reset()
	return r.done()
}

// text checks the offsets and the text of a column of strings.
func text(r *ipcRecord) error {
	need := 4 * (r.length + 1)
	if r.length == 0 {
		need = 0
	}
	offs, err := r.buffer(need)
	if err != nil {
		return err
	}
	data, err := r.buffer(0)
	if err != nil {
		return err
	}
	return checkText(offs[:need], r.length, data)
}

var errText = errors.New("the text is not UTF-8")

func checkText(offs []byte, n int, data []byte) error {
	if n == 0 {
		return nil
	}
	first := u32At(offs, 0)
	last := first
	for i := 1; i <= n; i++ {
		end := u32At(offs, i)
		if end < last {
			return errors.New("an offset is below the one before")
		}
		last = end
	}
	if uint64(last) > uint64(len(data)) {
		return errors.New("an offset is behind the text")
	}
	if !utf8.Valid(data[first:last]) {
		return errText
	}
	for i := 1; i < n; i++ {
		// Valid text that is cut inside a character is not valid any more.
		if at := u32At(offs, i); at < last && !utf8.RuneStart(data[at]) {
			return errText
		}
	}
	return nil
}

func (o *opener) record(m *ipcMessage) error {
	r, err := m.record(m.header, &o.memory)
	if err != nil {
		return err
	}
	o.rows = r.length
	for i := range o.columns {
		c := &o.columns[i]
		if err := c.open(&r); err != nil {
			return fmt.Errorf("column %q: %w", c.Name, err)
		}
		o.memory.reset()
	}
	return r.done()
}

func (c *openColumn) open(r *ipcRecord) error {
	if err := c.openValidity(r); err != nil {
		return err
	}
	n := r.length
	var err error
	switch c.Type {
	case api.Tag:
		if !c.known {
			return errors.New("it has no dictionary")
		}
		if c.values, err = r.buffer(4 * n); err != nil {
			return err
		}
		return c.checkCodes(n)
	case api.Float64:
		if c.values, err = r.buffer(8 * n); err != nil {
			return err
		}
		return c.checkFinite(n)
	case api.Boolean:
		_, err = r.buffer(bitmapLen(n))
	case api.String:
		err = text(r)
	default:
		_, err = r.buffer(8 * n)
	}
	return err
}

func (c *openColumn) openValidity(r *ipcRecord) error {
	nulls, err := r.node()
	if err != nil {
		return err
	}
	need := 0
	if nulls > 0 {
		need = bitmapLen(r.length)
	}
	bitmap, err := r.buffer(need)
	if err != nil {
		return err
	}
	if nulls > 0 && c.Type == api.Timestamp {
		return errors.New("a row has no timestamp")
	}
	if len(bitmap) == 0 {
		return nil
	}
	if len(bitmap) < bitmapLen(r.length) || onesIn(bitmap, r.length) != r.length-nulls {
		return errors.New("its bitmap does not have the nulls that it claims")
	}
	if nulls > 0 {
		c.valid = bitmap
	}
	return nil
}

func (c *openColumn) isNull(row int) bool { return c.valid != nil && !bitAt(c.valid, row) }

// checkCodes checks that the rows that are not null have a code of the dictionary. Nulls may have
// any.
func (c *openColumn) checkCodes(n int) error {
	codes := c.values[:4*n]
	var highest uint32
	for i := 0; i+4 <= len(codes); i += 4 {
		highest = max(highest, binary.LittleEndian.Uint32(codes[i:]))
	}
	if int64(highest) < int64(c.dictionary) {
		return nil
	}
	for row := range n {
		if !c.isNull(row) && int64(u32At(codes, row)) >= int64(c.dictionary) {
			return fmt.Errorf("row %d has the code %d of a dictionary of %d values", row,
				int32(u32At(codes, row)), c.dictionary)
		}
	}
	return nil
}

// checkFinite checks that the rows that are not null are neither NaN nor infinite.
func (c *openColumn) checkFinite(n int) error {
	const exponent = 0x7ff << 52
	for row := range n {
		if u64At(c.values, row)&exponent == exponent && !c.isNull(row) {
			return fmt.Errorf("row %d is NaN or infinite", row)
		}
	}
	return nil
}
