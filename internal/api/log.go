package api

import (
	"fmt"
	"math/bits"
)

// LogRecord is one entry of a shard's commit log: a committed group of which at least one write was accepted.
type LogRecord struct {
	Index   uint64 // place in the shard's log: 1, 2, 3, …
	Table   string
	First   uint64 // the TxID of the first accepted write; the others follow without a gap
	Segment SegmentID
	Offset  uint64 // of the group's frame in the segment
	Length  uint32
	CRC     uint32 // CRC-32C of the group
	Writes  uint32 // in the group, accepted or not
	Rows    uint64 // of the accepted writes
	// Mask has a bit for each write of the group, least significant bit of the first byte first; nil means that all
	// were accepted.
	Mask    []byte
	State   RecordState
	Holders []string
}

// Accepted says whether the group's write i was accepted.
func (r *LogRecord) Accepted(i int) bool {
	return r.Mask == nil || i/8 < len(r.Mask) && r.Mask[i/8]&(1<<(i%8)) != 0
}

// Count is the number of accepted writes, which is the number of TxIDs of the record.
func (r *LogRecord) Count() uint64 {
	if r.Mask == nil {
		return uint64(r.Writes)
	}
	n := 0
	for _, b := range r.Mask {
		n += bits.OnesCount8(b)
	}
	return uint64(n)
}

// Last is the record's last TxID.
func (r *LogRecord) Last() uint64 { return r.First + r.Count() - 1 }

const recordVersion = 1

// AppendLogRecord encodes r without its index, which is the key under which it is stored.
func AppendLogRecord(b []byte, r *LogRecord) []byte {
	b = append(b, recordVersion, byte(r.State))
	b = appendBytes(b, r.Table)
	b = appendUint(b, r.First)
	b = appendBytes(b, r.Segment.Node)
	b = appendUint(b, r.Segment.Epoch)
	b = appendUint(b, r.Segment.Sequence)
	b = appendUint(b, r.Offset)
	b = appendUint(b, uint64(r.Length))
	b = appendUint(b, uint64(r.CRC))
	b = appendUint(b, uint64(r.Writes))
	b = appendUint(b, r.Rows)
	b = appendBytes(b, r.Mask)
	return appendStrings(b, r.Holders)
}

func (d *decoder) logRecord() (r LogRecord) {
	if v := d.byte(); d.err == nil && v != recordVersion {
		d.fail()
	}
	r.State = RecordState(d.byte())
	r.Table, r.First = d.string(), d.uint()
	r.Segment = SegmentID{Node: d.string(), Epoch: d.uint(), Sequence: d.uint()}
	r.Offset, r.Length, r.CRC = d.uint(), d.uvarint32(), d.uvarint32()
	r.Writes, r.Rows = d.uvarint32(), d.uint()
	if m := d.bytes(); len(m) > 0 {
		r.Mask = append([]byte(nil), m...)
	}
	r.Holders = d.strings()
	if d.err == nil && (r.State < Confirmed || r.State > Void || r.Writes < 1 || r.Writes > GroupWritesMax ||
		r.Mask != nil && len(r.Mask) != (int(r.Writes)+7)/8 || r.First == 0 || r.Count() == 0) {
		d.fail()
	}
	return r
}

// ParseLogRecord decodes what AppendLogRecord wrote, and gives it its index.
func ParseLogRecord(index uint64, b []byte) (LogRecord, error) {
	d := decoder{b: b}
	r := d.logRecord()
	r.Index = index
	if err := d.end(); err != nil {
		return LogRecord{}, fmt.Errorf("log record %d: %w", index, err)
	}
	return r, nil
}

// LogRequest asks for the records of a shard's log from an index on. The answer has at most Limit records and about
// LogAnswerBytes; fewer than asked for does not mean that the log ends there, Head does.
type LogRequest struct {
	From  uint64 `json:"from"`
	Limit int    `json:"limit"`
}

// HeadsAnswer is how far each shard's log goes: the index of its last record, 0 if it has none.
type HeadsAnswer struct {
	Heads []uint64 `json:"heads"` // by shard
}

// LogAnswerBytes bounds the size of one answer to a LogRequest.
const LogAnswerBytes = 512 << 10

// LogAnswer is a piece of a shard's log, its records at From, From+1, ….
type LogAnswer struct {
	Head    uint64 // the log goes at least as far; it ends there if there are no records
	Records []LogRecord
}

// AppendLogAnswer encodes the answer. Its records are consecutive; raw holds them as they are stored.
func AppendLogAnswer(b []byte, head, from uint64, raw [][]byte) []byte {
	b = append(b, recordVersion)
	b = appendUint(b, head)
	b = appendUint(b, from)
	b = appendUint(b, uint64(len(raw)))
	for _, r := range raw {
		b = appendBytes(b, r)
	}
	return b
}

// ParseLogAnswer decodes what AppendLogAnswer wrote.
func ParseLogAnswer(b []byte) (LogAnswer, error) {
	d := decoder{b: b}
	if v := d.byte(); d.err == nil && v != recordVersion {
		return LogAnswer{}, fmt.Errorf("log answer: unknown version %d", v)
	}
	a := LogAnswer{Head: d.uint()}
	from := d.uint()
	n := d.count()
	a.Records = make([]LogRecord, 0, n)
	for i := range n {
		raw := d.bytes()
		if d.err != nil {
			break
		}
		r, err := ParseLogRecord(from+uint64(i), raw)
		if err != nil {
			return LogAnswer{}, fmt.Errorf("log answer: %w", err)
		}
		a.Records = append(a.Records, r)
	}
	if err := d.end(); err != nil {
		return LogAnswer{}, fmt.Errorf("log answer: %w", err)
	}
	return a, nil
}
