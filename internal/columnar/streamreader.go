package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
)

// StreamReader reads what an arrow Writer wrote, record batch after record batch, and trusts none of it: each batch is
// checked as a group is, so that no bytes make it panic, or take more memory than a batch may have. A stream that ends
// before its end mark is an error, whatever it had until then.
type StreamReader struct {
	r       io.Reader
	columns []api.Column
	schema  []byte // its message
	// dictionaries are the last messages of each, in the order in which they came first. A writer leaves out a
	// dictionary that has not changed.
	dictionaries []dictionaryMessage
	err          error // of the last Next
}

type dictionaryMessage struct {
	id      int64
	message []byte
}

// What a stream may make its reader take. A batch has at most recordBytes and one write more, which is of a group.
const (
	metadataBytesMax = 4 << 20
	batchBytesMax    = 3 * api.UnpackedBytesMax
)

// NewStreamReader reads the schema of a stream. txid is the name of the column of TxIDs that was asked for, which must
// stand behind the timestamp; "" is none.
func NewStreamReader(r io.Reader, txid string) (*StreamReader, error) {
	s := &StreamReader{r: r}
	m, raw, err := s.message(nil)
	switch {
	case err != nil:
		return nil, err
	case m.kind != headerSchema:
		return nil, errors.New("the Arrow stream does not begin with a schema")
	}
	s.schema = raw
	if s.columns, err = m.columns(); err != nil {
		return nil, err
	}
	if err := checkColumns(s.columns, txid); err != nil {
		return nil, err
	}
	return s, nil
}

// checkColumns says why columns are not those of a table's rows.
func checkColumns(columns []api.Column, txid string) error {
	table := columns
	if txid != "" {
		if len(columns) < 2 || columns[1] != (api.Column{Name: txid, Type: api.Uint64}) {
			return fmt.Errorf("the Arrow stream has no TxIDs behind its %s", api.TimestampColumn)
		}
		table = slices.Delete(slices.Clone(columns), 1, 2)
	}
	_, err := api.NewSchema(table)
	return err
}

// Columns are the stream's, the timestamp first and the TxIDs, if they were asked for, behind it.
func (s *StreamReader) Columns() []api.Column { return s.columns }

// Next returns the rows of the next record batch, io.EOF behind the last one if the stream is whole.
func (s *StreamReader) Next() (*Rows, error) {
	if s.err != nil {
		return nil, s.err
	}
	rows, err := s.next()
	if err != nil {
		s.err = err
	}
	return rows, err
}

func (s *StreamReader) next() (*Rows, error) {
	for {
		m, raw, err := s.message(nil)
		if err != nil {
			return nil, err
		}
		switch m.kind {
		case headerDictionary:
			if err := s.remember(&m, raw); err != nil {
				return nil, err
			}
		case headerRecord:
			return decode(s.group(raw), s.columns, batchBytesMax)
		default:
			return nil, fmt.Errorf("the Arrow stream has a message of kind %d", m.kind)
		}
	}
}

// remember keeps a dictionary in place of the one before.
func (s *StreamReader) remember(m *ipcMessage, raw []byte) error {
	id := m.meta.i64Field(m.header, dictionaryID)
	if m.meta.err != nil {
		return m.meta.err
	}
	for i := range s.dictionaries {
		if s.dictionaries[i].id == id {
			s.dictionaries[i].message = raw
			return nil
		}
	}
	if len(s.dictionaries) >= len(s.columns) {
		return errors.New("the Arrow stream has more dictionaries than columns")
	}
	s.dictionaries = append(s.dictionaries, dictionaryMessage{id, raw})
	return nil
}

// group makes a stream of one record batch, as groups are.
func (s *StreamReader) group(record []byte) []byte {
	size := len(s.schema) + len(record) + 8
	for _, d := range s.dictionaries {
		size += len(d.message)
	}
	out := append(make([]byte, 0, size), s.schema...)
	for _, d := range s.dictionaries {
		out = append(out, d.message...)
	}
	out = append(out, record...)
	return binary.LittleEndian.AppendUint64(out, continuation) // and a length of 0: the end mark
}

// message reads a whole message, and returns it with its bytes. It is io.EOF at the end mark, if that is the end.
func (s *StreamReader) message(raw []byte) (m ipcMessage, _ []byte, err error) {
	if raw, err = s.read(raw, 8); err != nil {
		return m, nil, err
	}
	size := int64(int32(binary.LittleEndian.Uint32(raw[4:])))
	switch {
	case binary.LittleEndian.Uint32(raw) != continuation:
		return m, nil, errors.New("an Arrow message does not begin with its mark")
	case size == 0:
		return m, nil, s.end()
	case size < 0 || size > metadataBytesMax:
		return m, nil, fmt.Errorf("an Arrow message has %d bytes of metadata", size)
	}
	if raw, err = s.read(raw, size); err != nil {
		return m, nil, err
	}
	meta := flat{b: raw[8:]}
	body := meta.i64Field(meta.root(), messageBodyLength)
	switch {
	case meta.err != nil:
		return m, nil, meta.err
	case body < 0 || body > batchBytesMax:
		return m, nil, fmt.Errorf("an Arrow message has %d bytes", body)
	}
	if raw, err = s.read(raw, body); err != nil {
		return m, nil, err
	}
	stream := ipcStream{raw}
	m, _, err = stream.next()
	return m, raw, err
}

// read appends n bytes. It takes memory as they arrive, not as they are announced.
func (s *StreamReader) read(to []byte, n int64) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		at, piece := len(to), int(min(n, step))
		to = slices.Grow(to, piece)[:at+piece]
		if _, err := io.ReadFull(s.r, to[at:]); err != nil {
			return nil, cutShort(err)
		}
		n -= int64(piece)
	}
	return to, nil
}

// cutShort says that an end in the wrong place is no end. Errors of the connection stay what they are.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errCut, io.ErrUnexpectedEOF)
	}
	return err
}

// end is io.EOF if nothing stands behind the end mark.
func (s *StreamReader) end() error {
	var one [1]byte
	n, err := io.ReadFull(s.r, one[:])
	if n > 0 {
		return errors.New("the Arrow stream goes on behind its end")
	}
	return err
}

// columns reads a schema message: exactly the types that a table has.
func (m *ipcMessage) columns() ([]api.Column, error) {
	f := &m.meta
	at, n, err := m.fields()
	if err != nil {
		return nil, err
	}
	if n > api.ColumnsMax+1 {
		return nil, fmt.Errorf("the Arrow schema has %d columns", n)
	}
	columns := make([]api.Column, n)
	for i := range columns {
		var field ipcField
		f.readField(flatTable(f.follow(at+4*i)), &field)
		if f.err != nil {
			return nil, f.err
		}
		columns[i] = api.Column{Name: string(field.name), Type: field.columnType()}
		if columns[i].Type == 0 {
			return nil, unsupported(field.name)
		}
	}
	return columns, nil
}

// columnType is the type whose columns look like the field, 0 if there is none.
func (f *ipcField) columnType() api.ColumnType {
	for t := api.Timestamp; t <= api.String; t++ {
		if f.is(t) {
			return t
		}
	}
	return 0
}
