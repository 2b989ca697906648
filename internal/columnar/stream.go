package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-551dd829/braid/internal/api"
)

// Reading Arrow IPC streams of unknown origin; the format is described at
// https://arrow.apache.org/docs/format/Columnar.html, "Serialization and Interprocess
// Communication". Every length is compared with what is there before it is used, and what is
// unpacked is paid from a budget before memory is taken for it.

var (
	errCut      = errors.New("the Arrow stream is cut short")
	errUnpacked = fmt.Errorf("the Arrow stream unpacks to more than %d MB", api.UnpackedBytesMax>>20)
)

// ipcMessage is one message of a stream.
type ipcMessage struct {
	meta   flat
	kind   byte // headerSchema, headerDictionary, headerRecord
	header flatTable
	body   []byte
}

// ipcStream walks over the messages of a stream.
type ipcStream struct {
	b []byte // what is left
}

// next returns the next message; end is true at the end-of-stream mark.
func (s *ipcStream) next() (m ipcMessage, end bool, err error) {
	if len(s.b) < 8 {
		return m, false, errCut
	}
	if binary.LittleEndian.Uint32(s.b) != continuation {
		return m, false, errors.New("an Arrow message does not begin with its mark")
	}
	size := int64(int32(binary.LittleEndian.Uint32(s.b[4:])))
	s.b = s.b[8:]
	if size == 0 {
		return m, true, nil
	}
	if size < 0 || size > int64(len(s.b)) {
		return m, false, errCut
	}
	m.meta.b = s.b[:size:size]
	s.b = s.b[size:]
	root := m.meta.root()
	m.kind = m.meta.byteField(root, messageHeaderType)
	m.header = m.meta.table(root, messageHeader)
	body := m.meta.i64Field(root, messageBodyLength)
	version := m.meta.u16Field(root, messageVersion)
	switch {
	case m.meta.err != nil:
		return m, false, m.meta.err
	case m.header == 0:
		return m, false, errFlat
	case version != metadataV5 && version != metadataV5-1:
		return m, false, fmt.Errorf("an Arrow message has the metadata version %d", version+1)
	case body < 0 || body > int64(len(s.b)):
		return m, false, errCut
	}
	m.body = s.b[:body:body]
	s.b = s.b[body:]
	return m, false, nil
}

// ipcField is a field of a stream's schema.
type ipcField struct {
	name       []byte
	kind       byte // typeInt, typeFloat, …
	bits       int  // of an Int
	signed     bool
	precision  int // of a FloatingPoint
	unit       int // of a Timestamp
	zone       []byte
	children   int
	encoded    bool // by a dictionary, whose values have the type; then:
	dictionary int64
	indexBits  int
	indexSign  bool
}

// fields reads a schema message's fields; at most columnsMax of them.
func (m *ipcMessage) fields(columnsMax int) ([]ipcField, error) {
	f := &m.meta
	if f.u16Field(m.header, schemaEndianness) != 0 {
		return nil, errors.New("the Arrow stream is big-endian")
	}
	at, n := f.vector(m.header, schemaFields, 4)
	if f.err == nil && n > columnsMax {
		return nil, fmt.Errorf("the Arrow schema has %d columns, at most %d are allowed", n, columnsMax)
	}
	out := make([]ipcField, n)
	for i := range out {
		f.readField(flatTable(f.follow(at+4*i)), &out[i])
	}
	return out, f.err
}

func (f *flat) readField(t flatTable, out *ipcField) {
	out.name = f.str(t, fieldName)
	out.kind = f.byteField(t, fieldTypeType)
	kind := f.table(t, fieldType)
	switch out.kind {
	case typeInt:
		out.bits, out.signed = int(f.u32Field(kind, intBits)), f.byteField(kind, intSigned) != 0
	case typeFloat:
		out.precision = f.u16Field(kind, floatPrecision)
	case typeTimestamp:
		out.unit, out.zone = f.u16Field(kind, timestampUnit), f.str(kind, timestampZone)
	}
	_, out.children = f.vector(t, fieldChildren, 4)
	if encoding := f.table(t, fieldDictionary); encoding != 0 {
		out.encoded, out.dictionary = true, f.i64Field(encoding, encodingID)
		out.indexBits, out.indexSign = 32, true // what a missing index type stands for
		if index := f.table(encoding, encodingIndex); index != 0 {
			out.indexBits, out.indexSign = int(f.u32Field(index, intBits)), f.byteField(index, intSigned) != 0
		}
	}
}

// ipcRecord reads the nodes and buffers of a record or dictionary batch in order.
type ipcRecord struct {
	meta     *flat
	body     []byte
	length   int
	nodesAt  int
	nodes    int // left
	bufsAt   int
	buffers  int // left
	codec    int // -1: the body is not compressed
	unpacked *unpacker
}

// unpacker takes memory for unpacked buffers, up to a budget.
type unpacker struct {
	budget int
	arena  []byte // free memory behind its length
	zstd   *zstd.Decoder
}

// take returns n bytes, not zeroed, that stay valid until reset.
func (u *unpacker) take(n int) []byte {
	if len(u.arena)+n > cap(u.arena) {
		u.arena = make([]byte, 0, max(n, 2*cap(u.arena), 64<<10))
	}
	at := len(u.arena)
	u.arena = u.arena[:at+n]
	return u.arena[at : at+n : at+n]
}

func (u *unpacker) reset() { u.arena = u.arena[:0] }

func (u *unpacker) pay(n int64) error {
	if n < 0 || n > int64(u.budget) {
		return errUnpacked
	}
	u.budget -= int(n)
	return nil
}

// record opens the message's batch of rows: the header itself, or a dictionary's data.
func (m *ipcMessage) record(header flatTable, u *unpacker) (r ipcRecord, err error) {
	f := &m.meta
	r = ipcRecord{meta: f, body: m.body, codec: -1, unpacked: u}
	length := f.i64Field(header, recordLength)
	r.nodesAt, r.nodes = f.vector(header, recordNodes, 16)
	r.bufsAt, r.buffers = f.vector(header, recordBuffers, 16)
	if c := f.table(header, recordCompression); c != 0 {
		r.codec = int(f.byteField(c, compressionCodec))
		if method := f.byteField(c, compressionMethod); method != 0 || r.codec > codecZstd {
			return r, fmt.Errorf("the Arrow body has the unknown compression %d, method %d", r.codec, method)
		}
	}
	switch {
	case f.err != nil:
		return r, f.err
	case header == 0:
		return r, errFlat
	case length < 0 || length > 1<<31-1:
		return r, fmt.Errorf("an Arrow batch of %d rows", length)
	}
	r.length = int(length)
	return r, nil
}

// node returns the nulls of the next column, whose length must be that of the batch.
func (r *ipcRecord) node() (nulls int, err error) {
	if r.nodes == 0 {
		return 0, errors.New("an Arrow batch has fewer columns than its schema")
	}
	length, n := r.meta.i64(r.nodesAt), r.meta.i64(r.nodesAt+8)
	r.nodesAt, r.nodes = r.nodesAt+16, r.nodes-1
	if length != int64(r.length) || n < 0 || n > length {
		return 0, fmt.Errorf("a column of %d rows and %d nulls in an Arrow batch of %d rows", length, n, r.length)
	}
	return int(n), nil
}

// buffer returns the next buffer, unpacked. It has at least need bytes.
func (r *ipcRecord) buffer(need int) ([]byte, error) {
	if r.buffers == 0 {
		return nil, errors.New("an Arrow batch has fewer buffers than its schema")
	}
	offset, length := r.meta.i64(r.bufsAt), r.meta.i64(r.bufsAt+8)
	r.bufsAt, r.buffers = r.bufsAt+16, r.buffers-1
	size := int64(len(r.body))
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, errors.New("an Arrow buffer is outside its message")
	}
	b := r.body[offset : offset+length : offset+length]
	if r.codec >= 0 && length > 0 {
		var err error
		if b, err = r.unpack(b); err != nil {
			return nil, err
		}
	} else if err := r.unpacked.pay(length); err != nil {
		return nil, err
	}
	if len(b) < need {
		return nil, fmt.Errorf("an Arrow buffer has %d bytes instead of %d", len(b), need)
	}
	return b, nil
}

func (r *ipcRecord) unpack(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, errors.New("a compressed Arrow buffer has no length")
	}
	length := int64(binary.LittleEndian.Uint64(b))
	b = b[8:]
	if length == storedLength {
		return b, r.unpacked.pay(int64(len(b)))
	}
	if err := r.unpacked.pay(length); err != nil {
		return nil, err
	}
	dst := r.unpacked.take(int(length))
	if r.codec == codecZstd {
		return r.unpacked.zstdUnpack(dst, b)
	}
	return dst, lz4Unpack(dst, b)
}

// zstdUnpack is the rare case (other writers of Arrow): the decoder is made when it is needed
// first.
func (u *unpacker) zstdUnpack(dst, frames []byte) ([]byte, error) {
	if u.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(api.UnpackedBytesMax), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		u.zstd = d
	}
	out, err := u.zstd.DecodeAll(frames, dst[:0])
	if err != nil || len(out) != len(dst) {
		return nil, errors.New("malformed zstd frame")
	}
	return out, nil
}

// done says whether everything of the batch was read.
func (r *ipcRecord) done() error {
	if r.nodes != 0 || r.buffers != 0 {
		return errors.New("an Arrow batch has more columns or buffers than its schema")
	}
	return nil
}
