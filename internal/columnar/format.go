package columnar

import (
	"encoding/binary"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/seed-551dd829/braid/internal/api"
)

// Numbers of Arrow's Message.fbs and Schema.fbs (format 1.5). Never change one.
const (
	metadataV5 = 4

	headerSchema     = 1
	headerDictionary = 2
	headerRecord     = 3

	typeInt       = 2
	typeFloat     = 3
	typeUtf8      = 5
	typeBool      = 6
	typeTimestamp = 10
	typeLargeUtf8 = 20

	precisionSingle = 1
	precisionDouble = 2

	unitNanosecond = 3

	codecLZ4  = 0
	codecZstd = 1

	continuation = 0xffffffff
	timezoneUTC  = "UTC"
)

// Slots of the tables' fields.
const (
	messageVersion, messageHeaderType, messageHeader, messageBodyLength = 0, 1, 2, 3

	schemaEndianness, schemaFields = 0, 1

	fieldName, fieldNullable, fieldTypeType, fieldType, fieldDictionary, fieldChildren = 0, 1, 2, 3, 4, 5

	intBits, intSigned           = 0, 1
	floatPrecision               = 0
	timestampUnit, timestampZone = 0, 1

	encodingID, encodingIndex, encodingOrdered = 0, 1, 2

	dictionaryID, dictionaryData, dictionaryDelta = 0, 1, 2

	recordLength, recordNodes, recordBuffers, recordCompression = 0, 1, 2, 3

	compressionCodec, compressionMethod = 0, 1
)

// endOfStream ends an Arrow IPC stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// layout is what the streams of one schema have in common: the schema message as it is, and the
// messages of dictionaries and the record with zeros where their numbers go.
type layout struct {
	schema     []byte
	dictionary message
	record     message
}

// message is a framed metadata message, and where its numbers stand.
type message struct {
	bytes                            []byte
	id, length, nodes, buffers, body int
}

// bufferCount is how many buffers a column has: validity, then offsets or values, then a string's
// bytes.
func bufferCount(t api.ColumnType) int {
	if t == api.String {
		return 3
	}
	return 2
}

func newLayout(columns []api.Column) *layout {
	buffers := 0
	for _, c := range columns {
		buffers += bufferCount(c.Type)
	}
	return &layout{
		schema:     schemaMessage(columns),
		dictionary: batchMessage(1, 3, true),
		record:     batchMessage(len(columns), buffers, false),
	}
}

// frame puts a finished message behind its continuation mark and length, padded to 8 bytes.
func frame(b *flatbuffers.Builder) []byte {
	meta := b.FinishedBytes()
	n := (len(meta) + 7) &^ 7
	out := make([]byte, 8+n)
	binary.LittleEndian.PutUint32(out, continuation)
	binary.LittleEndian.PutUint32(out[4:], uint32(n))
	copy(out[8:], meta)
	return out
}

func finish(b *flatbuffers.Builder, headerType byte, header flatbuffers.UOffsetT) []byte {
	b.StartObject(5)
	b.PrependInt64Slot(messageBodyLength, 0, -1) // another default than 0, so that there is a place to fill in
	b.PrependUOffsetTSlot(messageHeader, header, 0)
	b.PrependInt16Slot(messageVersion, metadataV5, 0)
	b.PrependByteSlot(messageHeaderType, headerType, 0)
	b.Finish(b.EndObject())
	return frame(b)
}

func schemaMessage(columns []api.Column) []byte {
	b := flatbuffers.NewBuilder(256 + 128*len(columns))
	fields := make([]flatbuffers.UOffsetT, len(columns))
	for i, c := range columns {
		fields[i] = fieldTable(b, c, int64(i))
	}
	b.StartVector(4, len(fields), 4)
	for i := len(fields) - 1; i >= 0; i-- {
		b.PrependUOffsetT(fields[i])
	}
	vector := b.EndVector(len(fields))
	b.StartObject(4)
	b.PrependUOffsetTSlot(schemaFields, vector, 0)
	return finish(b, headerSchema, b.EndObject())
}

// fieldTable describes a column; id is that of its dictionary, if it has one.
func fieldTable(b *flatbuffers.Builder, c api.Column, id int64) flatbuffers.UOffsetT {
	name := b.CreateString(c.Name)
	b.StartVector(4, 0, 4)
	children := b.EndVector(0)
	var encoding flatbuffers.UOffsetT
	if c.Type == api.Tag {
		_, index := typeTable(b, api.Int64, 32)
		b.StartObject(4)
		b.PrependInt64Slot(encodingID, id, -1)
		b.PrependUOffsetTSlot(encodingIndex, index, 0)
		encoding = b.EndObject()
	}
	number, table := typeTable(b, c.Type, 64)
	b.StartObject(7)
	b.PrependUOffsetTSlot(fieldName, name, 0)
	b.PrependUOffsetTSlot(fieldType, table, 0)
	b.PrependUOffsetTSlot(fieldDictionary, encoding, 0)
	b.PrependUOffsetTSlot(fieldChildren, children, 0)
	b.PrependByteSlot(fieldTypeType, number, 0)
	b.PrependBoolSlot(fieldNullable, c.Type != api.Timestamp, false)
	return b.EndObject()
}

func typeTable(b *flatbuffers.Builder, t api.ColumnType, bits int32) (byte, flatbuffers.UOffsetT) {
	switch t {
	case api.Timestamp:
		zone := b.CreateString(timezoneUTC)
		b.StartObject(2)
		b.PrependUOffsetTSlot(timestampZone, zone, 0)
		b.PrependInt16Slot(timestampUnit, unitNanosecond, 0)
		return typeTimestamp, b.EndObject()
	case api.Int64, api.Uint64:
		b.StartObject(2)
		b.PrependInt32Slot(intBits, bits, 0)
		b.PrependBoolSlot(intSigned, t == api.Int64, false)
		return typeInt, b.EndObject()
	case api.Float64:
		b.StartObject(1)
		b.PrependInt16Slot(floatPrecision, precisionDouble, 0)
		return typeFloat, b.EndObject()
	case api.Boolean:
		b.StartObject(0)
		return typeBool, b.EndObject()
	}
	b.StartObject(0)
	return typeUtf8, b.EndObject()
}

// batchMessage is the message of a record with so many nodes and buffers, or of a dictionary that
// holds one.
func batchMessage(nodes, buffers int, dictionary bool) message {
	b := flatbuffers.NewBuilder(256 + 16*(nodes+buffers))
	b.StartObject(2)
	b.PrependByteSlot(compressionCodec, codecLZ4, 0xff)
	compression := b.EndObject()
	bufferVector := zeroStructs(b, buffers)
	nodeVector := zeroStructs(b, nodes)
	b.StartObject(5)
	b.PrependInt64Slot(recordLength, 0, -1)
	b.PrependUOffsetTSlot(recordNodes, nodeVector, 0)
	b.PrependUOffsetTSlot(recordBuffers, bufferVector, 0)
	b.PrependUOffsetTSlot(recordCompression, compression, 0)
	header, kind := b.EndObject(), byte(headerRecord)
	if dictionary {
		b.StartObject(3)
		b.PrependInt64Slot(dictionaryID, 0, -1)
		b.PrependUOffsetTSlot(dictionaryData, header, 0)
		header, kind = b.EndObject(), headerDictionary
	}
	m := message{bytes: finish(b, kind, header)}
	m.find(dictionary)
	return m
}

// zeroStructs is a vector of n structs of two int64 each.
func zeroStructs(b *flatbuffers.Builder, n int) flatbuffers.UOffsetT {
	b.StartVector(16, n, 8)
	for range 2 * n {
		b.PrependInt64(0)
	}
	return b.EndVector(n)
}

// find looks up where the numbers stand.
func (m *message) find(dictionary bool) {
	f := flat{b: m.bytes[8:]}
	root := f.root()
	record := f.table(root, messageHeader)
	if dictionary {
		m.id = 8 + f.field(record, dictionaryID)
		record = f.table(record, dictionaryData)
	}
	m.body = 8 + f.field(root, messageBodyLength)
	m.length = 8 + f.field(record, recordLength)
	m.nodes, _ = f.vector(record, recordNodes, 16)
	m.buffers, _ = f.vector(record, recordBuffers, 16)
	m.nodes, m.buffers = m.nodes+8, m.buffers+8
	if f.err != nil {
		panic("columnar: the message that was just built cannot be read") // our own broken invariant
	}
}
