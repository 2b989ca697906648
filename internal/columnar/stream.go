package columnar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/seed-551dd829/braid/internal/api"
)

// Reading Arrow IPC streams of unknown origin; the format is described at
// https://arrow.apache.org/docs/format/Columnar.html, "Serialization and Interprocess
// Communication". Every length is compared with what is there before it is used, and what is
// unpacked is paid from a budget before memory is taken for it. arrow-go gets no message before it
// was checked here: it would panic on bad offsets and take whatever memory a length asks for.

var (
	errCut      = errors.New("the Arrow stream is cut short")
	errUnpacked = fmt.Errorf("the Arrow stream unpacks to more than %d MB", api.UnpackedBytesMax>>20)
)

var errLZ4 = errors.New("malformed LZ4 frame")

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
	m.meta.metadata(root, messageMetadata)
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

// messages hands a stream to arrow-go without a copy: it is an ipc.MessageReader. A stream may end
// without its mark.
type messages struct {
	stream ipcStream
	check  func(*ipcMessage) error
	err    error // why the stream ended early
}

func (s *messages) Message() (*ipc.Message, error) {
	if len(s.stream.b) == 0 {
		return nil, io.EOF
	}
	m, end, err := s.stream.next()
	switch {
	case err == nil && !end:
		err = s.check(&m)
	case err == nil && len(s.stream.b) > 0:
		err = errors.New("the Arrow stream goes on behind its end")
	case err == nil:
		return nil, io.EOF
	}
	if err != nil {
		s.err = err
		return nil, err
	}
	return ipc.NewMessage(memory.NewBufferBytes(m.meta.b), memory.NewBufferBytes(m.body)), nil
}

// Retain and Release do nothing: the memory is the caller's.
func (s *messages) Retain()  {}
func (s *messages) Release() {}

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
	metadata   int
	encoded    bool // by a dictionary, whose values have the type; then:
	dictionary int64
	indexBits  int
	indexSign  bool
}

// fields returns the first of a schema message's fields and how many there are.
func (m *ipcMessage) fields() (at, n int, err error) {
	at, n = m.meta.vector(m.header, schemaFields, 4)
	m.meta.metadata(m.header, schemaMetadata)
	if m.meta.u16Field(m.header, schemaEndianness) != 0 {
		return 0, 0, errors.New("the Arrow stream is big-endian")
	}
	return at, n, m.meta.err
}

func (f *flat) readField(t flatTable, out *ipcField) {
	out.name = f.str(t, fieldName)
	out.kind = f.byteField(t, fieldTypeType)
	out.metadata = f.metadata(t, fieldMetadata)
	f.byteField(t, fieldNullable)
	kind := f.table(t, fieldType)
	if kind == 0 {
		f.fail()
	}
	switch out.kind {
	case typeInt:
		out.bits, out.signed = int(f.u32Field(kind, intBits)), f.byteField(kind, intSigned) != 0
	case typeFloat:
		out.precision = f.u16Field(kind, floatPrecision)
	case typeTimestamp:
		out.unit, out.zone = f.u16Field(kind, timestampUnit), f.str(kind, timestampZone)
	}
	f.copied += int64(len(out.name) + len(out.zone))
	_, out.children = f.vector(t, fieldChildren, 4)
	if encoding := f.table(t, fieldDictionary); encoding != 0 {
		out.encoded, out.dictionary = true, f.i64Field(encoding, encodingID)
		f.byteField(encoding, encodingOrdered)
		index := f.table(encoding, encodingIndex)
		if index == 0 {
			f.fail()
		}
		out.indexBits, out.indexSign = int(f.u32Field(index, intBits)), f.byteField(index, intSigned) != 0
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
	budget
	arena  []byte // free memory behind its length
	source bytes.Reader
	lz4    *lz4.Reader
	rest   [1]byte // what stands behind the end of a frame
	zstd   *zstd.Decoder
}

// budget is how many bytes may still be taken.
type budget int64

func (b *budget) pay(n int64) error {
	if n < 0 || n > int64(*b) {
		return errUnpacked
	}
	*b -= budget(n)
	return nil
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
	return r, u.pay(f.copied)
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

// storedLength stands for the length of a buffer that is not compressed (Arrow's
// BodyCompressionMethod.BUFFER).
const storedLength = -1

// packed returns the next buffer as it is in the body, and what it unpacks to, storedLength if it
// is not compressed. Its size is paid.
func (r *ipcRecord) packed() (b []byte, unpacked int64, err error) {
	if r.buffers == 0 {
		return nil, 0, errors.New("an Arrow batch has fewer buffers than its schema")
	}
	offset, length := r.meta.i64(r.bufsAt), r.meta.i64(r.bufsAt+8)
	r.bufsAt, r.buffers = r.bufsAt+16, r.buffers-1
	size := int64(len(r.body))
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, 0, errors.New("an Arrow buffer is outside its message")
	}
	b, unpacked = r.body[offset:offset+length:offset+length], storedLength
	if r.codec >= 0 && length > 0 {
		if length < 8 {
			return nil, 0, errors.New("a compressed Arrow buffer has no length")
		}
		unpacked, b = int64(binary.LittleEndian.Uint64(b)), b[8:]
	}
	if unpacked == storedLength {
		return b, unpacked, r.unpacked.pay(int64(len(b)))
	}
	return b, unpacked, r.unpacked.pay(unpacked)
}

// buffer returns the next buffer, unpacked. It has at least need bytes.
func (r *ipcRecord) buffer(need int) ([]byte, error) {
	b, unpacked, err := r.packed()
	if err == nil && unpacked != storedLength {
		b, err = r.unpacked.unpack(b, r.codec, int(unpacked))
	}
	if err == nil && len(b) < need {
		err = fmt.Errorf("an Arrow buffer has %d bytes instead of %d", len(b), need)
	}
	return b, err
}

// unpack unpacks a frame into memory that is valid until reset.
func (u *unpacker) unpack(b []byte, codec, size int) ([]byte, error) {
	dst := u.take(size)
	if codec == codecZstd {
		return u.zstdUnpack(dst, b)
	}
	if u.lz4 == nil {
		u.lz4 = lz4.NewReader(nil)
	}
	u.source.Reset(b)
	u.lz4.Reset(&u.source)
	// That there is nothing (a skippable frame alone) is no end: what dst has then is not the sender's.
	if n, _ := io.ReadFull(u.lz4, dst); n < len(dst) {
		return nil, errLZ4
	}
	if _, err := io.ReadFull(u.lz4, u.rest[:]); err != io.EOF || u.source.Len() > 0 {
		return nil, errLZ4
	}
	return dst, nil
}

// zstdUnpack is the rare case (other writers of Arrow): the decoder is made when it is needed
// first.
func (u *unpacker) zstdUnpack(dst, frames []byte) ([]byte, error) {
	if u.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(api.UnpackedBytesMax), zstd.WithDecoderMaxWindow(api.UnpackedBytesMax),
			zstd.WithDecodeAllCapLimit(true))
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

// checkAll checks every column and buffer of the batch without unpacking them, and pays for what
// they say they unpack to. It is for what arrow-go unpacks. zstd is tried all the same: a frame can
// ask for a window of any size, and arrow-go has no bound for it.
func (r *ipcRecord) checkAll() error {
	for r.nodes > 0 {
		if _, err := r.node(); err != nil {
			return err
		}
	}
	for r.buffers > 0 {
		b, unpacked, err := r.packed()
		if err == nil && unpacked != storedLength && r.codec == codecZstd {
			_, err = r.unpacked.unpack(b, r.codec, int(unpacked))
			r.unpacked.reset()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
