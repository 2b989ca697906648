package producer

import (
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// WindowMax bounds how far above settled a sequence may be when it is sent. It is below api.AnswersMax, past which the
// cluster refuses, because the cluster may not have heard yet how far this producer has settled.
const WindowMax = api.AnswersMax - 24

// Core numbers the writes of one producer. It is for one goroutine at a time.
//
// In a window, from a table's oldest open write on, sequences have no gaps: the cluster refuses one that is too far
// above settled. A table without open writes needs no memory, for the next window of any table begins above floor.
type Core struct {
	id    string
	epoch uint64 // of the registration; 0 before the first
	fresh uint64 // epoch of the registration before which nobody knows what became of what was sent
	floor uint64 // at least every sequence of a window that is gone
	// tables have open writes.
	tables map[string]*window
}

// window is a table's writes from the oldest open one on; it is never empty.
type window struct {
	settled uint64 // all up to here are done
	last    uint64 // taken
	done    bits   // those above settled+1 that are done, by their distance from settled
}

// New is a producer that has not registered yet.
func New(id string) *Core { return &Core{id: id, tables: make(map[string]*window)} }

// ID is the producer's.
func (c *Core) ID() string { return c.id }

// Epoch is that of the registration, 0 before the first.
func (c *Core) Epoch() uint64 { return c.epoch }

// Kept is what a log has of one table.
type Kept struct {
	Table string
	Last  uint64   // the highest sequence that was taken
	Open  []uint64 // those without an answer in the log, rising, not empty
}

// Restore tells a new core what the log of an earlier process has: floor is the highest sequence that it has ever
// taken in any table, and kept are the tables with open writes. It is called once, before anything is taken.
func (c *Core) Restore(floor uint64, kept []Kept) error {
	if len(c.tables) > 0 || c.floor > 0 {
		return fmt.Errorf("producer %s: restored after it has begun", c.id)
	}
	for _, k := range kept {
		w, err := k.window()
		if err != nil {
			return fmt.Errorf("producer %s: %w", c.id, err)
		}
		c.tables[k.Table] = w
		floor = max(floor, k.Last)
	}
	c.floor = floor
	return nil
}

func (k *Kept) window() (*window, error) {
	if len(k.Open) == 0 || k.Open[0] == 0 || k.Open[len(k.Open)-1] > k.Last {
		return nil, fmt.Errorf("table %s: open writes %v of %d", k.Table, k.Open, k.Last)
	}
	w := &window{settled: k.Open[0] - 1, last: k.Last}
	for i, open := 0, k.Open; i < WindowMax && w.settled+1+uint64(i) <= k.Last; i++ {
		if s := w.settled + 1 + uint64(i); len(open) > 0 && open[0] == s {
			open = open[1:]
		} else {
			w.done.set(i)
		}
	}
	return w, nil
}

// Registered takes a registration. Known is the answer's: the cluster still has what it knew of the producer. kept
// says that a log told Restore what to expect there.
//
// It reports whether the outcome of what was sent under earlier registrations can still be learned by sending it
// again. If not, it is unknown for good, and whoever waits for it is told.
func (c *Core) Registered(a api.RegisterProducerAnswer, kept bool) (repeatable bool) {
	c.epoch = a.Epoch
	if !a.Known {
		c.fresh = a.Epoch
		return false
	}
	if !kept {
		// Somebody has used the id before, and nobody remembers which numbers. Epochs only rise, and no process gives
		// so many numbers in one.
		c.floor = max(c.floor, a.Epoch<<32)
	}
	return true
}

// Repeatable says whether a write that was sent under an epoch may be sent again. Else its outcome is unknown.
func (c *Core) Repeatable(epoch uint64) bool { return epoch >= c.fresh }

// Room says whether the next write of a table could be sent at once.
func (c *Core) Room(table string) bool {
	w := c.tables[table]
	return w == nil || w.last < w.settled+WindowMax
}

// Take numbers a write. From then on it is open, until Done.
func (c *Core) Take(table string) (sequence uint64) {
	w := c.tables[table]
	if w == nil {
		w = &window{settled: c.floor, last: c.floor}
		c.tables[table] = w
	}
	w.last++
	return w.last
}

// Identity is what makes every attempt of an open write the same one, under the registration of now. ok is false while
// it is too far above settled to be sent.
func (c *Core) Identity(table string, sequence uint64) (id api.ProducerSeq, ok bool) {
	w := c.tables[table]
	if w == nil || sequence <= w.settled || sequence > w.last {
		panic(fmt.Sprintf("producer: write %d of table %s is not open", sequence, table))
	}
	if sequence > w.settled+WindowMax {
		return api.ProducerSeq{}, false
	}
	return api.ProducerSeq{Producer: c.id, Epoch: c.epoch, Sequence: sequence, Settled: w.settled}, true
}

// Done says that nobody waits for the answer to this write any more: the application has it, or has given up, and a
// log, if there is one, has that written down. It reports whether settled has moved.
func (c *Core) Done(table string, sequence uint64) (moved bool) {
	w := c.tables[table]
	if w == nil || sequence <= w.settled || sequence > min(w.last, w.settled+WindowMax) {
		panic(fmt.Sprintf("producer: write %d of table %s was not sent", sequence, table))
	}
	w.done.set(int(sequence - w.settled - 1))
	n := w.done.shift()
	w.settled += uint64(n)
	if w.settled == w.last {
		c.floor = max(c.floor, w.settled)
		delete(c.tables, table)
	}
	return n > 0
}

// Open is how many tables have open writes.
func (c *Core) Open() int { return len(c.tables) }

// bits is a set of numbers from 0 to WindowMax.
type bits [(WindowMax + 63) / 64]uint64

func (b *bits) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b *bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// shift takes the numbers from 0 on that are in the set without a gap away, moves the rest down, and says how many.
func (b *bits) shift() (n int) {
	for n < WindowMax && b.has(n) {
		n++
	}
	words, rest := n/64, n%64
	for i := range b {
		var low, high uint64
		if i+words < len(b) {
			low = b[i+words]
		}
		if i+words+1 < len(b) {
			high = b[i+words+1]
		}
		b[i] = low >> rest
		if rest > 0 {
			b[i] |= high << (64 - rest)
		}
	}
	return n
}
