package replicator

import "time"

// coreConfig is how a shard's log is followed.
type coreConfig struct {
	poll       time.Duration // how long nobody needs to have said how far the log goes until it is read
	backoffMin time.Duration // after the first failure; doubles up to
	backoffMax time.Duration
	limit      int // records in one request
}

// core decides for one shard what to read next and when. It has no clock and does nothing: the shell tells it what
// happened, and asks what is due.
//
// There are two things to read: the log behind the position, and, for tables that stand still at a record that could
// not be applied, the log from that record again. A sweep goes once over the places where tables stand; then it rests
// for a while. Neither starves the other: when both are due they take turns.
type core struct {
	cfg coreConfig

	position uint64 // applied, or passed by a stalled table
	head     uint64 // the largest index heard of
	known    bool   // the log itself has been read since the start: head is not a guess
	behind   uint64 // confirmed records below position that stalled tables have not

	next     time.Time // when to read behind the position
	failures int

	stalled bool // some table stands
	sweep   sweep
	turn    bool // the sweep has the next turn
}

// sweep reads again from where tables stand.
type sweep struct {
	cursor   uint64
	at       time.Time
	attempts int    // sweeps in a row that brought nothing
	behind   uint64 // when the sweep began
}

// request is a piece of the log to read.
type request struct {
	from  uint64
	limit int
	again bool // of a sweep
}

// progress is what applying a piece has led to.
type progress struct {
	position uint64
	behind   uint64
	lowest   uint64 // log index of the first table that stands; 0: none does
	ahead    uint64 // the same, of those behind the piece
}

func newCore(cfg coreConfig, position uint64, now time.Time) *core {
	return &core{cfg: cfg, position: position, next: now}
}

// hint says that the log may have grown, or that a record of it is no longer pending.
func (c *core) hint(now time.Time, h Hint) {
	c.head = max(c.head, h.Head)
	grown := h.Head > c.position || h.Head == 0 && h.Changed == 0 && !h.Looked
	if c.failures == 0 && grown && now.Before(c.next) {
		c.next = now
	}
	if h.Looked && h.Head == c.position && c.known && c.failures == 0 && now.Before(c.next) {
		c.next = now.Add(c.cfg.poll) // it was read just now, as good as by us
	}
	if h.Changed != 0 {
		c.changed(now, h.Changed)
	}
}

// changed has the sweep read again from a record that is no longer pending. In the normal course of `wal` a record is
// pending for some milliseconds, so that this is how most records are applied: the pauses between sweeps are only for
// hints that were lost and records that stay pending.
func (c *core) changed(now time.Time, index uint64) {
	if !c.stalled || index > c.position {
		return
	}
	c.sweep.attempts = 0
	if c.sweep.at.After(now) {
		c.sweep.cursor, c.sweep.at = index, now
	}
	c.sweep.cursor = min(c.sweep.cursor, index)
}

// due returns what to read now, if anything.
func (c *core) due(now time.Time) (request, bool) {
	log := !now.Before(c.next)
	again := c.stalled && !now.Before(c.sweep.at)
	if again && (c.turn || !log) {
		c.turn = false
		return request{from: c.sweep.cursor, limit: c.cfg.limit, again: true}, true
	}
	c.turn = true
	return request{from: c.position + 1, limit: c.cfg.limit}, log
}

// wake is when something is due next.
func (c *core) wake() time.Time {
	if c.stalled && c.sweep.at.Before(c.next) {
		return c.sweep.at
	}
	return c.next
}

// failed says that a request brought nothing that could be applied.
func (c *core) failed(now time.Time, r request) {
	if r.again {
		c.rest(now)
		return
	}
	c.failures++
	c.next = now.Add(c.backoff(c.failures))
}

// answered says that the log was read: its head, and how many records came.
func (c *core) answered(now time.Time, r request, head uint64, records int) {
	c.head, c.known = max(c.head, head), true
	if records > 0 {
		return // applied follows
	}
	if r.again || head >= r.from {
		c.failed(now, r)
		return
	}
	c.head = head // a hint told of more than there is
	c.failures = 0
	c.next = now.Add(c.cfg.poll)
}

// applied says that the records of r are in the tables, as far as they could be.
func (c *core) applied(now time.Time, r request, p progress) {
	c.position, c.behind = p.position, p.behind
	c.head = max(c.head, c.position)
	if !r.again {
		c.failures = 0
		c.next = now
		if c.position >= c.head {
			c.next = now.Add(c.cfg.poll)
		}
	}
	c.stand(now, r, p)
}

func (c *core) stand(now time.Time, r request, p progress) {
	switch {
	case p.lowest == 0:
		c.stalled, c.sweep = false, sweep{}
	case !c.stalled:
		c.stalled = true
		c.sweep = sweep{cursor: p.lowest, behind: p.behind, at: now.Add(c.backoff(1))}
	case r.again && p.ahead != 0 && p.ahead <= p.position:
		c.sweep.cursor = p.ahead
	case r.again:
		if p.behind < c.sweep.behind || p.lowest > c.sweep.cursor {
			c.sweep.attempts = 0
		}
		c.sweep.cursor, c.sweep.behind = p.lowest, p.behind
		c.rest(now)
	}
}

// damaged says, outside of applying, that a table stands at index lowest (its file was found damaged).
func (c *core) damaged(now time.Time, lowest, behind uint64) {
	c.behind = behind
	if !c.stalled || lowest < c.sweep.cursor {
		c.stalled, c.sweep = true, sweep{cursor: lowest, behind: behind, at: now}
	}
}

func (c *core) rest(now time.Time) {
	c.sweep.attempts++
	c.sweep.at = now.Add(c.backoff(c.sweep.attempts))
}

// backoff doubles from backoffMin with every failure.
func (c *core) backoff(failures int) time.Duration {
	d := c.cfg.backoffMin
	for i := 1; i < failures && d < c.cfg.backoffMax; i++ {
		d *= 2
	}
	return min(d, c.cfg.backoffMax)
}

// lagUnknown is what a shard counts for whose log has not been read yet. It is larger than any real lag, so that a
// node that has just started is nobody's choice for anything.
const lagUnknown = 1 << 40

// lag is the number of records that are not applied.
func (c *core) lag() uint64 {
	if !c.known {
		return lagUnknown
	}
	return c.head - min(c.head, c.position) + c.behind
}
