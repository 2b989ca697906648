package api

import (
	"fmt"
	"math"
)

// ProducerSeq is a producer's identity of a group or a write. Its epoch is no part of the identity: it only fences
// the producer's older processes.
type ProducerSeq struct {
	Producer string // "": none
	Epoch    uint64 // of the producer's registration
	Sequence uint64 // from 1, per producer and table
	Settled  uint64 // every sequence up to it has its answer, or nobody waits for one any more
}

// None says that there is no such identity.
func (p ProducerSeq) None() bool { return p.Producer == "" }

// WriteMeta is what a group says of one of its writes: everything but the rows.
type WriteMeta struct {
	Rows     uint32
	Locked   bool        // the write has an expected TxID
	Expected uint64      // meaningful if Locked
	ID       ProducerSeq // at most one of ID and Key is set
	Key      string
}

// IdentityBytes is what the write counts against GroupIdentityBytes.
func (w *WriteMeta) IdentityBytes() int {
	if w.ID.None() {
		return len(w.Key)
	}
	return len(w.ID.Producer) + 24
}

// GroupHeader is what a group says of itself in front of its Arrow stream. The sequencer decides on the header alone.
type GroupHeader struct {
	Table       string
	Fingerprint Fingerprint
	Durability  Durability
	ID          ProducerSeq // none for a group that a client sent to a primary itself
	Writes      []WriteMeta
}

// Rows is the number of rows of all writes.
func (h *GroupHeader) Rows() (n int) {
	for i := range h.Writes {
		n += int(h.Writes[i].Rows)
	}
	return n
}

// Bits of the first byte of a group header and of each write in it. Never change one: they are stored.
const (
	groupWAL      = 1 << 0
	groupProducer = 1 << 1

	writeLocked   = 1 << 0
	writeProducer = 1 << 1
	writeKey      = 1 << 2
)

// AppendGroupHeader encodes h; docs/formats/segment.md has the layout.
func AppendGroupHeader(b []byte, h *GroupHeader) []byte {
	var flags byte
	if h.Durability == DurabilityWAL {
		flags |= groupWAL
	}
	if !h.ID.None() {
		flags |= groupProducer
	}
	b = append(b, flags)
	b = appendBytes(b, h.Table)
	b = append(b, h.Fingerprint[:]...)
	if !h.ID.None() {
		b = appendProducerSeq(b, &h.ID)
	}
	b = appendUint(b, uint64(len(h.Writes)))
	for i := range h.Writes {
		b = appendWriteMeta(b, &h.Writes[i])
	}
	return b
}

func appendProducerSeq(b []byte, p *ProducerSeq) []byte {
	b = appendBytes(b, p.Producer)
	b = appendUint(b, p.Epoch)
	b = appendUint(b, p.Sequence)
	return appendUint(b, p.Settled)
}

func appendWriteMeta(b []byte, w *WriteMeta) []byte {
	var flags byte
	if w.Locked {
		flags |= writeLocked
	}
	switch {
	case !w.ID.None():
		flags |= writeProducer
	case w.Key != "":
		flags |= writeKey
	}
	b = append(b, flags)
	b = appendUint(b, uint64(w.Rows))
	if w.Locked {
		b = appendUint(b, w.Expected)
	}
	switch {
	case !w.ID.None():
		b = appendProducerSeq(b, &w.ID)
	case w.Key != "":
		b = appendBytes(b, w.Key)
	}
	return b
}

// ParseGroupHeader decodes what AppendGroupHeader wrote and checks what can be checked without a schema: names,
// limits, and that every write has rows. Its errors are for the sender: what is wrong, and in which write.
func ParseGroupHeader(b []byte) (GroupHeader, error) {
	d := decoder{b: b}
	flags := d.byte()
	h := GroupHeader{Table: d.string()}
	copy(h.Fingerprint[:], d.take(FingerprintSize))
	if flags&groupWAL != 0 {
		h.Durability = DurabilityWAL
	}
	if flags&groupProducer != 0 {
		h.ID = d.producerSeq()
	}
	n := d.count()
	if d.err == nil && (flags >= groupProducer<<1 || n < 1 || n > GroupWritesMax) {
		return GroupHeader{}, fmt.Errorf("group header: flags %#x, %d writes", flags, n)
	}
	h.Writes = make([]WriteMeta, n)
	for i := range h.Writes {
		d.writeMeta(&h.Writes[i])
	}
	if err := d.end(); err != nil {
		return GroupHeader{}, fmt.Errorf("group header: %w", err)
	}
	return h, h.check(flags&groupProducer != 0)
}

func (d *decoder) producerSeq() ProducerSeq {
	return ProducerSeq{Producer: d.string(), Epoch: d.uint(), Sequence: d.uint(), Settled: d.uint()}
}

func (d *decoder) writeMeta(w *WriteMeta) {
	flags := d.byte()
	rows := d.uint()
	if rows < 1 || rows > math.MaxInt32 || flags >= writeKey<<1 ||
		flags&(writeProducer|writeKey) == writeProducer|writeKey {
		d.fail()
		return
	}
	w.Rows = uint32(rows)
	if w.Locked = flags&writeLocked != 0; w.Locked {
		w.Expected = d.uint()
	}
	if flags&writeProducer != 0 {
		if w.ID = d.producerSeq(); w.ID.None() {
			d.fail()
		}
	}
	if flags&writeKey != 0 {
		if w.Key = d.string(); w.Key == "" {
			d.fail()
		}
	}
}

func (h *GroupHeader) check(produced bool) error {
	if err := CheckTable(h.Table); err != nil {
		return fmt.Errorf("group header: %w", err)
	}
	if n := h.Fingerprint.Columns(); n < 1 || n > ColumnsMax {
		return fmt.Errorf("group header: fingerprint of %d columns", n)
	}
	if produced {
		if err := h.ID.check(); err != nil {
			return fmt.Errorf("group header: %w", err)
		}
	}
	rows, identities := 0, 0
	for i := range h.Writes {
		w := &h.Writes[i]
		rows += int(w.Rows)
		identities += w.IdentityBytes()
		if !w.ID.None() {
			if err := w.ID.check(); err != nil {
				return fmt.Errorf("group header: write %d: %w", i, err)
			}
		}
		if len(w.Key) > KeyBytesMax {
			return fmt.Errorf("group header: write %d: key of %d bytes is longer than %d", i, len(w.Key), KeyBytesMax)
		}
	}
	if rows > math.MaxInt32 || identities > GroupIdentityBytes {
		return fmt.Errorf("group header: %d rows, %d bytes of identities", rows, identities)
	}
	return nil
}

// CheckIdentities says which write has neither an identity of its own nor one of its group, or nil. A group needs
// them: one that is sent again without could be stored twice.
func (h *GroupHeader) CheckIdentities() error {
	if !h.ID.None() {
		return nil
	}
	for i := range h.Writes {
		if w := &h.Writes[i]; w.ID.None() && w.Key == "" {
			return fmt.Errorf("table %s: neither the group nor its write %d has an identity", h.Table, i)
		}
	}
	return nil
}

func (p *ProducerSeq) check() error {
	if err := CheckProducer(p.Producer); err != nil {
		return err
	}
	if p.Sequence == 0 || p.Settled >= p.Sequence {
		return fmt.Errorf("producer %s: sequence %d with settled %d", p.Producer, p.Sequence, p.Settled)
	}
	return nil
}
