package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// world is what is around the cores of the scripts: nodes, a registry, and time, which passes in steps.
type world struct {
	now       time.Duration
	registry  api.Topology
	lease     api.Lease
	away      bool // the sequencer does not answer
	deaf      bool // publications are lost
	nodes     map[string]*node
	instances []*instance
	pending   []event // by time
	out       strings.Builder
}

// node is a node's process.
type node struct {
	beats   bool
	answers string // to a question: yes, nobody (no responders), or nothing
	state   api.State
	epoch   uint64 // of the process
	lag     uint64
}

// instance is one failover instance: its core and what surrounds that.
type instance struct {
	id     string
	core   *core
	clock  time.Duration // what its clock is ahead of the world's
	link   int
	paused bool
	stuck  []func(now time.Duration) // what has arrived while it was paused
	cutOff bool                      // half open: nothing arrives, and NATS does not know
}

type event struct {
	at time.Duration
	do func()
}

const (
	step   = 10 * time.Millisecond
	flight = 5 * time.Millisecond
)

func (w *world) after(d time.Duration, do func()) {
	i, _ := slices.BinarySearchFunc(w.pending, w.now+d+1, func(e event, at time.Duration) int { return int(e.at - at) })
	w.pending = slices.Insert(w.pending, i, event{w.now + d, do})
}

// at is the time by an instance's own clock.
func (w *world) at(i *instance) time.Duration { return w.now + i.clock }

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += step
		for len(w.pending) > 0 && w.pending[0].at <= w.now {
			e := w.pending[0]
			w.pending = w.pending[1:]
			e.do()
		}
		if w.now%heartbeatInterval == 0 {
			w.beat()
		}
		if w.now%tickInterval != 0 {
			continue
		}
		for _, i := range w.instances {
			if !i.paused {
				i.core.tick(w.at(i), i.link)
				w.act(i)
			}
		}
	}
}

func (w *world) beat() {
	for _, id := range w.ids() {
		n := w.nodes[id]
		if !n.beats {
			continue
		}
		b := api.Heartbeat{ID: id, State: n.state, Epoch: n.epoch, Lag: n.lag}
		if r, ok := w.registry.Node(id); ok {
			b.Role = r.Role
		}
		w.tell(func(i *instance, now time.Duration) { i.core.heard(b, now) })
	}
}

func (w *world) ids() []string {
	ids := make([]string, 0, len(w.nodes))
	for id := range w.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// tell gives something to all instances that can hear it.
func (w *world) tell(f func(i *instance, now time.Duration)) {
	for _, i := range w.instances {
		w.deliver(i, func(now time.Duration) { f(i, now) })
	}
}

func (w *world) deliver(i *instance, f func(now time.Duration)) {
	switch {
	case !i.reaches():
	case i.paused:
		i.stuck = append(i.stuck, f)
	default:
		f(w.at(i))
		w.act(i)
	}
}

func (w *world) wake(i *instance) {
	i.paused = false
	for _, f := range i.stuck {
		f(w.at(i))
	}
	i.stuck = nil
}

// act does what a core wants.
func (w *world) act(i *instance) {
	for _, a := range i.core.next(w.at(i)) {
		sent := w.at(i)
		switch a := a.(type) {
		case note:
			w.print(i, a)
		case publish:
			if !w.deaf {
				w.tell(func(i *instance, now time.Duration) { i.core.setTopology(a.Topology, now) })
			}
		case look:
			w.ask(i, func() { i.core.topologyAnswered(sent, w.topology(), nil, w.at(i)) },
				func(err error) { i.core.topologyAnswered(sent, api.Topology{}, err, w.at(i)) })
		case bump:
			w.ask(i, func() { i.core.leaseAnswered(sent, w.bump(a.LeaseRequest), nil, w.at(i)) },
				func(err error) { i.core.leaseAnswered(sent, api.LeaseAnswer{}, err, w.at(i)) })
		case ask:
			w.question(i, a, sent)
		default:
			w.print(i, a)
			w.ask(i, func() { t, err := w.decide(a); i.core.decided(a, t, err, w.at(i)) },
				func(err error) { i.core.decided(a, api.Topology{}, err, w.at(i)) })
		}
	}
}

func (w *world) print(i *instance, a action) {
	if len(w.instances) > 1 {
		fmt.Fprintf(&w.out, "%s ", i.id)
	}
	fmt.Fprintf(&w.out, "%s: %s\n", w.now, a)
}

// local is something of the instance's own process, as a timer.
func (w *world) local(i *instance, f func(now time.Duration)) {
	if i.paused {
		i.stuck = append(i.stuck, f)
		return
	}
	f(w.at(i))
	w.act(i)
}

// reaches says whether what is sent to an instance now arrives.
func (i *instance) reaches() bool { return i.link >= 0 && !i.cutOff }

// ask is a request to the sequencer.
func (w *world) ask(i *instance, done func(), failed func(error)) {
	w.after(flight, func() {
		if !w.away && i.reaches() {
			w.deliver(i, func(time.Duration) { done() })
			return
		}
		w.after(i.core.cfg.RequestTimeout, func() {
			w.local(i, func(time.Duration) { failed(bus.ErrUnknown) })
		})
	})
}

func (w *world) question(i *instance, a ask, sent time.Duration) {
	w.after(flight, func() {
		n := w.nodes[a.id]
		info := api.NodeInfo{Node: api.Node{ID: a.id, State: n.state, Epoch: n.epoch}, Lag: n.lag}
		answer := func(info api.NodeInfo, why string) func(time.Duration) {
			return func(now time.Duration) { i.core.asked(a, sent, info, why, now) }
		}
		switch {
		case n.answers == "yes" && i.reaches():
			w.deliver(i, answer(info, ""))
		case n.answers == "nobody" && i.reaches():
			w.deliver(i, answer(api.NodeInfo{}, reason(bus.ErrNoResponders)))
		default:
			w.after(i.core.cfg.AskTimeout, func() { w.local(i, answer(api.NodeInfo{}, reason(bus.ErrUnknown))) })
		}
	})
}

func (w *world) bump(r api.LeaseRequest) api.LeaseAnswer {
	if r.Holder == "" || r.Seen != w.lease {
		return api.LeaseAnswer{Lease: w.lease}
	}
	w.lease = api.Lease{Holder: r.Holder, Counter: w.lease.Counter + 1}
	return api.LeaseAnswer{Lease: w.lease, Bumped: true}
}

// decide is the sequencer's transaction; the sequencer's own scripts are about what it refuses.
func (w *world) decide(a action) (api.Topology, error) {
	switch a := a.(type) {
	case fail:
		n := w.member(a.ID)
		if a.Version != w.registry.Version {
			return api.Topology{}, api.VersionError(a.Version, w.registry.Version)
		}
		if n.Epoch != a.Epoch || n.State == api.Dead {
			return api.Topology{}, api.Errorf(api.Fenced, "node %s: epoch %d is fenced", a.ID, a.Epoch)
		}
		if n.State = api.Dead; n.StandsInFor != "" {
			n.Role, n.StandsInFor = api.Replica, ""
		}
		w.take(a.StandIn, a.place)
	case standIn:
		if a.Version != w.registry.Version {
			return api.Topology{}, api.VersionError(a.Version, w.registry.Version)
		}
		w.take(a.StandIn, a.ID)
	default:
		return api.Topology{}, errors.New("no such decision")
	}
	return w.changed(), nil
}

func (w *world) take(id, place string) {
	if n := w.member(id); n != nil {
		n.Role, n.StandsInFor = api.Primary, place
	}
}

func (w *world) member(id string) *api.Node {
	for i := range w.registry.Nodes {
		if w.registry.Nodes[i].ID == id {
			return &w.registry.Nodes[i]
		}
	}
	return nil
}

// topology is the registry as it is now.
func (w *world) topology() api.Topology {
	t := w.registry
	t.Nodes = slices.Clone(t.Nodes)
	return t
}

// changed is a new version of the topology, which is published.
func (w *world) changed() api.Topology {
	w.registry.Version++
	t := w.topology()
	if !w.deaf {
		w.tell(func(i *instance, now time.Duration) { i.core.setTopology(t, now) })
	}
	return t
}
