package table

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/seed-551dd829/braid/internal/api"
)

// Stored bytes. Never change what is below: docs/formats/table.md describes it, golden files hold it. All integers
// are little-endian.
//
//	record file   magic 8 · version u32 · name length u32 · name · CRC-32C u32 of all before · entries
//	entry         length u32 of the body · CRC-32C u32 of the body · body
//	body          shard u32 · log index u64 · rows u64 · digest 32 · commit record
const (
	fileMagic   = "BRAIDTAB"
	fileVersion = 1

	entryHead = 8                // length and CRC
	bodyHead  = 4 + 8 + 8 + 32   // what stands in front of the commit record
	bodyMax   = bodyHead + 1<<16 // a longer body is damage: records have a few hundred bytes
	headerMin = 8 + 4 + 4 + 4
	headerMax = headerMin + api.NameBytesMax
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptError says that a stored file does not hold what it should.
type CorruptError struct {
	Path   string
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// NewerFormatError says that a file was written by a later version of Braid. Nothing is wrong with it.
type NewerFormatError struct {
	Path    string
	Version uint32
}

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("%s has format version %d, this program knows %d: start a newer braid on this folder",
		e.Path, e.Version, fileVersion)
}

func appendFileHeader(b []byte, table string) []byte {
	start := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, fileVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(table)))
	b = append(b, table...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseFileHeader reads the header at the start of b and returns the table's name and the header's length.
func parseFileHeader(path string, b []byte) (table string, size int, err error) {
	damaged := func(reason string) (string, int, error) {
		return "", 0, &CorruptError{Path: path, Reason: reason}
	}
	if len(b) < headerMin || string(b[:8]) != fileMagic {
		return damaged("no table file's header")
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n > api.NameBytesMax || len(b) < headerMin+int(n) {
		return damaged("header is cut short")
	}
	size = headerMin + int(n)
	if crc32.Checksum(b[:size-4], castagnoli) != binary.LittleEndian.Uint32(b[size-4:]) {
		return damaged("checksum of the header differs")
	}
	// After the checksum, so that a flipped bit never passes for a newer version: the header keeps its layout.
	if v := binary.LittleEndian.Uint32(b[8:]); v > fileVersion {
		return "", 0, &NewerFormatError{Path: path, Version: v}
	}
	return string(b[16 : size-4]), size, nil
}

// entry is one applied commit record and where its table stands after it.
type entry struct {
	offset int64 // of the entry in its file
	size   int64 // of the whole entry
	shard  int
	rows   uint64 // of the table, after this record
	digest [32]byte
	record api.LogRecord
}

func appendEntry(b []byte, e *entry) []byte {
	start := len(b)
	b = append(b, make([]byte, entryHead)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(e.shard))
	b = binary.LittleEndian.AppendUint64(b, e.record.Index)
	b = binary.LittleEndian.AppendUint64(b, e.rows)
	b = append(b, e.digest[:]...)
	b = api.AppendLogRecord(b, &e.record)
	body := b[start+entryHead:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

func parseBody(body []byte) (e entry, err error) {
	e.shard = int(binary.LittleEndian.Uint32(body))
	e.rows = binary.LittleEndian.Uint64(body[12:])
	copy(e.digest[:], body[20:bodyHead])
	e.record, err = api.ParseLogRecord(binary.LittleEndian.Uint64(body[4:]), body[bodyHead:])
	return e, err
}

// chain is the digest of a table after record r, given the digest before it. A mask that accepts every write and
// the absent mask, which means the same, have the same digest.
func chain(before [32]byte, r *api.LogRecord) [32]byte {
	var room [256]byte
	b := append(room[:0], before[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.First)
	b = binary.LittleEndian.AppendUint32(b, r.Writes)
	b = appendAccepted(b, r)
	b = binary.LittleEndian.AppendUint32(b, r.CRC)
	return sha256.Sum256(b)
}

// appendAccepted is the mask with all its bytes: none set for a void record, no bit set past the last write.
func appendAccepted(b []byte, r *api.LogRecord) []byte {
	n := (int(r.Writes) + 7) / 8
	for i := range n {
		var bits byte
		switch {
		case r.State == api.Void:
		case r.Mask == nil:
			bits = 0xff
		default:
			bits = r.Mask[i]
		}
		if last := int(r.Writes) % 8; i == n-1 && last != 0 {
			bits &= 1<<last - 1
		}
		b = append(b, bits)
	}
	return b
}

// accepted is the number of rows that a record adds to its table.
func accepted(r *api.LogRecord) uint64 {
	if r.State == api.Void {
		return 0
	}
	return r.Rows
}
