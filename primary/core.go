package primary

import (
	"maps"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// limits are what the core decides by.
type limits struct {
	node           string
	epoch          uint64
	first          uint64 // sequence of the first segment
	shards         int
	admissionBytes int64         // frames admitted and not decided
	segmentBytes   int64         // of a segment file
	inFlight       int           // segments that are made durable at once, of each level
	sealInterval   time.Duration // at least this long between two seals, unless a segment is full
	walInterval    time.Duration // the same for segments of level `wal`
	walCopies      int           // synced copies that a segment of level `wal` needs, this node's included
	uploads        int           // segments of level `wal` that are put at once
	backlogMax     int           // segments of level `wal` that wait for the object store, and their bytes
	backlogBytes   int64
	objectPatience time.Duration // how long a sender waits for its segment to be durable
	commitPatience time.Duration // and then for the sequencer
}

// mode is what the core does with a new group: take it, or refuse it with 503.
type mode uint8

const (
	serving mode = iota
	draining
	stopped
)

// core decides: what is admitted, into which segment a group goes, when a segment is sealed, what is committed in
// which order, and what each sender is told. It has no goroutine, clock or I/O: every method is an event with its
// time (since the start of the process), and what has to be done comes out of take.
//
// The order that everything rests on: appended, sealed, durable, committed, answered. A group is acknowledged by
// nothing but the sequencer's answer, and a group of a segment that is not durable is in no commit request.
type core struct {
	limits
	mode     mode
	admitted int64 // bytes of all groups that are not decided, abandoned ones included (invariant 7)
	groups   int   // the number of those groups

	lines map[string]*line // by sender; only senders with a group under check

	levels   [levels]level // by durability
	next     uint64        // sequence of the next segment
	segments []*wal        // that something is still to be done for, the open ones included, by sequence
	lastLook time.Duration // when patience was last looked after
	lanes    []lane        // of commits: the shards at level `object`, then the shards at level `wal`

	// Of level `wal`: see core_wal.go.
	live []string // other nodes that live, as the shell knows it at this event
	turn int      // whose turn it is to be asked
	// slow are nodes that have let a segment wait, until when others are asked before them.
	slow    map[string]time.Duration
	ready   []*wal // are to be put
	putting int    // places for puts taken
	backlog backlog

	effects []effect
}

// levels is the number of durabilities. What is of one level shares segments and commit requests with nothing of the
// other: a write at `wal` waits for no object store, and the order of a sender's groups is kept within a level.
const levels = 2

// level is what the segments of one durability share.
type level struct {
	open     *wal   // the segment that is being appended to, nil if none
	waiting  []*wal // sealed, without a place in flight yet
	flying   int    // places taken
	lastSeal time.Duration
}

// line keeps one sender's groups in the order in which they arrived while they are checked side by side.
type line struct {
	groups []*group
}

// stage is how far a group has come.
type stage uint8

const (
	checking stage = iota + 1 // arrived, counted, not looked at yet
	checked                   // good, waiting for the groups before it of its sender
	appended                  // in a segment
	decided                   // refused, or answered by the sequencer
)

// group is one request of a sender, from its arrival to its decision.
type group struct {
	sender string
	bytes  int64 // of its frame

	// From the check on.
	shard       int
	level       api.Durability
	writes      int
	header      []byte // a copy: the frame is not kept until the commit
	length, crc uint32 // of the frame

	stage      stage
	answered   bool // its sender has been told something; it may be undecided still
	segment    *wal
	offset     uint64
	appendedAt time.Duration

	carried // what the shell carries along; the core never looks at it
}

type effectKind uint8

const (
	doAppend  effectKind = iota + 1 // group to segment
	doSeal                          // end segment
	doLaunch                        // make segment durable: sync it, and at level `object` put it
	doPut                           // put segment, which is synced, into the object store, perhaps again
	doHold                          // bring segment to node, which is to hold it
	doConfirm                       // state that segment is in the object store
	doDrop                          // segment is settled: its holders, nodes, may let it go, and so may the shell
	doCommit                        // send request of lane, for the first time or again
	doAnswer                        // tell the sender of group
	doStop                          // nothing more will come: err, or nil after a drain
)

// effect is something for the shell to do. Effects are done in their order, except that nobody waits for a doLaunch,
// doPut, doHold, doConfirm, doDrop, doCommit or doAnswer before the next.
type effect struct {
	kind    effectKind
	segment uint64
	reason  string // of doSeal
	group   *group
	level   api.Durability // of doAppend to doLaunch
	node    string
	nodes   []string
	lane    int
	shard   int // of the lane
	request *api.CommitRequest
	answer  api.GroupAnswer // of doAnswer; its Err is what a refused group is told
	err     error           // of doStop
}

func newCore(l limits) *core {
	c := &core{limits: l, next: max(l.first, 1), lines: make(map[string]*line), lanes: make([]lane, levels*l.shards),
		slow: make(map[string]time.Duration)}
	for i := range c.levels {
		c.levels[i].lastSeal = -c.interval(api.Durability(i))
	}
	return c
}

// interval is the least time between two seals of a level.
func (c *core) interval(d api.Durability) time.Duration {
	if d == api.DurabilityWAL {
		return c.walInterval << c.stretch()
	}
	return c.sealInterval
}

// take moves the effects since the last take to into, which it overwrites.
func (c *core) take(into []effect) []effect {
	into = append(into[:0], c.effects...)
	clear(c.effects)
	c.effects = c.effects[:0]
	return into
}

func (c *core) emit(e effect) { c.effects = append(c.effects, e) }

// arrive counts a group against the bound and gives it a place in its sender's line, or refuses it. It says whether
// the group is to be checked.
func (c *core) arrive(g *group) bool {
	switch {
	case c.mode != serving:
		c.refuse(g, api.Errorf(api.Unavailable, "primary %s takes no more groups", c.node))
		return false
	case c.admitted+g.bytes > c.admissionBytes:
		c.refuse(g, api.OverloadedError(retryAfterMS,
			"primary %s has %d bytes to do and takes at most %d", c.node, c.admitted, c.admissionBytes))
		return false
	}
	c.admitted += g.bytes
	c.groups++
	g.stage = checking
	l := c.lines[g.sender]
	if l == nil {
		l = new(line)
		c.lines[g.sender] = l
	}
	l.groups = append(l.groups, g)
	return true
}

// retryAfterMS is what an overloaded sender is asked to wait: a few seals.
const retryAfterMS = 50

// refuse answers a group that was not admitted.
func (c *core) refuse(g *group, e *api.Error) {
	g.stage = decided
	c.answer(g, api.GroupAnswer{Err: e})
}

// check says that a group was looked at: refusal is nil for a good one, whose header, length, crc, writes and shard
// are set. Good groups are appended in the order in which their sender sent them.
func (c *core) check(now time.Duration, g *group, refusal *api.Error) {
	if g.stage != checking {
		return // the core stopped meanwhile and has answered it
	}
	g.stage = checked
	if refusal == nil {
		refusal = c.overBacklog(g)
	}
	if refusal != nil {
		c.decide(g, api.GroupAnswer{Err: refusal})
	}
	l := c.lines[g.sender]
	for len(l.groups) > 0 && l.groups[0].stage != checking {
		if first := l.groups[0]; first.stage == checked {
			c.append(now, first)
		}
		l.groups[0] = nil
		l.groups = l.groups[1:]
	}
	if len(l.groups) == 0 {
		delete(c.lines, g.sender)
	}
	c.proceed(now)
}

// decide ends a group: its bytes are free, and its sender is told unless it was already.
func (c *core) decide(g *group, a api.GroupAnswer) {
	g.stage = decided
	c.admitted -= g.bytes
	c.groups--
	if g.segment != nil {
		g.segment.undecided--
	}
	c.answer(g, a)
}

// answer tells a sender, the first time. An abandoned group is told nothing more when it is decided in the end.
func (c *core) answer(g *group, a api.GroupAnswer) {
	if g.answered {
		return
	}
	g.answered = true
	c.emit(effect{kind: doAnswer, group: g, answer: a})
}

// proceed starts whatever has become possible. Every event ends with it.
func (c *core) proceed(now time.Duration) {
	if c.mode == stopped {
		return
	}
	for d := range api.Durability(levels) {
		c.sealIfIdle(now, d)
		c.launch(now, d)
	}
	c.upload()
	if c.mode == draining && c.groups == 0 && len(c.segments) == 0 {
		c.mode = stopped
		c.emit(effect{kind: doStop})
	}
}

// tick is the event that time has passed: seals, repeats and patience are due.
func (c *core) tick(now time.Duration) {
	if c.mode == stopped {
		return
	}
	for _, s := range c.segments {
		c.tickSegment(now, s)
	}
	for i := range c.lanes {
		c.resend(now, i)
	}
	if now-c.lastLook >= c.lookInterval() {
		c.lastLook = now
		c.lookAfterPatience(now)
	}
	c.proceed(now)
}

// lookInterval is how exactly patience is kept.
func (l *limits) lookInterval() time.Duration {
	return max(time.Millisecond, min(l.objectPatience/10, l.commitPatience/10, 100*time.Millisecond))
}

// nextTick says when tick is due next if nothing happens before; ok is false if it never is.
func (c *core) nextTick() (at time.Duration, ok bool) {
	if c.mode == stopped || c.groups == 0 && len(c.segments) == 0 {
		return 0, false
	}
	at = c.lastLook + c.lookInterval()
	sooner := func(t time.Duration) {
		if t > 0 {
			at = min(at, t)
		}
	}
	for d := range api.Durability(levels) {
		if l := &c.levels[d]; l.open != nil && c.hasPlace(d) {
			at = min(at, l.lastSeal+c.interval(d))
		}
	}
	for _, s := range c.segments {
		sooner(s.putAgainAt)
		sooner(s.confirmAgainAt)
	}
	for i := range c.lanes {
		sooner(c.lanes[i].againAt)
	}
	return at, true
}

// drain stops admitting; what is admitted is finished, and doStop follows.
func (c *core) drain(now time.Duration) {
	if c.mode == serving {
		c.mode = draining
		c.proceed(now)
	}
}

// stop ends everything at once, because err makes going on wrong or impossible: this epoch is fenced, a file is not
// what it should be, or the time to drain is over. Every sender is told 503: its group may have been committed.
func (c *core) stop(err error) {
	if c.mode == stopped {
		return
	}
	c.mode = stopped
	told := api.GroupAnswer{Err: api.Errorf(api.Unavailable, "primary %s stops: %v", c.node, err)}
	for _, sender := range slices.Sorted(maps.Keys(c.lines)) {
		c.tellAll(c.lines[sender].groups, told)
	}
	for _, s := range c.segments {
		c.tellAll(s.groups, told)
	}
	c.emit(effect{kind: doStop, err: err})
}

func (c *core) tellAll(groups []*group, a api.GroupAnswer) {
	for _, g := range groups {
		if g.stage != decided {
			c.decide(g, a)
		}
	}
}
