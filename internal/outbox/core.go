package outbox

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
)

// Write is what an application has handed over.
type Write struct {
	Ordinal     uint64 // from 1, in the order in which writes were taken; never used again in one folder
	Time        int64  // when it was taken, in nanoseconds since 1970: rows without a timestamp get it
	Table       string
	Locked      bool   // there is an expected TxID
	Expected    uint64 // meaningful if Locked
	Durability  string // as in the header of the wire; "": the default
	ContentType string
	Encoding    string // of the payload; "": none
	Payload     []byte
}

// entry is a write that has no answer. Its rows are on the disk only.
type entry struct {
	ordinal  uint64
	time     int64 // when it was taken, in nanoseconds since 1970
	at       place
	sequence uint64 // 0: it was certainly never sent
}

// refused is a write whose rows wait for the application to take them back.
type refused struct {
	entry
	table   string
	refusal Refusal
}

// file is one file of the folder.
type file struct {
	number uint64
	size   int64
	live   int64 // bytes of the records of writes that are open or refused
}

// core is what the records say: a fold over them, the same when they have just been synced and when they are read
// again by the next process. It decides what comes next, and does nothing.
type core struct {
	producer string
	epoch    uint64 // the last one written down
	next     uint64 // ordinal
	given    uint64 // sequences under this epoch, by this process
	tables   map[string]*queue
	refused  []refused // by ordinal
	files    []file    // by number, without a gap
	open     int       // writes without an answer
}

// queue is a table's open writes by ordinal. Those with a sequence are in front: they are one batch.
type queue struct {
	open []entry
	// busy: somebody delivers or moves them. ready: they wait for somebody to. Both are the Box's.
	busy, ready bool
}

func newCore(producer string) *core {
	return &core{producer: producer, next: 1, tables: make(map[string]*queue)}
}

// begin takes note of a file's header.
func (c *core) begin(h header, size int64) {
	c.files = append(c.files, file{number: h.Number, size: size})
	c.next, c.epoch = max(c.next, h.Next), h.Epoch
}

// header is that of the file to begin now.
func (c *core) header() header {
	h := header{Number: 1, Next: c.next, Epoch: c.epoch, Producer: c.producer}
	if n := len(c.files); n > 0 {
		h.Number = c.files[n-1].number + 1
	}
	return h
}

// apply takes a record that is on the disk. An error says that it cannot follow from those before it. Records about
// writes whose file is gone have nothing to say any more.
func (c *core) apply(r record, at place) error {
	c.file(at.file).size += int64(at.size)
	switch r := r.(type) {
	case epochRecord:
		c.applyEpoch(r)
	case *Write:
		c.applyWrite(r, at)
	case movedRecord:
		c.applyMoved(r, at)
	case numberedRecord:
		return c.applyNumbered(r)
	case acceptedRecord:
		for _, o := range r.Ordinals {
			if e, ok := c.remove(r.Table, o); ok {
				c.dead(e.at)
			}
		}
	case refusedRecord:
		if e, ok := c.remove(r.Table, r.Ordinal); ok {
			c.refuse(r.Table, e, r.Refusal)
		}
	case reportedRecord:
		for _, o := range r.Ordinals {
			if i, ok := c.findRefused(o); ok {
				c.dead(c.refused[i].at)
				c.refused = slices.Delete(c.refused, i, i+1)
			}
		}
	}
	return nil
}

// forgotten is the end of what was sent before the cluster forgot the producer.
var forgotten = Refusal{Name: string(api.Expired), Unknown: true,
	Message: "the application was away for longer than the cluster remembers what it had sent"}

// applyEpoch: if the cluster has forgotten what was sent before, nobody will ever know what became of it.
func (c *core) applyEpoch(r epochRecord) {
	c.epoch, c.given = r.Epoch, 0
	if r.Known {
		return
	}
	for _, name := range c.names() {
		q := c.tables[name]
		for len(q.open) > 0 && q.open[0].sequence != 0 {
			e, _ := c.remove(name, q.open[0].ordinal)
			c.refuse(name, e, forgotten)
		}
	}
}

func (c *core) applyWrite(w *Write, at place) *entry {
	c.file(at.file).live += int64(at.size)
	c.next = max(c.next, w.Ordinal+1)
	q := c.tables[w.Table]
	if q == nil {
		q = &queue{}
		c.tables[w.Table] = q
	}
	i, ok := q.find(w.Ordinal)
	if ok {
		c.dead(q.open[i].at)
		q.open[i].at = at
	} else {
		q.open = slices.Insert(q.open, i, entry{ordinal: w.Ordinal, time: w.Time, at: at})
		c.open++
	}
	return &q.open[i]
}

// applyMoved notes that a write stands somewhere else now. Where it stood may be gone.
func (c *core) applyMoved(r movedRecord, at place) {
	if i, ok := c.findRefused(r.Write.Ordinal); ok {
		c.file(at.file).live += int64(at.size)
		c.dead(c.refused[i].at)
		c.refused[i].at = at
		return
	}
	e := c.applyWrite(r.Write, at)
	e.sequence = r.Sequence
	if r.Refusal != nil {
		e, _ := c.remove(r.Write.Table, r.Write.Ordinal)
		c.refuse(r.Write.Table, e, *r.Refusal)
	}
}

func (c *core) applyNumbered(r numberedRecord) error {
	q := c.tables[r.Table]
	for n, o := range r.Ordinals {
		if q == nil {
			return nil
		}
		i, ok := q.find(o)
		sequence := r.First + uint64(n)
		switch {
		case !ok:
		case q.open[i].sequence != 0 && q.open[i].sequence != sequence:
			return fmt.Errorf("write %d has sequence %d and gets %d", o, q.open[i].sequence, sequence)
		default:
			q.open[i].sequence = sequence
		}
	}
	return nil
}

func (c *core) file(number uint64) *file {
	i, ok := slices.BinarySearchFunc(c.files, number, func(f file, n uint64) int { return cmp.Compare(f.number, n) })
	if !ok {
		return &file{} // of a write whose file is gone
	}
	return &c.files[i]
}

func (c *core) dead(at place) { c.file(at.file).live -= int64(at.size) }

func (q *queue) find(ordinal uint64) (int, bool) {
	return slices.BinarySearchFunc(q.open, ordinal, func(e entry, o uint64) int { return cmp.Compare(e.ordinal, o) })
}

// remove takes a write out of its table's queue, near whose front it is: what is in front of it moves.
func (c *core) remove(table string, ordinal uint64) (e entry, ok bool) {
	q := c.tables[table]
	if q == nil {
		return e, false
	}
	i, ok := q.find(ordinal)
	if !ok {
		return e, false
	}
	e = q.open[i]
	copy(q.open[1:i+1], q.open[:i])
	q.open = q.open[1:]
	c.open--
	c.drop(table)
	return e, true
}

// drop forgets a table that has nothing open.
func (c *core) drop(table string) {
	if q := c.tables[table]; q != nil && len(q.open) == 0 && !q.busy {
		delete(c.tables, table)
	}
}

func (c *core) refuse(table string, e entry, why Refusal) {
	i, _ := c.findRefused(e.ordinal)
	c.refused = slices.Insert(c.refused, i, refused{e, table, why})
}

func (c *core) findRefused(ordinal uint64) (int, bool) {
	return slices.BinarySearchFunc(c.refused, ordinal,
		func(r refused, o uint64) int { return cmp.Compare(r.ordinal, o) })
}

// names are those of tables with open writes.
func (c *core) names() []string {
	list := make([]string, 0, len(c.tables))
	for name := range c.tables {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// bytes is the size of all files.
func (c *core) bytes() (n int64) {
	for i := range c.files {
		n += c.files[i].size
	}
	return n
}

// oldest is when the oldest write without an answer was taken, in nanoseconds since 1970; 0: there is none.
func (c *core) oldest() (at int64) {
	for _, q := range c.tables {
		if len(q.open) > 0 && (at == 0 || q.open[0].time < at) {
			at = q.open[0].time
		}
	}
	return at
}

// numbered are the ordinals of the writes without an answer that may have been sent, rising.
func (c *core) numbered() (ordinals []uint64) {
	for _, q := range c.tables {
		for i := 0; i < len(q.open) && q.open[i].sequence != 0; i++ {
			ordinals = append(ordinals, q.open[i].ordinal)
		}
	}
	slices.Sort(ordinals)
	return ordinals
}

// live is how many bytes of the files are writes that are open or refused.
func (c *core) live() (n int64) {
	for i := range c.files {
		n += c.files[i].live
	}
	return n
}

// batch is what comes next of a table: writes that may have been sent already and nothing else, or if there are none,
// writes that were not. As many as the limits allow, one at least.
func (c *core) batch(table string, writesMax int, bytesMax int64) []entry {
	q := c.tables[table]
	if q == nil {
		return nil
	}
	n, bytes, numbered := 0, int64(0), len(q.open) > 0 && q.open[0].sequence != 0
	for ; n < len(q.open); n++ {
		e := q.open[n]
		if (e.sequence != 0) != numbered {
			break
		}
		if bytes += int64(e.at.size); n > 0 && (n == writesMax || bytes > bytesMax) {
			break
		}
	}
	return slices.Clone(q.open[:n])
}

// sequencesMax is how many sequences a registration has: the lower half of the number.
const sequencesMax = 1 << 32

// spent says that a new registration is due before more writes can be numbered.
func (c *core) spent() bool { return c.given+api.GroupWritesMax >= sequencesMax }

// number gives writes their sequences. The upper half of each is the epoch, which no other process is ever given. The
// record must be on the disk before the first of them is sent.
func (c *core) number(table string, ordinals []uint64) numberedRecord {
	first := c.epoch<<32 + c.given + 1
	c.given += uint64(len(ordinals))
	return numberedRecord{Table: table, First: first, Ordinals: ordinals}
}

// settled is what may be said with a table's writes that are numbered: every sequence below the lowest of them has its
// answer on the disk.
func (c *core) settled(table string) uint64 {
	if q := c.tables[table]; q != nil && len(q.open) > 0 && q.open[0].sequence != 0 {
		return q.open[0].sequence - 1
	}
	return 0
}

// done says whether the oldest file, which is not the last, holds nothing that is needed.
func (c *core) done() (number uint64, ok bool) {
	if len(c.files) < 2 || c.files[0].live > 0 {
		return 0, false
	}
	return c.files[0].number, true
}

// forget drops the oldest file, which was removed.
func (c *core) forget() { c.files = c.files[1:] }

// sparse says whether the oldest file is held by few writes only, so that it is worth moving them.
func (c *core) sparse() bool {
	return len(c.files) > 1 && c.files[0].live > 0 && c.files[0].live*2 < c.files[0].size
}
