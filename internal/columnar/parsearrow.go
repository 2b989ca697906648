package columnar

import (
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/seed-551dd829/braid/internal/api"
)

// ParseArrow reads a client's Arrow IPC stream, of any number of record batches, into a batch. utf8
// and large_utf8 are string fields, dictionary-encoded ones are tags; smaller integers and float32
// are widened; the column `timestamp` is a timestamp of any unit, now where it is missing or null.
// Other types are Invalid with the column's name, and so are NaN, infinities, text that is not
// UTF-8, and whatever is malformed. It is TooLarge if it unpacks to more than api.UnpackedBytesMax.
func ParseArrow(data []byte, table string, now int64) (*Batch, *api.Error) {
	p := &arrowParser{batch: NewBatch(table, nil), now: now, dictionaries: map[int64]int64{}, work: deltaBytesMax}
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
	work         budget          // bytes of dictionaries that may still be copied for the sake of deltas
	dictionaries map[int64]int64 // the size of each so far, in bytes
	fields       []arrowField
	wider        int     // bytes that a row takes more in the batch than in the stream
	times        []int64 // of the record batch at hand
}

// deltaBytesMax bounds work, not memory: with each delta a dictionary is copied as a whole.
const deltaBytesMax = 16 * api.UnpackedBytesMax

type arrowField struct {
	name       string
	column     *Column         // nil for the timestamp
	codes      []uint32        // of a tag: what a dictionary's index is in the batch, plus one; 0 if it is not known yet
	dictionary arrow.ArrayData // that codes belong to
}

// stream reads record batches with arrow-go. Every message is checked before arrow-go sees it; what
// an array of it points at is not, but it is read with Go's bounds checks.
func (p *arrowParser) stream(data []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the Arrow stream is malformed: %v", r)
		}
	}()
	if len(data) == 0 {
		return errCut
	}
	source := &messages{stream: ipcStream{data}, check: p.check}
	r, err := ipc.NewReaderFromMessageReader(source)
	if err == nil {
		err = p.schema(r.Schema())
	}
	for err == nil && r.Next() {
		err = p.record(r.RecordBatch())
	}
	switch {
	case source.err != nil:
		return source.err // arrow-go wraps it
	case err == nil:
		err = r.Err()
	}
	if err == io.EOF {
		return errCut
	}
	return err
}

// check is what stands between a sender's bytes and arrow-go.
func (p *arrowParser) check(m *ipcMessage) error {
	switch m.kind {
	case headerSchema:
		return p.checkSchema(m)
	case headerDictionary:
		left := p.memory.budget
		r, err := m.record(m.meta.table(m.header, dictionaryData), &p.memory)
		if err == nil {
			err = r.checkAll()
		}
		if err != nil {
			return err
		}
		id := m.meta.i64Field(m.header, dictionaryID)
		if m.meta.byteField(m.header, dictionaryDelta) == 0 {
			p.dictionaries[id] = 0
		} else if err := p.work.pay(p.dictionaries[id]); err != nil {
			return err
		}
		p.dictionaries[id] += int64(left - p.memory.budget)
		return nil
	case headerRecord:
		r, err := m.record(m.header, &p.memory)
		if err != nil {
			return err
		}
		// A row without a timestamp of its own, or without any column, costs memory that the sender
		// did not send.
		if err := p.memory.pay(int64(r.length) * int64(8+p.wider)); err != nil {
			return err
		}
		return r.checkAll()
	}
	return fmt.Errorf("the Arrow stream has a message of kind %d", m.kind)
}

// checkSchema keeps from arrow-go what could make it take memory without bound.
func (p *arrowParser) checkSchema(m *ipcMessage) error {
	at, n, err := m.fields()
	if err != nil {
		return err
	}
	if n > api.ColumnsMax {
		return fmt.Errorf("the Arrow schema has %d columns, at most %d are allowed", n, api.ColumnsMax)
	}
	for i := range n {
		var f ipcField
		m.meta.readField(flatTable(m.meta.follow(at+4*i)), &f)
		if m.meta.err == nil && f.children != 0 {
			return unsupported(f.name)
		}
	}
	if m.meta.err != nil {
		return m.meta.err
	}
	return p.memory.pay(m.meta.copied)
}

func unsupported[T string | []byte](name T) error {
	return fmt.Errorf("column %s has an Arrow type that is not supported", api.Quote(name))
}

func (p *arrowParser) schema(s *arrow.Schema) error {
	seen := map[string]bool{}
	for _, f := range s.Fields() {
		if seen[f.Name] {
			return fmt.Errorf("column %s is there twice", api.Quote(f.Name))
		}
		seen[f.Name] = true
		kind, ok := columnType(f.Type)
		if (kind == api.Timestamp) != (f.Name == api.TimestampColumn) || !ok {
			if f.Name == api.TimestampColumn {
				return fmt.Errorf("column %q must be an Arrow timestamp", f.Name)
			}
			return unsupported(f.Name)
		}
		field := arrowField{name: f.Name}
		if kind != api.Timestamp {
			c, err := p.batch.Column([]byte(f.Name), kind, 0)
			if err != nil {
				return err
			}
			field.column = c
			if t, ok := f.Type.(arrow.FixedWidthDataType); ok {
				p.wider += max(columnWidth(kind)-t.Bytes(), 0)
			}
		}
		p.fields = append(p.fields, field)
	}
	return nil
}

// columnType is the type of the column that takes values of an Arrow type.
func columnType(t arrow.DataType) (c api.ColumnType, ok bool) {
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return api.Int64, true
	case arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return api.Uint64, true
	case arrow.FLOAT32, arrow.FLOAT64:
		return api.Float64, true
	case arrow.BOOL:
		return api.Boolean, true
	case arrow.STRING, arrow.LARGE_STRING:
		return api.String, true
	case arrow.TIMESTAMP:
		return api.Timestamp, true
	case arrow.DICTIONARY:
		c, ok := columnType(t.(*arrow.DictionaryType).ValueType)
		return api.Tag, ok && c == api.String
	}
	return 0, false
}

func (p *arrowParser) record(r arrow.RecordBatch) error {
	rows := int(r.NumRows())
	p.times = p.times[:0]
	for i := range p.fields {
		f := &p.fields[i]
		err := checkLength(r.Column(i))
		if err == nil {
			err = p.values(f, r.Column(i))
		}
		if err != nil {
			return fmt.Errorf("column %q: %w", f.name, err)
		}
	}
	for row := range rows {
		if row < len(p.times) {
			p.batch.EndRow(p.times[row])
		} else {
			p.batch.EndRow(p.now)
		}
	}
	return nil
}

// checkLength checks the length of a buffer of values, which arrow-go does not: behind it may stand
// other bytes of the stream.
func checkLength(a arrow.Array) error {
	t, ok := a.DataType().(arrow.FixedWidthDataType)
	if !ok || a.Len() == 0 {
		return nil
	}
	need, b := (a.Len()*t.BitWidth()+7)/8, a.Data().Buffers()[1]
	if b.Len() < need {
		return fmt.Errorf("an Arrow buffer has %d bytes instead of %d", b.Len(), need)
	}
	return nil
}

// values puts one column of a record batch into the batch.
func (p *arrowParser) values(f *arrowField, a arrow.Array) error {
	switch a := a.(type) {
	case *array.Timestamp:
		return p.timestamps(a)
	case *array.Int8:
		return putIntegers(p, f, a)
	case *array.Int16:
		return putIntegers(p, f, a)
	case *array.Int32:
		return putIntegers(p, f, a)
	case *array.Int64:
		return putIntegers(p, f, a)
	case *array.Uint8:
		return putIntegers(p, f, a)
	case *array.Uint16:
		return putIntegers(p, f, a)
	case *array.Uint32:
		return putIntegers(p, f, a)
	case *array.Uint64:
		return putIntegers(p, f, a)
	case *array.Float32:
		return putFloats(p, f, a)
	case *array.Float64:
		return putFloats(p, f, a)
	case *array.Boolean:
		return put(p, f, a, func(row int, v bool) (bool, error) { return f.column.PutBool(row, v), nil })
	case *array.String:
		return putTexts(p, f, a)
	case *array.LargeString:
		return putTexts(p, f, a)
	case *array.Dictionary:
		return p.tags(f, a)
	}
	return fmt.Errorf("the Arrow type %s is not supported", a.DataType())
}

// arrayOf is the arrays of one type of arrow-go.
type arrayOf[T any] interface {
	arrow.Array
	Value(int) T
}

// put calls store with the batch's row for every row that is not null.
func put[T any](p *arrowParser, f *arrowField, a arrayOf[T], store func(row int, v T) (bool, error)) error {
	for i := range a.Len() {
		if a.IsNull(i) {
			continue
		}
		ok, err := store(p.batch.rows+i, a.Value(i))
		if err != nil {
			return err
		}
		if !ok {
			return f.column.Refusal()
		}
	}
	return nil
}

func putIntegers[T arrow.IntType | arrow.UintType](p *arrowParser, f *arrowField, a arrayOf[T]) error {
	return put(p, f, a, func(row int, v T) (bool, error) { return f.column.PutWord(row, uint64(v)), nil })
}

func putFloats[T float32 | float64](p *arrowParser, f *arrowField, a arrayOf[T]) error {
	return put(p, f, a, func(row int, v T) (bool, error) {
		if w := float64(v); math.IsNaN(w) || math.IsInf(w, 0) {
			return false, fmt.Errorf("row %d is NaN or infinite", row)
		}
		return f.column.PutWord(row, math.Float64bits(float64(v))), nil
	})
}

func putTexts(p *arrowParser, f *arrowField, a arrayOf[string]) error {
	return put(p, f, a, func(row int, v string) (bool, error) {
		if !utf8.ValidString(v) {
			return false, errText
		}
		return f.column.PutString(row, []byte(v)), nil
	})
}

func (p *arrowParser) timestamps(a *array.Timestamp) error {
	unit := int64(a.DataType().(*arrow.TimestampType).Unit.Multiplier())
	for row := range a.Len() {
		t := p.now
		if !a.IsNull(row) {
			v := int64(a.Value(row))
			if v > math.MaxInt64/unit || v < math.MinInt64/unit {
				return fmt.Errorf("row %d: the timestamp %d is out of range in nanoseconds", p.batch.rows+row, v)
			}
			t = v * unit
		}
		p.times = append(p.times, t)
	}
	return nil
}

func (p *arrowParser) tags(f *arrowField, a *array.Dictionary) error {
	values := a.Dictionary().(arrayOf[string])
	n := values.Len()
	if d := values.Data(); d != f.dictionary {
		// Several columns may share a dictionary.
		if err := errors.Join(p.memory.pay(4*int64(max(n-cap(f.codes), 0))), p.work.pay(4*int64(n))); err != nil {
			return err
		}
		f.codes, f.dictionary = appendZeros(f.codes[:0], n), d
	}
	for row := range a.Len() {
		if a.IsNull(row) {
			continue
		}
		at, index := p.batch.rows+row, a.GetValueIndex(row)
		if index < 0 || index >= n {
			return fmt.Errorf("row %d has the index %d of a dictionary of %d values", at, index, n)
		}
		ok := true
		switch {
		case values.IsNull(index):
		case f.codes[index] != 0:
			ok = f.column.PutCode(at, f.codes[index]-1)
		case !utf8.ValidString(values.Value(index)):
			return errText
		default:
			ok = f.column.PutTag(at, []byte(values.Value(index)))
			f.codes[index] = f.column.LastCode() + 1
		}
		if !ok {
			return f.column.Refusal()
		}
	}
	return nil
}
