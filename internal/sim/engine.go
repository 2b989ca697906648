// Package sim is a seeded world for programs that are written as machines: one logical thread, a virtual clock, and
// processes whose network, disks and stores fail as a seed says. It knows nothing of what runs in it.
//
// Everything happens in events, ordered by time, then by a random number, then by when they were made. A process may
// run coroutines: functions that block in Sleep, Await or in a call of the simulated network or object store, which
// park them in the engine. Exactly one of them runs at a time, handed over by iter.Pull, so that the same seed gives
// the same run. A process that crashes never gets its parked coroutines back: they unwind, and whatever they try on
// their way out has no effect.
//
// It does not promise to find what needs two threads at the same time: that is the race detector's part.
package sim

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Engine is one run of one seed.
type Engine struct {
	// Rand draws everything that is random in the world. Whoever draws from it does so in the order of events.
	Rand *rand.Rand

	now    time.Duration
	made   uint64
	events events
	hash   hash.Hash64
	story  func(string) // nil: nobody reads it
	task   *task        // that runs now; nil: an event

	processes []*Process
}

// New returns a world at time zero. story, if not nil, is told every line of the trace.
func New(seed uint64, story func(string)) *Engine {
	return &Engine{
		Rand: rand.New(rand.NewPCG(seed, 0x6272616964)), hash: fnv.New64a(), story: story,
	}
}

// Now is the time since the beginning.
func (e *Engine) Now() time.Duration { return e.now }

// epoch is far ahead of any real clock, so that a deadline of a context in the simulated world never passes by itself.
var epoch = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock is the time of day in the simulated world.
func (e *Engine) Clock() time.Time { return epoch.Add(e.now) }

// event is something that happens at a time.
type event struct {
	at   time.Duration
	tie  uint32
	made uint64
	do   func()
}

// events is a heap.
type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	a, b := &h[i], &h[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	return a.made < b.made
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return last
}

// After has do called in d. do must not block.
func (e *Engine) After(d time.Duration, do func()) {
	e.made++
	heap.Push(&e.events, event{at: e.now + max(d, 0), tie: e.Rand.Uint32(), made: e.made, do: do})
}

// Run lets time pass until a moment, or until stop says so, which is asked after every event.
func (e *Engine) Run(until time.Duration, stop func() bool) {
	for len(e.events) > 0 && e.events[0].at <= until {
		next := heap.Pop(&e.events).(event)
		e.now = next.at
		next.do()
		if stop() {
			return
		}
	}
}

// Close ends every process that is left.
func (e *Engine) Close() {
	for _, p := range e.processes {
		p.End()
	}
	e.events = nil
}

// Trace adds a line to the run's trace: who, and what. It is part of the run's hash.
func (e *Engine) Trace(who, what string, args ...any) {
	line := fmt.Sprintf(what, args...)
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(e.now))
	e.hash.Write(at[:])
	e.hash.Write([]byte(who))
	e.hash.Write([]byte(line))
	if e.story != nil {
		e.story(fmt.Sprintf("%10.3fms  %-10s %s", float64(e.now)/float64(time.Millisecond), who, line))
	}
}

// Hash is of the trace so far.
func (e *Engine) Hash() uint64 { return e.hash.Sum64() }

// Chance is true with probability p. It draws only if that is in question.
func (e *Engine) Chance(p float64) bool { return p > 0 && e.Rand.Float64() < p }

// Between draws a duration.
func (e *Engine) Between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(e.Rand.Int64N(int64(to-from)))
}
