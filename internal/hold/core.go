package hold

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// limits are what the core decides by.
type limits struct {
	bytesMax    int64         // of all copies
	segmentsMax int           // the number of them
	openMax     int           // of those that are still arriving
	quiet       time.Duration // after which one that does not arrive any more is given up
	lookAfter   time.Duration // how long a copy is left to its primary before this node looks for itself
	lookMax     time.Duration // the longest pause between two looks
}

// core keeps the books of what is held. It has no goroutine, clock or I/O: times are since the start of the process.
// While something is done with a copy it is busy, and nothing else is begun with it.
type core struct {
	limits
	held  map[api.SegmentID]*held
	bytes int64 // of all copies, those that are still arriving at their full length
	open  int
}

// held is one copy, whole or on its way.
type held struct {
	id    api.SegmentID
	total int64
	have  int64
	whole bool
	busy  bool
	since time.Duration // when the last piece came, or it was found at the start
	due   time.Duration // of a whole one: when to look after it
	looks int
}

// step is what is to be done with a piece.
type step uint8

const (
	refuse   step = iota // the error says why
	begin                // write a new file with it
	extend               // append it
	nothing              // it is here already
	finished             // the whole segment is
)

func newCore(l limits) *core { return &core{limits: l, held: make(map[api.SegmentID]*held)} }

// retryAfterMS is when a refused primary may come back, if it finds no other node.
const retryAfterMS = 100

// piece decides about a piece that has come. After begin and extend the copy is busy until written.
func (c *core) piece(now time.Duration, r *api.HoldRequest) (step, *held, *api.Error) {
	h := c.held[r.Segment]
	n := int64(len(r.Data))
	switch {
	case h != nil && h.busy:
		return refuse, nil, api.OverloadedError(retryAfterMS, "segment %s is being worked on", r.Segment)
	case h != nil && h.whole && h.total == int64(r.Total):
		return finished, h, nil
	case h != nil && h.whole:
		return refuse, nil, api.Errorf(api.Conflict, "segment %s is held with %d bytes, not %d", r.Segment, h.total, r.Total)
	case r.Offset == 0:
		return c.begin(now, h, r)
	case h == nil || int64(r.Total) != h.total || int64(r.Offset) > h.have:
		return refuse, nil, api.Errorf(api.Invalid, "segment %s: a piece at %d, but the bytes before it are not here",
			r.Segment, r.Offset)
	case int64(r.Offset)+n <= h.have:
		return nothing, h, nil
	case int64(r.Offset) < h.have:
		return refuse, nil, api.Errorf(api.Invalid, "segment %s: a piece at %d overlaps what is here", r.Segment, r.Offset)
	}
	h.busy, h.since = true, now
	return extend, h, nil
}

// begin makes room for a segment; one that was arriving begins anew.
func (c *core) begin(now time.Duration, old *held, r *api.HoldRequest) (step, *held, *api.Error) {
	bytes, count, open := c.bytes+int64(r.Total), len(c.held)+1, c.open+1
	if old != nil {
		bytes, count, open = bytes-old.total, count-1, open-1
	}
	if bytes > c.bytesMax || count > c.segmentsMax || open > c.openMax {
		return refuse, nil, api.OverloadedError(retryAfterMS, "%d segments with %d bytes are held, %d on their way: "+
			"there is no room for %d bytes more", len(c.held), c.bytes, c.open, r.Total)
	}
	h := &held{id: r.Segment, total: int64(r.Total), busy: true, since: now}
	c.held[r.Segment], c.bytes, c.open = h, bytes, open
	return begin, h, nil
}

// written says that a piece is in its file. It returns whether that was the last one: then the copy stays busy until
// synced.
func (c *core) written(h *held, n int) (last bool) {
	h.have += int64(n)
	h.busy = h.have == h.total
	return h.busy
}

// synced says that a copy is whole, sound, and durable.
func (c *core) synced(now time.Duration, h *held) {
	c.open--
	h.whole, h.busy, h.since, h.due = true, false, now, now+c.lookAfter
}

// found takes in a copy that a restart has found, due at once: it is not known what became of its segment meanwhile.
// The bounds do not hold for it.
func (c *core) found(now time.Duration, id api.SegmentID, size int64) {
	c.held[id] = &held{id: id, total: size, have: size, whole: true, since: now, due: now}
	c.bytes += size
}

// gone says that a copy is not here any more, or could not be written.
func (c *core) gone(h *held) {
	if c.held[h.id] != h {
		return
	}
	delete(c.held, h.id)
	c.bytes -= h.total
	if !h.whole {
		c.open--
	}
}

// drop takes up a primary's word that a copy may go. ok is false if there is no whole copy that nobody works on.
func (c *core) drop(id api.SegmentID) (h *held, ok bool) {
	h = c.held[id]
	if h == nil || h.busy || !h.whole {
		return nil, false
	}
	h.busy = true
	return h, true
}

// fenced has the copies of segments whose epoch is over looked at now.
func (c *core) fenced(now time.Duration, t *api.Topology) {
	for id, h := range c.held {
		n, known := t.Node(id.Node)
		if !known || n.Epoch != id.Epoch || n.State == api.Dead {
			h.due, h.looks = min(h.due, now), 0
		}
	}
}

// take returns the copies that are to be looked at now, at most some, and makes them busy until looked or gone.
func (c *core) take(now time.Duration, most int) []*held {
	var due []*held
	for _, h := range c.held {
		if h.whole && !h.busy && h.due <= now {
			due = append(due, h)
		}
	}
	slices.SortFunc(due, func(a, b *held) int { return cmp.Or(cmp.Compare(a.due, b.due), compare(a.id, b.id)) })
	due = due[:min(len(due), most)]
	for _, h := range due {
		h.busy = true
	}
	return due
}

// stale returns the copies that have not arrived in time, which are given up, and makes them busy until gone.
func (c *core) stale(now time.Duration) []*held {
	var old []*held
	for _, h := range c.held {
		if !h.whole && !h.busy && now-h.since > c.quiet {
			h.busy = true
			old = append(old, h)
		}
	}
	slices.SortFunc(old, func(a, b *held) int { return compare(a.id, b.id) })
	return old
}

// looked says that a copy was looked at and stays. Pauses grow, as whatever it waits for seems to take long.
func (c *core) looked(now time.Duration, h *held) {
	h.busy = false
	h.due = now + min(c.lookMax, c.lookAfter/4<<min(h.looks, 10))
	h.looks++
}

func compare(a, b api.SegmentID) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Sequence, b.Sequence))
}
