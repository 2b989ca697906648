package outbox

import (
	"encoding/binary"
	"errors"
)

// errFields says that a record's fields do not fill its body exactly, in the one way in which they are written.
var errFields = errors.New("its fields make no sense")

// parseBody reads the body of a record whose checksum is right. A write's payload points into body.
func parseBody(body []byte) (record, error) {
	if len(body) == 0 {
		return nil, errFields
	}
	f := fields{b: body[1:]}
	var r record
	switch body[0] {
	case kindEpoch:
		r = epochRecord{Epoch: f.uint(), Known: f.bool()}
	case kindWrite:
		r = f.write()
	case kindNumbered:
		r = numberedRecord{Table: f.string(), First: f.uint(), Ordinals: f.ordinals()}
	case kindAccepted:
		r = acceptedRecord{Table: f.string(), First: f.uint(), Ordinals: f.ordinals()}
	case kindRefused:
		r = refusedRecord{Table: f.string(), Ordinal: f.uint(), Refusal: f.refusal()}
	case kindReported:
		r = reportedRecord{Ordinals: f.ordinals()}
	case kindMoved:
		r = f.moved()
	default:
		return nil, errors.New("its kind is unknown")
	}
	if f.bad || len(f.b) > 0 {
		return nil, errFields
	}
	return r, nil
}

// fields reads what the append methods wrote. The first failure sticks.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) fail() { f.b, f.bad = nil, true }

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || n > 1 && f.b[n-1] == 0 { // cut short, or longer than it need be
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) int() int64 {
	u := f.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.fail()
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) string() string { return string(f.take(f.uint())) }

func (f *fields) byte(most byte) byte {
	v := f.take(1)
	if len(v) == 0 || v[0] > most {
		f.fail()
		return 0
	}
	return v[0]
}

func (f *fields) bool() bool { return f.byte(1) == 1 }

func (f *fields) ordinals() []uint64 {
	n := f.uint()
	if n == 0 || n > uint64(len(f.b)) { // each takes a byte at least
		f.fail()
		return nil
	}
	list, last := make([]uint64, n), uint64(0)
	for i := range list {
		d := f.uint()
		if d == 0 || last+d < last {
			f.fail()
			return nil
		}
		last += d
		list[i] = last
	}
	return list
}

func (f *fields) write() *Write {
	w := &Write{Ordinal: f.uint()}
	if w.Locked = f.byte(writeLocked) == writeLocked; w.Locked {
		w.Expected = f.uint()
	}
	w.Time, w.Table, w.Durability = f.int(), f.string(), f.string()
	w.ContentType, w.Encoding = f.string(), f.string()
	w.Payload = f.take(uint64(len(f.b)))
	if w.Ordinal == 0 {
		f.fail()
	}
	return w
}

func (f *fields) moved() movedRecord {
	m := movedRecord{Sequence: f.uint()}
	if f.bool() {
		r := f.refusal()
		m.Refusal = &r
	}
	m.Write = f.write()
	return m
}

func (f *fields) refusal() Refusal {
	r := Refusal{Unknown: f.bool(), Name: f.string(), Message: f.string()}
	line := f.uint()
	if line > 1<<31 {
		f.fail()
	}
	r.Line, r.Expected, r.Current = int(line), f.uint(), f.uint()
	return r
}
