package failover

import (
	"math"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/lease"
)

// core is what one instance knows and decides. It has no clock: time comes in, this instance's own, from any origin.
// Whatever goes in, next says afterwards what is to be done.
type core struct {
	cfg Config

	topology api.Topology
	known    bool
	nodes    map[string]*watched // exactly the members

	ticked  time.Duration // when the loop was last seen running; meaningful once running is set
	running bool
	link    int // the number of the connection to NATS; below 0: there is none
	// proved is when the newest request was sent that the sequencer has answered: so long ago, at most, has this
	// instance been cut off without knowing it.
	proved   time.Duration
	answered time.Duration // when the sequencer's newest answer came

	lease     lease.Lease
	seen      api.Lease
	leads     bool
	bumped    time.Duration // when the bump was sent that made it lead
	leaseAt   time.Duration // when the next request about the lease is due
	leaseBusy bool

	lookAt   time.Duration
	lookBusy bool

	acting    bool // a decision is on its way
	actAt     time.Duration
	publishAt time.Duration

	patient time.Duration // until when most were silent at once just now
	notes   []note
}

// never is a moment long before any other.
const never = time.Duration(math.MinInt64 / 2)

func newCore(cfg Config) *core {
	return &core{cfg: cfg, nodes: make(map[string]*watched), lease: lease.Lease{Self: cfg.ID, TTL: cfg.LeaseTTL},
		link: -1, proved: never, answered: never, bumped: never, patient: never,
		leaseAt: never, lookAt: never, actAt: never, publishAt: never}
}

func (c *core) say(warn bool, text string, args ...any) {
	c.notes = append(c.notes, note{warn, text, args})
}

// tick says that the loop runs, and over which connection. Between two ticks nothing was missed, unless they are far
// apart or the connection is another: then nobody's silence before now counts.
func (c *core) tick(now time.Duration, link int) {
	gap := now - c.ticked
	switch {
	case link != c.link && link < 0:
		c.say(true, "no connection to NATS: nobody is judged")
	case link != c.link:
		c.anew(now)
	case c.running && gap > c.cfg.PauseMax:
		c.say(true, "this instance was paused: silence is counted anew", "for", gap)
		c.anew(now)
	}
	c.link, c.ticked, c.running = link, now, true
	if c.leads && now-c.bumped >= c.cfg.LeaseTTL {
		c.lead(false, now)
	}
}

// anew begins to count everybody's silence anew, and believes no outcome of before.
func (c *core) anew(now time.Duration) {
	for _, w := range c.nodes {
		w.begin(now)
	}
}

func (c *core) lead(leads bool, now time.Duration) {
	if c.leads == leads {
		return
	}
	c.leads = leads
	if leads {
		c.publishAt = now + c.cfg.PublishInterval
		c.say(false, "this instance acts")
	} else {
		c.say(false, "this instance does not act any more")
	}
}

// setTopology takes a topology, wherever it comes from. An older one changes nothing.
func (c *core) setTopology(t api.Topology, now time.Duration) {
	if c.known && t.Version <= c.topology.Version {
		return
	}
	c.topology, c.known = t, true
	before := c.nodes
	c.nodes = make(map[string]*watched, len(t.Nodes))
	for _, n := range t.Nodes {
		w := before[n.ID]
		if w == nil || w.epoch != n.Epoch {
			w = &watched{epoch: n.Epoch}
			w.begin(now)
		}
		c.nodes[n.ID] = w
	}
}

// heard takes a heartbeat. One of a node or an epoch that is ahead of the topology says that this has to be read again.
func (c *core) heard(b api.Heartbeat, now time.Duration) {
	w := c.nodes[b.ID]
	switch {
	case w == nil || b.Epoch > w.epoch:
		c.lookSoon(now)
	case b.Epoch == w.epoch:
		w.beat, w.beaten, w.quiet = b, true, false
		w.alive(now)
	}
}

func (c *core) lookSoon(now time.Duration) {
	c.lookAt = min(c.lookAt, now+againInterval)
}

// leaseAnswered takes the outcome of a bump that was sent at a time.
func (c *core) leaseAnswered(sent time.Duration, a api.LeaseAnswer, err error, now time.Duration) {
	c.leaseBusy = false
	if err != nil {
		return // the lease as it was seen is no longer up to date; the next answer says how it is
	}
	c.proved, c.answered = max(c.proved, sent), now
	c.seen = a.Lease
	if a.Bumped {
		c.bumped = sent
	}
	c.lead(a.Lease.Holder == c.cfg.ID && now-c.bumped < c.cfg.LeaseTTL, now)
}

// topologyAnswered takes the outcome of a look that was sent at a time.
func (c *core) topologyAnswered(sent time.Duration, t api.Topology, err error, now time.Duration) {
	c.lookBusy = false
	if err != nil {
		c.lookAt = now + againInterval
		return
	}
	c.proved, c.answered = max(c.proved, sent), now
	c.setTopology(t, now)
}

// decided takes the outcome of a fail or standIn. Of a refusal the reason is in the topology that is read then: it has
// changed since, for one.
func (c *core) decided(a action, t api.Topology, err error, now time.Duration) {
	c.acting = false
	if err != nil {
		c.say(!api.IsName(err, api.Conflict), "decision not carried out: looking again", "decision", a.String(),
			"error", err)
		c.actAt, c.lookAt = now+againInterval, now
		return
	}
	c.setTopology(t, now)
	c.publishAt = now
	switch a := a.(type) {
	case fail:
		if a.StandIn != "" {
			c.say(true, "node is dead: fenced, and another stands in", "node", a.ID, "epoch", a.Epoch, "silent", a.silent,
				"asked", a.why, "stand_in", a.StandIn, "for", a.place, "lag", a.lag, "version", t.Version)
			return
		}
		c.say(true, "node is dead: fenced", "node", a.ID, "epoch", a.Epoch, "silent", a.silent, "asked", a.why,
			"version", t.Version)
	case standIn:
		c.say(true, "a replica stands in for a dead primary", "node", a.ID, "stand_in", a.StandIn, "lag", a.lag,
			"version", t.Version)
	}
}

// next says what is to be done now.
func (c *core) next(now time.Duration) (todo []action) {
	if c.running && c.link >= 0 {
		todo = c.routine(now)
		todo = append(todo, c.questions(now)...)
		if c.leads && !c.acting && now >= c.actAt {
			if a := c.decide(now); a != nil {
				c.acting = true
				todo = append(todo, a)
			}
		}
	}
	for _, n := range c.notes {
		todo = append(todo, n)
	}
	c.notes = nil
	return todo
}

// routine is what every instance does, whoever acts: lease, topology, publishing.
func (c *core) routine(now time.Duration) (todo []action) {
	if !c.leaseBusy && now >= c.leaseAt {
		c.leaseBusy, c.leaseAt = true, now+c.cfg.LeaseInterval
		r := api.LeaseRequest{Name: api.FailoverLease, Seen: c.seen}
		if c.lease.May(now, c.seen) {
			r.Holder = c.cfg.ID
		}
		todo = append(todo, bump{r})
	}
	if !c.lookBusy && now >= c.lookAt {
		c.lookBusy, c.lookAt = true, now+topologyInterval
		todo = append(todo, look{})
	}
	if c.leads && c.known && now >= c.publishAt {
		c.publishAt = now + c.cfg.PublishInterval
		todo = append(todo, publish{c.topology})
	}
	return todo
}
