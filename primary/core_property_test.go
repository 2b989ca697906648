package primary

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// world drives a core with events in a random order and checks every effect against what must hold:
// an acknowledgement only after the sequencer's answer, a commit only of durable groups, commits in order within a
// shard and one at a time, a repeat unchanged, every sender answered exactly once, the bound kept.
type world struct {
	t   *testing.T
	rng *rand.Rand
	c   *core
	now time.Duration

	groups    []*group
	checking  []*group
	flying    []uint64 // launched, outcome open
	puts      []uint64 // put failed, the next attempt not asked for yet
	durable   map[uint64]bool
	sealed    map[uint64]bool
	appended  map[uint64]int // groups by segment
	requests  map[int]*api.CommitRequest
	sent      map[int]bool // an attempt is under way
	queues    map[int][]*group
	committed map[*group]bool
	answers   map[*group]int
	latest    map[string]int // by sender, the last group of it that was appended
	stopped   bool
	effects   []effect
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		t: t, rng: rng, durable: make(map[uint64]bool), sealed: make(map[uint64]bool),
		appended: make(map[uint64]int), requests: make(map[int]*api.CommitRequest), sent: make(map[int]bool),
		queues: make(map[int][]*group), committed: make(map[*group]bool), answers: make(map[*group]int),
		latest: make(map[string]int),
	}
	w.c = newCore(limits{
		node: "p1", epoch: 3, shards: 1 + rng.IntN(3), admissionBytes: 500 + rng.Int64N(5000),
		segmentBytes: walFixedBytes + 600 + rng.Int64N(2000), inFlight: 1 + rng.IntN(3),
		sealInterval: time.Duration(rng.IntN(20)) * time.Millisecond, objectPatience: 5 * time.Second,
		commitPatience: 5 * time.Second,
	})
	return w
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("at %s: %s", w.now, fmt.Sprintf(format, args...))
}

// step is one random event that the shell could bring.
func (w *world) step() {
	switch k := w.rng.IntN(10); {
	case k < 3:
		w.arrive()
	case k < 5 && len(w.checking) > 0:
		w.check()
	case k == 5 && len(w.flying) > 0:
		w.disk(w.rng.IntN(4) == 0)
	case k < 8:
		w.sequencer(w.rng.IntN(4) == 0)
	default:
		w.pass(time.Duration(w.rng.IntN(40)) * time.Millisecond)
	}
	w.look()
}

func (w *world) arrive() {
	g := &group{bytes: 50 + w.rng.Int64N(500), sender: fmt.Sprint("g", w.rng.IntN(3)), writes: 1}
	g.shard = w.rng.IntN(w.c.limits.shards)
	g.header = fmt.Appendf(nil, "%d", len(w.groups))
	w.groups = append(w.groups, g)
	if w.c.arrive(g) {
		w.checking = append(w.checking, g)
	}
}

func (w *world) check() {
	i := w.rng.IntN(len(w.checking))
	g := w.checking[i]
	w.checking = append(w.checking[:i], w.checking[i+1:]...)
	var refusal *api.Error
	if w.rng.IntN(10) == 0 {
		refusal = api.Errorf(api.Invalid, "row count")
	}
	w.c.check(w.now, g, refusal)
}

func (w *world) disk(fail bool) {
	i := w.rng.IntN(len(w.flying))
	n := w.flying[i]
	w.flying = append(w.flying[:i], w.flying[i+1:]...)
	if fail {
		w.puts = append(w.puts, n)
		w.c.putFailed(w.now, n)
		return
	}
	w.durable[n] = true
	w.c.durable(w.now, n, make([]uint64, w.appended[n]))
}

func (w *world) sequencer(lost bool) {
	for shard := range w.c.limits.shards {
		r := w.requests[shard]
		if !w.sent[shard] {
			continue
		}
		w.sent[shard] = false
		if lost {
			w.c.commitUnknown(w.now, shard)
			return
		}
		answers := make([]api.GroupAnswer, len(r.Groups))
		for i := range answers {
			answers[i].Writes = []api.Outcome{{Verdict: api.Accepted, TxID: 1}}
			w.committed[w.named(r.Groups[i].Header)] = true
		}
		delete(w.requests, shard)
		w.c.committed(w.now, shard, answers)
		return
	}
}

func (w *world) named(header []byte) *group {
	var i int
	if _, err := fmt.Sscan(string(header), &i); err != nil {
		w.failf("header %q: %v", header, err)
	}
	return w.groups[i]
}

func (w *world) pass(d time.Duration) {
	w.now += d
	w.c.tick(w.now)
}

// look checks every effect.
func (w *world) look() {
	w.effects = w.c.take(w.effects)
	for i := range w.effects {
		e := &w.effects[i]
		switch e.kind {
		case doAppend:
			if w.sealed[e.segment] {
				w.failf("append to segment %d after its seal", e.segment)
			}
			w.inOrder(e.group)
			w.appended[e.segment]++
			w.queues[w.c.laneOf(e.group)] = append(w.queues[w.c.laneOf(e.group)], e.group)
		case doSeal:
			w.sealed[e.segment] = true
		case doLaunch:
			w.launch(e.segment)
		case doPut:
			w.putAgain(e.segment)
		case doCommit:
			w.commit(e)
		case doAnswer:
			w.answer(e)
		case doStop:
			w.stopped = true
		}
	}
	if w.c.admitted > w.c.admissionBytes {
		w.failf("%d bytes admitted", w.c.admitted)
	}
}

// inOrder checks that a sender's groups are appended as they were sent.
func (w *world) inOrder(g *group) {
	for i := range w.groups {
		if w.groups[i] == g {
			if last, ok := w.latest[g.sender]; ok && last > i {
				w.failf("group %d of %s is appended after group %d", i, g.sender, last)
			}
			w.latest[g.sender] = i
		}
	}
}

func (w *world) launch(n uint64) {
	if !w.sealed[n] {
		w.failf("segment %d is made durable before its seal", n)
	}
	if w.flying = append(w.flying, n); len(w.flying)+len(w.puts) > w.c.inFlight {
		w.failf("%d segments in flight", len(w.flying)+len(w.puts))
	}
}

func (w *world) putAgain(n uint64) {
	for i, p := range w.puts {
		if p == n {
			w.puts = append(w.puts[:i], w.puts[i+1:]...)
			w.flying = append(w.flying, n)
			return
		}
	}
	w.failf("segment %d is put again though no put failed", n)
}

func (w *world) commit(e *effect) {
	if w.sent[e.lane] {
		w.failf("two requests of lane %d at once", e.lane)
	}
	w.sent[e.lane] = true
	if r := w.requests[e.lane]; r != nil {
		if r != e.request {
			w.failf("lane %d: another request before the outcome of the first is known", e.lane)
		}
		return
	}
	w.requests[e.lane] = e.request
	for _, cg := range e.request.Groups {
		if !w.durable[cg.Segment] {
			w.failf("commit of segment %d, which is not durable", cg.Segment)
		}
		if g := w.queues[e.lane][0]; g != w.named(cg.Header) {
			w.failf("lane %d: commit of group %s before %s", e.lane, cg.Header, g.header)
		}
		w.queues[e.lane] = w.queues[e.lane][1:]
	}
}

func (w *world) answer(e *effect) {
	if w.answers[e.group]++; w.answers[e.group] > 1 {
		w.failf("group %s is answered twice", e.group.header)
	}
	if e.answer.Err == nil && !w.committed[e.group] {
		w.failf("group %s is acknowledged before its commit was answered", e.group.header)
	}
}

// heal lets everything succeed until nothing is open.
func (w *world) heal() {
	for i := 0; w.c.groups > 0; i++ {
		if i > 10000 {
			w.failf("%d groups stay undecided", w.c.groups)
		}
		for len(w.checking) > 0 {
			w.check()
			w.look()
		}
		for len(w.flying) > 0 {
			w.disk(false)
			w.look()
		}
		w.sequencer(false)
		w.look()
		if at, ok := w.c.nextTick(); ok {
			w.pass(max(0, at-w.now))
			w.look()
		}
	}
}

// TestI2_AcknowledgedOnlyAfterDurableAndCommitted plays random orders of events.
func TestI2_AcknowledgedOnlyAfterDurableAndCommitted(t *testing.T) {
	for seed := range uint64(500) {
		w := newWorld(t, seed)
		for range 300 {
			w.step()
		}
		switch seed % 4 {
		case 0: // fenced: everybody is told, nothing is committed any more
			w.c.stop(ErrFenced)
			w.look()
			w.requests = nil
		case 1:
			w.c.drain(w.now)
			w.look()
			w.heal()
		default:
			w.heal()
		}
		if (seed%4 < 2) != w.stopped {
			t.Fatalf("seed %d: stopped is %t", seed, w.stopped)
		}
		for _, g := range w.groups {
			if w.answers[g] != 1 {
				t.Fatalf("seed %d: group %s was answered %d times", seed, g.header, w.answers[g])
			}
		}
		if w.c.admitted != 0 || len(w.c.lines) != 0 && seed%4 != 0 {
			t.Fatalf("seed %d: %d bytes, %d lines are left", seed, w.c.admitted, len(w.c.lines))
		}
	}
}
