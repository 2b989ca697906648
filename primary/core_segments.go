package primary

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// wal is one segment, from its first group until every group in it is decided; at level `wal` until it is settled, too.
type wal struct {
	sequence  uint64
	level     api.Durability
	stage     walStage
	groups    []*group // in the order of the file
	bytes     int64    // of the file when it is sealed, at most
	undecided int
	abandoned int // groups[:abandoned] were told something, if only that it took too long

	durableAt   time.Duration
	stored      bool // it is in the object store
	putFailures int
	putAgainAt  time.Duration // 0: no put is due

	copying // of level `wal`
}

type walStage uint8

const (
	opened  walStage = iota // takes groups
	sealed                  // waits for a place in flight
	flying                  // is being made durable: synced and put, at level `wal` synced here and on other nodes
	durable                 // is where its level says: its groups may be committed
)

// Why a segment is sealed.
const (
	sealFull  = "full"
	sealIdle  = "idle" // there was a place in flight for it
	sealDrain = "drain"
)

// What a segment file has besides the frames, at most: header and footer, and an entry of the footer's index.
const (
	walFixedBytes = 512
	walEntryBytes = 64
)

// append puts a checked group into the open segment of its level; one that is full is sealed before.
func (c *core) append(now time.Duration, g *group) {
	need, l := g.bytes+walEntryBytes, &c.levels[g.level]
	if l.open != nil && l.open.bytes+need > c.segmentBytes {
		c.seal(now, g.level, sealFull)
	}
	if l.open == nil {
		l.open = &wal{sequence: c.next, level: g.level, bytes: walFixedBytes}
		c.next++
		c.segments = append(c.segments, l.open)
	}
	s := l.open
	s.groups = append(s.groups, g)
	s.bytes += need
	s.undecided++
	g.stage, g.segment, g.appendedAt = appended, s, now
	c.emit(effect{kind: doAppend, segment: s.sequence, level: s.level, group: g})
	lane := &c.lanes[c.laneOf(g)]
	lane.queue = append(lane.queue, g)
}

func (c *core) seal(now time.Duration, d api.Durability, reason string) {
	l := &c.levels[d]
	s := l.open
	l.open, l.lastSeal = nil, now
	s.stage = sealed
	l.waiting = append(l.waiting, s)
	c.sealedWAL(s)
	c.emit(effect{kind: doSeal, segment: s.sequence, level: d, reason: reason})
}

// hasPlace says whether a segment that is sealed now would be made durable at once.
func (c *core) hasPlace(d api.Durability) bool {
	l := &c.levels[d]
	return l.flying+len(l.waiting) < c.inFlight
}

// sealIfIdle is the adaptive half of sealing: little to do makes small segments soon, much to do makes large ones,
// because the places in flight are taken and the open segment goes on growing.
func (c *core) sealIfIdle(now time.Duration, d api.Durability) {
	switch l := &c.levels[d]; {
	case l.open == nil || !c.hasPlace(d):
	case c.mode == draining:
		c.seal(now, d, sealDrain)
	case now-l.lastSeal >= c.interval(d):
		c.seal(now, d, sealIdle)
	}
}

func (c *core) launch(now time.Duration, d api.Durability) {
	l := &c.levels[d]
	for l.flying < c.inFlight && len(l.waiting) > 0 {
		s := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		s.stage = flying
		l.flying++
		c.emit(effect{kind: doLaunch, segment: s.sequence, level: d})
		c.spread(now, s)
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

// durable says that a segment of level `object` is in the object store, with its groups at these offsets.
func (c *core) durable(now time.Duration, sequence uint64, offsets []uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.stage != flying {
		return
	}
	s.stored, s.putAgainAt = true, 0
	s.place(offsets)
	c.become(now, s)
	c.proceed(now)
}

// place tells the groups where they are in the file.
func (s *wal) place(offsets []uint64) {
	for i, g := range s.groups {
		g.offset = offsets[i]
	}
}

// become makes a segment durable: its groups may be committed, and its place in flight is free.
func (c *core) become(now time.Duration, s *wal) {
	s.stage, s.durableAt = durable, now
	c.levels[s.level].flying--
	for i := range c.lanes {
		c.pump(i)
	}
}

// putFailed says that the object store did not take a segment. It keeps its place, and is put again.
func (c *core) putFailed(now time.Duration, sequence uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.stored {
		return
	}
	s.putFailures++
	s.putAgainAt = now + backoff(s.putFailures)
	c.proceed(now)
}

// tickSegment repeats what is due for a segment.
func (c *core) tickSegment(now time.Duration, s *wal) {
	if s.putAgainAt > 0 && now >= s.putAgainAt {
		s.putAgainAt = 0
		c.emit(effect{kind: doPut, segment: s.sequence})
	}
	if s.confirmAgainAt > 0 && now >= s.confirmAgainAt {
		s.confirmAgainAt = 0
		c.emit(effect{kind: doConfirm, segment: s.sequence})
	}
	c.spread(now, s)
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
		c.answer(g, api.GroupAnswer{Err: api.Errorf(api.Unavailable, "primary %s: segment %d is not durable after %s%s; "+
			"the outcome is unknown", c.node, s.sequence, c.objectPatience, c.lacking(s))})
	}
}

func (c *core) abandonRest(s *wal) {
	for _, g := range s.groups[s.abandoned:] {
		c.answer(g, api.GroupAnswer{Err: api.Errorf(api.Unavailable, "primary %s: no answer of the sequencer after %s; "+
			"the outcome is unknown", c.node, c.commitPatience)})
	}
	s.abandoned = len(s.groups)
}

// forget drops segments for which nothing is left to do.
func (c *core) forget() {
	c.segments = slices.DeleteFunc(c.segments, func(s *wal) bool {
		if s.stage != durable || s.undecided > 0 {
			return false
		}
		s.groups, s.abandoned = nil, 0 // a segment that waits for the object store needs them no more
		return s.level == api.DurabilityObject || c.settled(s)
	})
}
