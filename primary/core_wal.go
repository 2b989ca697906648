package primary

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// A segment of level `wal`, after its seal:
//
//	synced here ────────┐
//	sent to other nodes ┴▶ enough copies: durable ─▶ groups committed as pending, acknowledged
//	                                      │
//	                                      └▶ put into the object store ─▶ confirmed ─▶ holders may let go: settled
//
// It waits for holders for as long as it takes, never for fewer of them; its senders hear 503 after their patience. What
// is committed after the put is committed as confirmed.

// copying is what a segment of level `wal` has besides.
type copying struct {
	synced bool   // on this node's disk, with its name
	copies []kept // on other nodes
	hedged bool   // a further node was asked because one was slow

	unconfirmed    bool // records may be pending that no confirmation under way covers
	confirming     bool // a confirmation is under way, or due
	confirmFails   int
	confirmAgainAt time.Duration // 0: none is due
}

// kept is a copy on another node, or an attempt to make one.
type kept struct {
	node  string
	done  bool          // the node says that it has it, synced
	asked time.Duration // when
	given bool          // up: it failed, went silent or was slow, and another node is asked. It may still come to be done.
	at    time.Duration // when it was given up
}

// backlog is what has been sealed at level `wal` and is not in the object store yet.
type backlog struct {
	segments int
	bytes    int64
}

// sealedWAL counts a segment into the backlog.
func (c *core) sealedWAL(s *wal) {
	if s.level == api.DurabilityWAL {
		c.backlog.segments++
		c.backlog.bytes += s.bytes
	}
}

// overBacklog refuses a group of level `wal` while too much waits for the object store.
func (c *core) overBacklog(g *group) *api.Error {
	if g.level != api.DurabilityWAL || c.backlog.segments < c.backlogMax && c.backlog.bytes < c.backlogBytes {
		return nil
	}
	return api.OverloadedError(retryAfterMS, "primary %s: %d segments with %d bytes wait for the object store",
		c.node, c.backlog.segments, c.backlog.bytes)
}

// stretch is how often the interval between seals doubles because segments come faster than the object store takes
// them: the more wait, the fewer and larger they become, so that a bounded number of them lasts for minutes.
func (c *core) stretch() int { return min(bits.Len(uint(c.backlog.segments/backlogEasy)), 8) }

// backlogEasy is how many segments may wait before that begins: a few for each put under way.
const backlogEasy = 16

// holders are the nodes that have a segment synced, this one first.
func (s *wal) holders(self string) []string {
	nodes := []string{self}
	for _, k := range s.copies {
		if k.done {
			nodes = append(nodes, k.node)
		}
	}
	return nodes
}

// copied is how many other nodes have a segment.
func (s *wal) copied() (n int) {
	for _, k := range s.copies {
		if k.done {
			n++
		}
	}
	return n
}

// spread sees to it that as many other nodes as needed have a segment or are asked to take it. Whoever has failed or
// fallen silent is replaced by another, and asked again only where there is no other. Who is slow may be gone and still
// count as live, so one further node is asked in good time: one for each segment, or slow disks would get more to do.
func (c *core) spread(now time.Duration, s *wal) {
	if s.level != api.DurabilityWAL || s.stage != flying {
		return
	}
	missing := c.walCopies - 1
	for i := range s.copies {
		k := &s.copies[i]
		switch {
		case k.done || k.given:
		case !slices.Contains(c.live, k.node):
			k.given, k.at = true, now
		case now-k.asked >= holdPatience && !s.hedged && c.hasOther(s):
			k.given, k.at, s.hedged = true, now, true
			c.isSlow(now, k.node)
		}
		if k.done || !k.given {
			missing--
		}
	}
	for ; missing > 0; missing-- {
		node, ok := c.choose(now, s)
		if !ok {
			return
		}
		c.emit(effect{kind: doHold, segment: s.sequence, node: node})
	}
}

// holdPatience is how long a node may take before a further one is asked.
const holdPatience = 150 * time.Millisecond

// slowFor is how long others are asked before a node that has let a segment wait: one that has stopped is declared dead
// soon after, and every segment until then would wait for it. An answer of the node ends it.
const slowFor = time.Second

func (c *core) isSlow(now time.Duration, node string) {
	maps.DeleteFunc(c.slow, func(_ string, until time.Duration) bool { return until <= now })
	c.slow[node] = now + slowFor
}

// hasOther says whether there is a live node that was not asked yet to hold a segment.
func (c *core) hasOther(s *wal) bool {
	return slices.ContainsFunc(c.live, func(node string) bool {
		return !slices.ContainsFunc(s.copies, func(k kept) bool { return k.node == node })
	})
}

// holdPause is how long a node that failed is left alone, if there is no other.
const holdPause = 100 * time.Millisecond

// choose picks a live node for a segment, each in turn but for those that were slow a moment ago, and enters it.
func (c *core) choose(now time.Duration, s *wal) (node string, ok bool) {
	next, again := -1, -1
	for i := range c.live {
		turn := (c.turn + i) % len(c.live)
		node := c.live[turn]
		at := slices.IndexFunc(s.copies, func(k kept) bool { return k.node == node })
		switch {
		case at >= 0:
			if k := s.copies[at]; again < 0 && !k.done && k.given && now-k.at >= holdPause {
				again = at
			}
		case next < 0 || now < c.slow[c.live[next]] && now >= c.slow[node]:
			next = turn
		}
	}
	switch {
	case next >= 0:
		c.turn = (next + 1) % len(c.live)
		s.copies = append(s.copies, kept{node: c.live[next], asked: now})
		return c.live[next], true
	case again < 0:
		return "", false
	}
	s.copies[again].given, s.copies[again].asked = false, now
	return s.copies[again].node, true
}

// lacking says what a segment that is not durable waits for, if that is holders.
func (c *core) lacking(s *wal) string {
	if s.level != api.DurabilityWAL || !s.synced {
		return ""
	}
	return fmt.Sprintf(" (%d of %d copies are synced, %d other nodes live)", 1+s.copied(), c.walCopies, len(c.live))
}

// synced says that a segment of level `wal` is on this node's disk, with its name, and its groups at these offsets.
func (c *core) synced(now time.Duration, sequence uint64, offsets []uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.synced {
		return
	}
	s.synced = true
	s.place(offsets)
	c.enough(now, s)
	c.proceed(now)
}

// held says that another node has a segment, synced.
func (c *core) held(now time.Duration, sequence uint64, node string) {
	delete(c.slow, node)
	s := c.find(sequence)
	if c.mode == stopped || s == nil {
		return
	}
	for i := range s.copies {
		if s.copies[i].node == node {
			s.copies[i].done = true
		}
	}
	c.enough(now, s)
	c.proceed(now)
}

// holdFailed says that another node did not take a segment.
func (c *core) holdFailed(now time.Duration, sequence uint64, node string) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil {
		return
	}
	for i := range s.copies {
		if k := &s.copies[i]; k.node == node && !k.done {
			k.given, k.at = true, now
		}
	}
	c.spread(now, s)
	c.proceed(now)
}

// enough makes a segment durable once it has its copies, and has it put.
func (c *core) enough(now time.Duration, s *wal) {
	if s.stage != flying || !s.synced || 1+s.copied() < c.walCopies {
		return
	}
	c.ready = append(c.ready, s)
	c.become(now, s)
}

// upload has segments put while there are places for it.
func (c *core) upload() {
	for c.putting < c.uploads && len(c.ready) > 0 {
		s := c.ready[0]
		c.ready = slices.Delete(c.ready, 0, 1)
		c.putting++
		c.emit(effect{kind: doPut, segment: s.sequence})
	}
}

// uploaded says that a segment of level `wal` is in the object store.
func (c *core) uploaded(now time.Duration, sequence uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || s.stored {
		return
	}
	s.stored, s.putAgainAt = true, 0
	c.putting--
	c.backlog.segments--
	c.backlog.bytes -= s.bytes
	c.confirm(s)
	c.forget()
	c.proceed(now)
}

// confirm states that a segment is in the object store, if records of it may be pending. Requests that were sent before
// the put may still make some: each of their answers leads here again.
func (c *core) confirm(s *wal) {
	if !s.stored || !s.unconfirmed || s.confirming {
		return
	}
	s.unconfirmed, s.confirming = false, true
	c.emit(effect{kind: doConfirm, segment: s.sequence})
}

// confirmed says that the records of a segment are confirmed that were pending when it was stated.
func (c *core) confirmed(now time.Duration, sequence uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || !s.confirming {
		return
	}
	s.confirming, s.confirmFails = false, 0
	c.confirm(s)
	c.forget()
	c.proceed(now)
}

// confirmFailed says that it is not known whether they are.
func (c *core) confirmFailed(now time.Duration, sequence uint64) {
	s := c.find(sequence)
	if c.mode == stopped || s == nil || !s.confirming {
		return
	}
	s.confirmFails++
	s.confirmAgainAt = now + backoff(s.confirmFails)
	c.proceed(now)
}

// settled says whether nothing is left to do for a segment whose groups are all decided, and lets its holders go then.
func (c *core) settled(s *wal) bool {
	if !s.stored || s.unconfirmed || s.confirming {
		return false
	}
	var nodes []string
	for _, k := range s.copies { // those that were given up may have it, too
		nodes = append(nodes, k.node)
	}
	c.emit(effect{kind: doDrop, segment: s.sequence, nodes: nodes})
	return true
}
