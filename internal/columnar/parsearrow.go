package columnar

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/seed-551dd829/braid/internal/api"
)

// ParseArrow reads a client's Arrow IPC stream, of any number of record batches, into a batch. utf8
// and large_utf8 are string fields, dictionary-encoded ones are tags; smaller integers and float32
// are widened; the column `timestamp` is a timestamp of any unit, now where it is missing or null.
// Other types are Invalid with the column's name, and so are NaN, infinities, text that is not
// UTF-8, and whatever is malformed. It is TooLarge if it unpacks to more than api.UnpackedBytesMax.
func ParseArrow(data []byte, table string, now int64) (*Batch, *api.Error) {
	p := &arrowParser{batch: NewBatch(table, nil), now: now, dictionaries: map[int64]*arrowDictionary{}}
	p.memory.budget = api.UnpackedBytesMax
	err := p.stream(data)
	if err == nil {
		if e := p.batch.Finish(); e != nil {
			err = e
		}
	}
	if err == nil {
		return p.batch, nil
	}
	p.batch.Release()
	var e *api.Error
	switch {
	case errors.Is(err, errUnpacked):
		e = api.Errorf(api.TooLarge, "%v", err)
	case !errors.As(err, &e):
		e = api.Errorf(api.Invalid, "%v", err)
	}
	return nil, e.InTable(table)
}

type arrowParser struct {
	batch        *Batch
	now          int64
	memory       unpacker
	fields       []arrowField
	dictionaries map[int64]*arrowDictionary
	times        []int64 // of the record batch at hand
}

type arrowField struct {
	ipcField
	column *Column // nil for the timestamp
	kind   api.ColumnType
	codes  []uint32 // of a tag: what a dictionary's index is in the batch, plus one; 0 if it is not known yet
	serial int      // of the dictionary that codes belong to
}

// arrowDictionary is the values of a dictionary so far. A nil value is a null.
type arrowDictionary struct {
	values [][]byte
	serial int // grows when the dictionary is replaced
}

func (p *arrowParser) stream(data []byte) error {
	s := ipcStream{data}
	m, end, err := s.next()
	if err != nil {
		return err
	}
	if end || m.kind != headerSchema {
		return errors.New("the Arrow stream does not begin with a schema")
	}
	if err := p.schema(&m); err != nil {
		return err
	}
	for len(s.b) > 0 {
		if m, end, err = s.next(); err != nil {
			return err
		}
		switch {
		case end && len(s.b) > 0:
			return errors.New("the Arrow stream goes on behind its end")
		case end:
			return nil
		case m.kind == headerDictionary:
			err = p.dictionary(&m)
		case m.kind == headerRecord:
			err = p.record(&m)
		default:
			err = fmt.Errorf("the Arrow stream has a message of kind %d", m.kind)
		}
		if err != nil {
			return err
		}
	}
	return nil // a stream may end without its mark
}

func (p *arrowParser) schema(m *ipcMessage) error {
	fields, err := m.fields(api.ColumnsMax)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, f := range fields {
		name := string(f.name)
		if seen[name] {
			return fmt.Errorf("column %q is there twice", name)
		}
		seen[name] = true
		kind, ok := f.columnType()
		if (kind == api.Timestamp) != (name == api.TimestampColumn) || !ok {
			if name == api.TimestampColumn {
				return fmt.Errorf("column %q must be an Arrow timestamp", name)
			}
			return fmt.Errorf("column %q has an Arrow type that is not supported", name)
		}
		field := arrowField{ipcField: f, kind: kind}
		if kind != api.Timestamp {
			c, err := p.batch.Column(f.name, kind, 0)
			if err != nil {
				return err
			}
			field.column = c
		}
		p.fields = append(p.fields, field)
	}
	return nil
}

// columnType is the type of the column that takes the field's values.
func (f *ipcField) columnType() (t api.ColumnType, ok bool) {
	if f.children != 0 {
		return 0, false
	}
	text := f.kind == typeUtf8 || f.kind == typeLargeUtf8
	if f.encoded {
		return api.Tag, text && wholeBytes(f.indexBits)
	}
	switch {
	case text:
		return api.String, true
	case f.kind == typeInt && f.signed:
		return api.Int64, wholeBytes(f.bits)
	case f.kind == typeInt:
		return api.Uint64, wholeBytes(f.bits)
	case f.kind == typeFloat:
		return api.Float64, f.precision == precisionSingle || f.precision == precisionDouble
	case f.kind == typeBool:
		return api.Boolean, true
	case f.kind == typeTimestamp:
		return api.Timestamp, f.unit <= unitNanosecond
	}
	return 0, false
}

func wholeBytes(bits int) bool { return bits == 8 || bits == 16 || bits == 32 || bits == 64 }

// dictionary takes a dictionary's values: they replace those before, or (a delta) come behind them.
func (p *arrowParser) dictionary(m *ipcMessage) error {
	id := m.meta.i64Field(m.header, dictionaryID)
	var field *arrowField
	for i := range p.fields {
		if p.fields[i].encoded && p.fields[i].dictionary == id {
			field = &p.fields[i]
			break
		}
	}
	if field == nil {
		return fmt.Errorf("the Arrow stream has a dictionary %d of no column", id)
	}
	r, err := m.record(m.meta.table(m.header, dictionaryData), &p.memory)
	if err != nil {
		return err
	}
	d := p.dictionaries[id]
	if d == nil {
		d = new(arrowDictionary)
		p.dictionaries[id] = d
	}
	if m.meta.byteField(m.header, dictionaryDelta) == 0 {
		d.values = nil
		d.serial++
	}
	if err := p.memory.pay(int64(24 * r.length)); err != nil {
		return err
	}
	c, err := openText(&r, field.ipcField.kind)
	if err != nil {
		return fmt.Errorf("the dictionary of column %q: %w", field.name, err)
	}
	for row := range r.length {
		var v []byte
		if !c.isNull(row) {
			v = c.at(row)
		}
		d.values = append(d.values, v)
	}
	return r.done()
}

// arrowText is a column of text with offsets of 4 or 8 bytes.
type arrowText struct {
	valid, offs, data []byte
	wide              bool
}

func (c *arrowText) isNull(row int) bool { return c.valid != nil && !bitAt(c.valid, row) }

// at never returns nil.
func (c *arrowText) at(row int) []byte {
	if c.wide {
		return c.data[u64At(c.offs, row):u64At(c.offs, row+1)]
	}
	return c.data[u32At(c.offs, row):u32At(c.offs, row+1)]
}

func openText(r *ipcRecord, kind byte) (c arrowText, err error) {
	if c.valid, err = validity(r); err != nil {
		return c, err
	}
	if kind == typeUtf8 {
		c.offs, c.data, err = text(r)
	} else {
		c.wide = true
		c.offs, c.data, err = largeText(r)
	}
	if c.data == nil {
		c.data = []byte{}
	}
	return c, err
}

// validity reads the bitmap of the rows that have a value, nil if all have.
func validity(r *ipcRecord) ([]byte, error) {
	c := openColumn{}
	err := c.openValidity(r)
	return c.valid, err
}

// largeText is text with offsets of 8 bytes; what it unpacks to is bounded, so that they fit in 4.
func largeText(r *ipcRecord) (offs, data []byte, err error) {
	need := 8 * (r.length + 1)
	if r.length == 0 {
		need = 0
	}
	if offs, err = r.buffer(need); err != nil {
		return nil, nil, err
	}
	if data, err = r.buffer(0); err != nil || r.length == 0 {
		return offs, data, err
	}
	narrow := make([]uint32, r.length+1)
	for i := range narrow {
		at := u64At(offs, i)
		if at > uint64(len(data)) {
			return nil, nil, errors.New("an offset is behind the text")
		}
		narrow[i] = uint32(at)
	}
	return offs, data, checkText(arrow.GetBytes(narrow), r.length, data)
}

func (p *arrowParser) record(m *ipcMessage) error {
	r, err := m.record(m.header, &p.memory)
	if err != nil {
		return err
	}
	// A row without a timestamp of its own, or without any column, costs memory that the sender did
	// not send.
	if err := p.memory.pay(8 * int64(r.length)); err != nil {
		return err
	}
	p.times = p.times[:0]
	for i := range p.fields {
		f := &p.fields[i]
		if f.column == nil {
			err = p.timestamps(&r, f)
		} else {
			err = p.values(&r, f)
		}
		if err != nil {
			return fmt.Errorf("column %q: %w", f.name, err)
		}
	}
	for row := range r.length {
		if row < len(p.times) {
			p.batch.EndRow(p.times[row])
		} else {
			p.batch.EndRow(p.now)
		}
	}
	return r.done()
}

func (p *arrowParser) timestamps(r *ipcRecord, f *arrowField) error {
	valid, err := validity(r)
	if err != nil {
		return err
	}
	values, err := r.buffer(8 * r.length)
	if err != nil {
		return err
	}
	unit := int64([...]time.Duration{time.Second, time.Millisecond, time.Microsecond, time.Nanosecond}[f.unit])
	for row := range r.length {
		t := p.now
		if valid == nil || bitAt(valid, row) {
			v := int64(u64At(values, row))
			if v > math.MaxInt64/unit || v < math.MinInt64/unit {
				return fmt.Errorf("row %d: the timestamp %d is out of range in nanoseconds", p.batch.rows+row, v)
			}
			t = v * unit
		}
		p.times = append(p.times, t)
	}
	return nil
}

// values puts one column of a record batch into the batch.
func (p *arrowParser) values(r *ipcRecord, f *arrowField) error {
	switch f.kind {
	case api.String:
		c, err := openText(r, f.ipcField.kind)
		if err != nil {
			return err
		}
		return p.each(r, f, c.valid, func(at, row int) (bool, error) {
			return f.column.PutString(at, c.at(row)), nil
		})
	case api.Tag:
		return p.tags(r, f)
	}
	valid, err := validity(r)
	if err != nil {
		return err
	}
	if f.kind == api.Boolean {
		bits, err := r.buffer(bitmapLen(r.length))
		if err != nil {
			return err
		}
		return p.each(r, f, valid, func(at, row int) (bool, error) {
			return f.column.PutBool(at, bitAt(bits, row)), nil
		})
	}
	width := f.bits / 8
	if f.kind == api.Float64 {
		width = 4 * f.precision // 1 is single, 2 double
	}
	values, err := p.widened(r, width, 8)
	if err != nil {
		return err
	}
	return p.each(r, f, valid, func(at, row int) (bool, error) {
		word := widen(values[row*width:], width, f.signed)
		if f.kind == api.Float64 {
			v := math.Float64frombits(word)
			if width == 4 {
				v = float64(math.Float32frombits(uint32(word)))
			}
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return false, fmt.Errorf("row %d is NaN or infinite", at)
			}
			word = math.Float64bits(v)
		}
		return f.column.PutWord(at, word), nil
	})
}

// widened reads a buffer of values of width bytes and pays for what they take when they are wider.
func (p *arrowParser) widened(r *ipcRecord, width, wide int) ([]byte, error) {
	values, err := r.buffer(width * r.length)
	if err != nil {
		return nil, err
	}
	return values, p.memory.pay(int64(max(wide-width, 0)) * int64(r.length))
}

// widen reads a little-endian integer of width bytes.
func widen(b []byte, width int, signed bool) uint64 {
	var v uint64
	for i := width - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	if shift := 64 - 8*width; signed {
		v = uint64(int64(v<<shift) >> shift)
	}
	return v
}

// each calls put with the batch's row and the record's for every row that is not null.
func (p *arrowParser) each(r *ipcRecord, f *arrowField, valid []byte,
	put func(at, row int) (bool, error)) error {
	for row := range r.length {
		if valid != nil && !bitAt(valid, row) {
			continue
		}
		ok, err := put(p.batch.rows+row, row)
		if err != nil {
			return err
		}
		if !ok {
			return f.column.Refusal()
		}
	}
	return nil
}

func (p *arrowParser) tags(r *ipcRecord, f *arrowField) error {
	valid, err := validity(r)
	if err != nil {
		return err
	}
	width := f.indexBits / 8
	indices, err := p.widened(r, width, 4)
	if err != nil {
		return err
	}
	d := p.dictionaries[f.dictionary]
	if d == nil {
		d = new(arrowDictionary)
	}
	if f.serial != d.serial {
		f.codes, f.serial = f.codes[:0], d.serial
	}
	grown := max(len(d.values)-len(f.codes), 0)
	if err := p.memory.pay(4 * int64(grown)); err != nil { // several columns may share a dictionary
		return err
	}
	f.codes = appendZeros(f.codes, grown)
	return p.each(r, f, valid, func(at, row int) (bool, error) {
		index := widen(indices[row*width:], width, f.indexSign)
		if index >= uint64(len(d.values)) {
			return false, fmt.Errorf("row %d has the index %d of a dictionary of %d values", at, int64(index),
				len(d.values))
		}
		switch v := d.values[index]; {
		case v == nil:
			return true, nil
		case f.codes[index] != 0:
			return f.column.PutCode(at, f.codes[index]-1), nil
		case !f.column.PutTag(at, v):
			return false, nil
		}
		f.codes[index] = f.column.LastCode() + 1
		return true, nil
	})
}
