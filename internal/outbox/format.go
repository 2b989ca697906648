package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Stored bytes. Never change what is below: docs/formats/outbox.md describes it, golden files hold it. Fixed-width
// integers are little-endian, the others are varints as encoding/binary has them.
//
//	file     magic 8 · version u32 · size u32 of the header · number u64 · next ordinal u64 · epoch u64 · producer ·
//	         CRC-32C u32 of all before · records
//	record   length u32 of the body · CRC-32C u32 of (offset u64, back u32, body) · back u32 · body
//	body     kind u8 · fields
const (
	fileMagic   = "BRAIDOUT"
	fileVersion = 1

	headerFixed  = 8 + 4 + 4 + 8 + 8 + 8
	headerMin    = headerFixed + 1 + 4
	headerMax    = headerFixed + 1 + producerMax + 4
	producerMax  = 64
	recordHead   = 4 + 4 + 4
	bodyBytesMax = 64 << 20 // a longer one is damage: requests have at most 8 MB
)

// Kinds of records.
const (
	kindEpoch    = 1
	kindWrite    = 2
	kindNumbered = 3
	kindAccepted = 4
	kindRefused  = 5
	kindReported = 6
	kindMoved    = 7
	kindLast     = kindMoved
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt is what errors.Is finds in every *CorruptError.
var ErrCorrupt = errors.New("outbox is damaged")

// CorruptError says that a file does not hold what it should, at a place that was synced. Nothing was changed.
type CorruptError struct {
	Path   string
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s; the files around it are left as they are: move the folder away "+
		"to go on with an empty one, and keep it to get the rows out", e.Path, e.Offset, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// NewerFormatError says that a file was written by a later version of this package. Nothing is wrong with it.
type NewerFormatError struct {
	Path    string
	Version uint32
}

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("%s has format version %d, this program knows %d: open the folder with the newer program",
		e.Path, e.Version, fileVersion)
}

// header begins a file: what must not be lost when the files before it are removed.
type header struct {
	Number   uint64 // of the file, from 1; files have no gap
	Next     uint64 // an ordinal that no write in front of this file has
	Epoch    uint64 // the last registration written down in front of this file; 0: none
	Producer string
}

func appendHeader(b []byte, h header) []byte {
	start := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, fileVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(headerMin+len(h.Producer)))
	b = binary.LittleEndian.AppendUint64(b, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.Next)
	b = binary.LittleEndian.AppendUint64(b, h.Epoch)
	b = append(b, byte(len(h.Producer)))
	b = append(b, h.Producer...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseHeader reads the header at the start of b and returns how long it is.
func parseHeader(path string, b []byte) (h header, size int, err error) {
	damaged := func(reason string) (header, int, error) {
		return header{}, 0, &CorruptError{Path: path, Reason: reason}
	}
	if len(b) < headerMin || string(b[:8]) != fileMagic {
		return damaged("no header of an outbox file")
	}
	size = int(binary.LittleEndian.Uint32(b[12:]))
	if size < headerMin || size > len(b) || size > headerMax {
		return damaged("header is cut short")
	}
	if crc32.Checksum(b[:size-4], castagnoli) != binary.LittleEndian.Uint32(b[size-4:]) {
		return damaged("checksum of the header differs")
	}
	// After the checksum, so that a flipped bit never passes for a newer version: the size keeps its place.
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileVersion {
		return header{}, 0, &NewerFormatError{Path: path, Version: v}
	}
	h = header{Number: binary.LittleEndian.Uint64(b[16:]), Next: binary.LittleEndian.Uint64(b[24:]),
		Epoch: binary.LittleEndian.Uint64(b[32:])}
	if int(b[headerFixed]) != size-headerMin {
		return damaged("length of the producer's id differs")
	}
	h.Producer = string(b[headerFixed+1 : size-4])
	return h, size, nil
}

// record is one entry of the journal.
type record interface {
	kind() byte
	append(b []byte) []byte // the fields
}

// epochRecord: the producer has registered.
type epochRecord struct {
	Epoch uint64
	// Known says that the cluster still had its records. If not, every write that is numbered and has no answer has
	// an unknown outcome from here on.
	Known bool
}

// numberedRecord: these writes may have been sent, under sequences that have no gap.
type numberedRecord struct {
	Table    string
	First    uint64   // sequence
	Ordinals []uint64 // ascending
}

// acceptedRecord: these writes are transactions whose TxIDs have no gap.
type acceptedRecord struct {
	Table    string
	First    uint64   // TxID
	Ordinals []uint64 // ascending
}

// refusedRecord: the write will never be sent again, and its rows are for the application.
type refusedRecord struct {
	Table   string
	Ordinal uint64
	Refusal Refusal
}

// reportedRecord: the application has taken the rows of refused writes back.
type reportedRecord struct {
	Ordinals []uint64 // ascending
}

// movedRecord is a write once more, so that the file where it stood can be removed, with all that is known of it.
type movedRecord struct {
	Sequence uint64   // 0: it was never sent
	Refusal  *Refusal // nil: it is open
	Write    *Write
}

// Refusal is why a write cannot be delivered.
type Refusal struct {
	Name    string // of the wire (api.Name)
	Message string
	Unknown bool // it may have been stored
	Line    int
	// Expected and Current belong to a conflict.
	Expected, Current uint64
}

func (epochRecord) kind() byte    { return kindEpoch }
func (*Write) kind() byte         { return kindWrite }
func (numberedRecord) kind() byte { return kindNumbered }
func (acceptedRecord) kind() byte { return kindAccepted }
func (refusedRecord) kind() byte  { return kindRefused }
func (reportedRecord) kind() byte { return kindReported }

func (movedRecord) kind() byte { return kindMoved }

func (r epochRecord) append(b []byte) []byte {
	b = binary.AppendUvarint(b, r.Epoch)
	return append(b, bit(r.Known))
}

const writeLocked = 1 // a flag of a write

func (w *Write) append(b []byte) []byte {
	b = binary.AppendUvarint(b, w.Ordinal)
	b = append(b, bit(w.Locked)*writeLocked)
	if w.Locked {
		b = binary.AppendUvarint(b, w.Expected)
	}
	b = binary.AppendVarint(b, w.Time)
	b = appendString(b, w.Table)
	b = appendString(b, w.Durability)
	b = appendString(b, w.ContentType)
	b = appendString(b, w.Encoding)
	return append(b, w.Payload...)
}

func (r numberedRecord) append(b []byte) []byte {
	b = appendString(b, r.Table)
	b = binary.AppendUvarint(b, r.First)
	return appendOrdinals(b, r.Ordinals)
}

func (r acceptedRecord) append(b []byte) []byte {
	b = appendString(b, r.Table)
	b = binary.AppendUvarint(b, r.First)
	return appendOrdinals(b, r.Ordinals)
}

func (r refusedRecord) append(b []byte) []byte {
	b = appendString(b, r.Table)
	b = binary.AppendUvarint(b, r.Ordinal)
	return r.Refusal.append(b)
}

func (r *Refusal) append(b []byte) []byte {
	b = append(b, bit(r.Unknown))
	b = appendString(b, r.Name)
	b = appendString(b, r.Message)
	b = binary.AppendUvarint(b, uint64(r.Line))
	b = binary.AppendUvarint(b, r.Expected)
	return binary.AppendUvarint(b, r.Current)
}

func (r movedRecord) append(b []byte) []byte {
	b = binary.AppendUvarint(b, r.Sequence)
	b = append(b, bit(r.Refusal != nil))
	if r.Refusal != nil {
		b = r.Refusal.append(b)
	}
	return r.Write.append(b)
}

func (r reportedRecord) append(b []byte) []byte { return appendOrdinals(b, r.Ordinals) }

// appendRecord puts a record at the given offset of its file; back is how far in front of it its chunk begins. What is
// in front of a chunk was synced before the chunk was written.
func appendRecord(b []byte, r record, offset int64, back uint32) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = append(b, r.kind())
	b = r.append(b)
	head, body := b[start:start+recordHead], b[start+recordHead:]
	binary.LittleEndian.PutUint32(head, uint32(len(body)))
	binary.LittleEndian.PutUint32(head[8:], back)
	binary.LittleEndian.PutUint32(head[4:], recordCRC(offset, head, body))
	return b
}

// recordCRC covers where the record stands, so that a copy of one somewhere else, in a payload or in a block of a file
// that is gone, never passes for one.
func recordCRC(offset int64, head, body []byte) uint32 {
	crc := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, uint64(offset)), castagnoli)
	crc = crc32.Update(crc, castagnoli, head[8:recordHead])
	return crc32.Update(crc, castagnoli, body)
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendOrdinals writes their number, the first, and the distance of each to the one before.
func appendOrdinals(b []byte, ordinals []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(ordinals)))
	before := uint64(0)
	for _, o := range ordinals {
		b = binary.AppendUvarint(b, o-before)
		before = o
	}
	return b
}

// clip keeps the message of a refusal from growing the journal.
func clip(s string) string {
	const most = 1 << 10
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
