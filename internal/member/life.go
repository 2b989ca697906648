package member

import (
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// Life decides what a node's process does from its registration to its end: it follows what the topology says of the
// node. It has no goroutine, clock or I/O: methods are events, and what has to be done comes out of Take. Whoever does
// it reports back by the event that the action names.
//
//	register ─▶ settle ─▶ catch up ─▶ go live ─▶ live: the primary part runs while the topology says primary
//	   ▲                                           │
//	   └──────── this epoch was declared dead ─────┘
//
// The topology may be announced late, twice, out of order or not at all: only a newer version counts, and Life says by
// Doubts when it should be asked for soon.
type Life struct {
	id    string
	phase phase
	epoch uint64
	own   api.Node // what the topology says of the node under this epoch

	newest api.Topology // the newest that was seen, also while there is no epoch
	known  bool

	part    part
	doubt   bool  // somebody refused this epoch, and the topology has not been read since
	leaving bool  // on purpose; or because of failure
	failure error // why the process ends, if not on purpose

	actions []Action
	ended   bool
	err     error
}

// phase is how far the process has come under its epoch.
type phase uint8

const (
	unregistered phase = iota // has no epoch, or none that is good for anything
	settling
	catching
	arriving // asks to be live
	live
	departing // has said that it drains, or is saying it
	departed  // is saying that it has stopped
)

// part is the state of the primary part: what takes writes.
type part uint8

const (
	off part = iota
	starting
	serving
	draining // finishes what it has
	stopping // ends at once
)

// ActionKind is a kind of Action.
type ActionKind uint8

const (
	// DoRegister asks for an epoch until there is an answer: Registered, or Failed. Replaces is the epoch that this
	// process had before, 0 if none.
	DoRegister ActionKind = iota + 1
	// DoSettle decides about the segments of the node's earlier epochs: Settled, or Failed.
	DoSettle
	// DoCatchUp waits until the node has caught up: CaughtUp.
	DoCatchUp
	// DoSay writes State into the registry, conditional on the epoch: Said, or Refused.
	DoSay
	// DoStartPrimary starts the primary part: PrimaryServes, and PrimaryEnded when it ends for whatever reason.
	DoStartPrimary
	// DoDrainPrimary has it refuse new groups and finish those that it has: PrimaryEnded.
	DoDrainPrimary
	// DoStopPrimary has it answer everything that is open with 503, now: PrimaryEnded.
	DoStopPrimary
	// DoAsk reads the topology as soon as possible: Read, or nothing.
	DoAsk
)

// Action is something for the shell to do. An answer that comes when Epoch is over is ignored, so it may be late.
type Action struct {
	Kind     ActionKind
	Epoch    uint64    // of this process now
	Replaces uint64    // of DoRegister
	State    api.State // of DoSay
}

// Self is what the node says of itself in its heartbeats.
type Self struct {
	Epoch uint64
	Role  api.Role
	State api.State
}

// NewLife begins the life of a process of node id. The first action is to register.
func NewLife(id string) *Life {
	l := &Life{id: id}
	l.emit(Action{Kind: DoRegister})
	return l
}

// Take returns what has to be done since it was called last.
func (l *Life) Take() []Action {
	a := l.actions
	l.actions = nil
	return a
}

func (l *Life) emit(a Action) {
	a.Epoch = l.epoch
	l.actions = append(l.actions, a)
}

// Ended says whether the process is to end, and why: nil if it has left on purpose.
func (l *Life) Ended() (bool, error) { return l.ended, l.err }

// Doubts says that the topology should be read soon: what is known of it does not fit.
func (l *Life) Doubts() bool { return l.doubt }

// Self is what heartbeats say. The role is primary only while the primary part takes writes, so that nobody is sent to
// a node that does not listen yet, or not any more. ok is false as long as there is no epoch.
func (l *Life) Self() (s Self, ok bool) {
	s = Self{Epoch: l.epoch, Role: l.own.Role, State: api.Recovering}
	switch {
	case l.phase == unregistered:
		return s, false
	case l.phase == departing:
		s.State = api.Draining
	case l.phase == departed:
		s.State = api.Stopped
	case l.phase == live:
		s.State = api.Live
		if l.part != serving {
			s.Role = api.Replica
		}
	}
	return s, true
}

// Registered is the answer to DoRegister.
func (l *Life) Registered(a api.RegisterNodeAnswer) {
	if l.phase != unregistered || l.ended {
		return
	}
	l.epoch, l.doubt = a.Epoch, false
	l.own, _ = a.Topology.Node(l.id)
	l.phase = settling
	l.emit(Action{Kind: DoSettle})
	l.learn(a.Topology)
	l.judge()
}

// Settled is the answer to DoSettle, CaughtUp the one to DoCatchUp, both of an epoch.
func (l *Life) Settled(epoch uint64) {
	if l.phase == settling && epoch == l.epoch {
		l.phase = catching
		l.emit(Action{Kind: DoCatchUp})
	}
}

// CaughtUp says that the node is near the end of the logs.
func (l *Life) CaughtUp(epoch uint64) {
	if l.phase == catching && epoch == l.epoch {
		l.phase = arriving
		l.emit(Action{Kind: DoSay, State: api.Live})
	}
}

// Topology takes a topology from wherever it comes.
func (l *Life) Topology(t api.Topology) {
	if l.learn(t) {
		l.judge()
	}
}

// Read takes a topology that was read after the last DoAsk.
func (l *Life) Read(t api.Topology) {
	l.doubt = false
	l.learn(t)
	l.judge()
}

// learn says whether t is newer than what was known.
func (l *Life) learn(t api.Topology) bool {
	if l.known && t.Version <= l.newest.Version {
		return false
	}
	l.newest, l.known = t, true
	return true
}

// Refused says that the sequencer has refused something because this epoch is over. What that means the topology tells:
// the node was declared dead, another process has taken over, or the node was removed.
func (l *Life) Refused(epoch uint64) {
	switch {
	case epoch != l.epoch || l.phase == unregistered || l.ended:
	case l.leaving: // it has nothing to lose any more
		l.giveUp(l.failure)
	default:
		l.doubt = true
		l.emit(Action{Kind: DoAsk})
	}
}

// judge draws the conclusions from the topology.
func (l *Life) judge() {
	if l.ended || l.phase == unregistered || !l.known {
		return
	}
	own, member := l.newest.Node(l.id)
	switch {
	case !member:
		l.giveUp(fmt.Errorf("node %s was removed from the cluster: start it again to join as a new member", l.id))
	case own.Epoch > l.epoch:
		l.giveUp(fmt.Errorf("another process of node %s has taken over: it has epoch %d, this one has %d: "+
			"does a copy of the data folder run somewhere?", l.id, own.Epoch, l.epoch))
	case own.Epoch < l.epoch: // from before this epoch; a newer topology will come
	case own.State == api.Dead:
		l.declaredDead()
	default:
		l.own = own
		if l.phase == arriving && own.State == api.Live {
			l.phase = live
		}
		l.arrange()
	}
}

// arrange starts and drains the primary part as the topology wants it.
func (l *Life) arrange() {
	if l.phase != live {
		return
	}
	want := l.own.Role == api.Primary
	switch {
	case want && l.part == off && !l.doubt:
		l.part = starting
		l.emit(Action{Kind: DoStartPrimary})
	case !want && (l.part == starting || l.part == serving):
		l.drain()
	}
}

func (l *Life) drain() {
	l.part = draining
	l.emit(Action{Kind: DoDrainPrimary})
}

// halt ends the primary part at once, if it runs.
func (l *Life) halt() {
	if l.part != off && l.part != stopping {
		l.part = stopping
		l.emit(Action{Kind: DoStopPrimary})
	}
}

// declaredDead gives up the epoch: what is open has an unknown outcome, since none of it can be committed any more.
func (l *Life) declaredDead() {
	if l.leaving {
		l.giveUp(l.failure)
		return
	}
	l.phase = unregistered
	l.halt()
	l.proceed()
}

// giveUp ends the process without a word to the registry: it has nothing to say there any more.
func (l *Life) giveUp(err error) {
	l.leaving, l.failure = true, err
	l.phase = unregistered
	l.halt()
	l.proceed()
}

// proceed goes on once nothing takes writes.
func (l *Life) proceed() {
	switch {
	case l.part != off || l.ended:
	case l.phase == departing && l.failure == nil:
		l.phase = departed
		l.emit(Action{Kind: DoSay, State: api.Stopped})
	case l.leaving && l.phase != departed:
		l.end(l.failure)
	case l.phase == unregistered:
		l.doubt = false
		l.emit(Action{Kind: DoRegister, Replaces: l.epoch})
	default:
		l.arrange()
	}
}

func (l *Life) end(err error) { l.ended, l.err, l.actions = true, err, nil }

// PrimaryServes says that groups reach the primary part.
func (l *Life) PrimaryServes() {
	if l.part == starting {
		l.part = serving
	}
}

// PrimaryEnded says that the primary part has ended: nil after a drain or a stop. fenced says that the sequencer
// refused the epoch. Any other error ends the process.
func (l *Life) PrimaryEnded(err error, fenced bool) {
	if l.part == off {
		return
	}
	l.part = off
	switch {
	case fenced:
		l.Refused(l.epoch)
	case err != nil && l.failure == nil:
		l.leaving, l.failure = true, err
	}
	l.proceed()
}

// PrimaryGaveUp says that the primary part has ended before it had finished its drain. What it has left on disks is settled
// under a newer epoch, as after any death: if the node stays, it registers anew.
func (l *Life) PrimaryGaveUp() {
	if l.part == off {
		return
	}
	l.part = off
	if !l.leaving {
		l.phase = unregistered
	}
	l.proceed()
}

// Leave ends the node on purpose: heartbeats say that it drains, so that gateways turn away; then the registry hears
// it; then the primary part finishes what it has; then the registry hears that nobody needs to stand in.
func (l *Life) Leave() {
	if !l.leaving {
		l.leaving = true
		l.depart()
	}
}

// Failed ends the node because something failed. Its primary part finishes what it has; the registry is not told that
// the node has stopped, so that another one stands in for it.
func (l *Life) Failed(err error) {
	if l.failure == nil {
		l.failure = err
	}
	l.Leave()
}

// depart is the first step of leaving.
func (l *Life) depart() {
	switch l.phase {
	case unregistered:
		l.halt()
		l.proceed()
	case live:
		l.phase = departing
		l.emit(Action{Kind: DoSay, State: api.Draining})
	case settling, catching, arriving:
		l.phase = departing
		l.proceed()
	}
}

// Said is the answer to DoSay; it is also to be given when the registry could not be told in time. t is the topology after
// the change, or the zero value.
func (l *Life) Said(epoch uint64, state api.State, t api.Topology) {
	if epoch != l.epoch || l.ended {
		return
	}
	switch {
	case state == api.Draining && l.phase == departing:
		if l.part == starting || l.part == serving {
			l.drain()
		}
		l.proceed()
	case state == api.Stopped && l.phase == departed:
		l.end(l.failure)
	default:
		l.Topology(t)
	}
}
