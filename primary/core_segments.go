package primary

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// wal is one segment, from its first group until every group in it is decided.
type wal struct {
	sequence  uint64
	stage     walStage
	groups    []*group // in the order of the file
	bytes     int64    // of the file when it is sealed, at most
	undecided int
	abandoned int // groups[:abandoned] were told something, if only that it took too long

	durableAt   time.Duration
	putFailures int
	putAgainAt  time.Duration // 0: no put is due
}

type walStage uint8

const (
	opened  walStage = iota // takes groups
	sealed                  // waits for a place in flight
	flying                  // is being synced and put
	durable                 // is in the object store: its groups may be committed
)

// What a segment file has besides the frames, at most: header and footer, and an entry of the footer's index.
const (
	walFixedBytes = 512
	walEntryBytes = 64
)

// append puts a checked group into the open segment; one that is full is sealed before.
func (c *core) append(now time.Duration, g *group) {
	need := g.bytes + walEntryBytes
	if c.open != nil && c.open.bytes+need > c.segmentBytes {
		c.seal(now, "full")
	}
	if c.open == nil {
		c.open = &wal{sequence: c.next, bytes: walFixedBytes}
		c.next++
		c.segments = append(c.segments, c.open)
	}
	s := c.open
	s.groups = append(s.groups, g)
	s.bytes += need
	s.undecided++
	g.stage, g.segment, g.appendedAt = appended, s, now
	c.emit(effect{kind: doAppend, segment: s.sequence, group: g})
	sh := &c.shards[g.shard]
	sh.queue = append(sh.queue, g)
}

func (c *core) seal(now time.Duration, reason string) {
	s := c.open
	c.open, c.lastSeal = nil, now
	s.stage = sealed
	c.waiting = append(c.waiting, s)
	c.emit(effect{kind: doSeal, segment: s.sequence, reason: reason})
}

// hasPlace says whether a segment that is sealed now would be made durable at once.
func (c *core) hasPlace() bool { return c.flying+len(c.waiting) < c.inFlight }

// sealIfIdle is the adaptive half of sealing: little to do makes small segments soon, much to do makes large ones,
// because the places in flight are taken and the open segment goes on growing.
func (c *core) sealIfIdle(now time.Duration) {
	switch {
	case c.open == nil || !c.hasPlace():
	case c.mode == draining:
		c.seal(now, "drain")
	case now-c.lastSeal >= c.sealInterval:
		c.seal(now, "idle")
	}
}

func (c *core) launch() {
	for c.flying < c.inFlight && len(c.waiting) > 0 {
		s := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		s.stage = flying
		c.flying++
		c.emit(effect{kind: doLaunch, segment: s.sequence})
	}
}

func (c *core) find(sequence uint64) *wal {
	i, ok := slices.BinarySearchFunc(c.segments, sequence, func(s *wal, n uint64) int {
		return cmp.Compare(s.sequence, n)
	})
	if !ok {
		return nil
	}
	return c.segments[i]
}

// durable says that a segment is in the object store, with its groups at these offsets.
func (c *core) durable(now time.Duration, sequence uint64, offsets []uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.stage != flying {
		return
	}
	s.stage, s.durableAt, s.putAgainAt = durable, now, 0
	c.flying--
	for i, g := range s.groups {
		g.offset = offsets[i]
	}
	for i := range c.shards {
		c.pump(i)
	}
	c.proceed(now)
}

// putFailed says that the object store did not take a segment. It keeps its place, and is put again.
func (c *core) putFailed(now time.Duration, sequence uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.stage != flying {
		return
	}
	s.putFailures++
	s.putAgainAt = now + backoff(s.putFailures)
	c.proceed(now)
}

// backoff is the wait before the attempt that follows the given number of failures.
func backoff(failures int) time.Duration {
	return min(20*time.Millisecond<<min(failures-1, 10), time.Second)
}

// lookAfterPatience tells senders that have waited long enough that the outcome is unknown. Their groups stay where
// they are and keep their bytes: identities make a late commit harmless.
func (c *core) lookAfterPatience(now time.Duration) {
	for _, s := range c.segments {
		if s.stage != durable {
			c.abandonSlow(now, s)
		} else if now-s.durableAt >= c.commitPatience {
			c.abandonRest(s)
		}
	}
	c.forget()
}

func (c *core) abandonSlow(now time.Duration, s *wal) {
	for ; s.abandoned < len(s.groups); s.abandoned++ {
		g := s.groups[s.abandoned]
		if now-g.appendedAt < c.objectPatience {
			return
		}
		c.answer(g, api.GroupAnswer{Err: api.Errorf(api.Unavailable, "primary %s: segment %d is not durable after %s; "+
			"the outcome is unknown", c.node, s.sequence, c.objectPatience)})
	}
}

func (c *core) abandonRest(s *wal) {
	for _, g := range s.groups[s.abandoned:] {
		c.answer(g, api.GroupAnswer{Err: api.Errorf(api.Unavailable, "primary %s: no answer of the sequencer after %s; "+
			"the outcome is unknown", c.node, c.commitPatience)})
	}
	s.abandoned = len(s.groups)
}

// forget drops segments whose groups are all decided, from the oldest on.
func (c *core) forget() {
	n := 0
	for n < len(c.segments) && c.segments[n].stage == durable && c.segments[n].undecided == 0 {
		n++
	}
	c.segments = slices.Delete(c.segments, 0, n)
}
