//go:build unix

package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Traits are what the machine has; a plan is a function of them, too.
type Traits struct {
	SmallDisk bool // a file system of limited size can be mounted
	S3        bool // an S3 server is there
	Threads   bool // /proc tells whether a process has stopped, which Move needs
}

// Generate draws a plan of so many steps. First it draws which kinds of fault exist at all, so that some plans hold
// many faults of one kind, and then each step.
func Generate(seed uint64, size int, traits Traits) *Plan {
	r := rand.New(rand.NewPCG(seed, 0x6272616964))
	p := &Plan{
		Seed: seed, Size: size, NATS: 1, Tables: []string{"t0", "t1", "t2"},
		Attempt: pick(r, 300*time.Millisecond, time.Second, 5*time.Second),
	}
	if r.IntN(3) == 0 {
		p.NATS = 3
	}
	for i := range 2 + r.IntN(2) {
		p.Nodes = append(p.Nodes, fmt.Sprintf("p%d", i+1))
	}
	for i := range 1 + r.IntN(2) {
		p.Nodes = append(p.Nodes, fmt.Sprintf("r%d", i+1))
	}
	for i := range 1 + r.IntN(2) {
		p.Gates = append(p.Gates, fmt.Sprintf("g%d", i+1))
	}
	for i := range 1 + r.IntN(2) {
		p.Failovers = append(p.Failovers, fmt.Sprintf("f%d", i+1))
	}
	p.Durability = pick(r, "object", "wal")
	// Drawn in any case, so that a plan differs as little as possible between machines.
	small, s3 := r.IntN(2) == 0, r.IntN(2) == 0
	if small && traits.SmallDisk {
		p.SmallDisk = p.Nodes[0]
	}
	p.S3 = s3 && traits.S3
	g := generator{Rand: r, plan: p, kinds: drawKinds(r), threads: traits.Threads}
	for range size {
		p.Steps = append(p.Steps, g.step())
	}
	if p.SmallDisk != "" { // what it is there for, in one step at least
		at := &p.Steps[r.IntN(size)]
		at.Hits = []Hit{{Kind: Fill, Target: p.SmallDisk, For: g.pause()}}
	}
	return p
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// drawKinds draws three to six kinds of fault besides kill -9, which every plan has.
func drawKinds(r *rand.Rand) []Kind {
	kinds := []Kind{KillAgain, Stop, Pause, Double, Move, Cut, CutStore, Deny, Drain}
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	return append(kinds[:3+r.IntN(4)], Kill)
}

type generator struct {
	*rand.Rand
	plan    *Plan
	kinds   []Kind
	threads bool // of Traits
	longed  bool // one pause that outlasts everybody's patience is enough
}

// pause is how long something lasts: mostly short, in whole milliseconds so that a plan reads well.
func (g *generator) pause() time.Duration {
	if g.IntN(4) > 0 {
		return time.Duration(g.IntN(500)) * time.Millisecond
	}
	return time.Duration(500+g.IntN(2500)) * time.Millisecond
}

// Patience of others with a silent process ends, after 0.6 s (a gateway's with a primary), 1.5 s (the failover
// services'), 5 s (an attempt's) and 10 to 15 s (a NATS connection's).
const (
	longPauseMin = 16 * time.Second
	longPauseMax = 18 * time.Second
)

func (g *generator) step() Step {
	s := Step{Wait: g.pause()}
	all := g.plan.Processes()
	switch n := g.IntN(10); {
	case n == 0: // the power fails
		for _, target := range all {
			s.Hits = append(s.Hits, Hit{Kind: Kill, Target: target, For: g.pause()})
		}
		return s
	case n <= 6:
		all = g.some(all, 1)
	default:
		all = g.some(all, 2+g.IntN(2))
	}
	for _, target := range all {
		s.Hits = append(s.Hits, g.hit(target))
	}
	return s
}

// some draws targets without one twice.
func (g *generator) some(from []string, n int) []string {
	out := slices.Clone(from)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:n]
}

func (g *generator) hit(target string) Hit {
	h := Hit{Kind: pick(g.Rand, g.kinds...), Target: target, For: g.pause()}
	if !g.possible(h) {
		h.Kind = Kill
	}
	switch {
	case h.Kind == KillAgain:
		h.Again = g.pause()
	case silences(h.Kind) && g.plan.Size > 5 && !g.longed && g.IntN(3) == 0:
		g.longed = true
		h.For = longPauseMin + time.Duration(g.IntN(int((longPauseMax-longPauseMin)/time.Millisecond)))*time.Millisecond
	}
	return h
}

// silences says whether a victim of the kind lives and is not heard.
func silences(k Kind) bool { return slices.Contains([]Kind{Pause, Cut, CutStore, Deny}, k) }

// possible says whether a hit makes sense for its target.
func (g *generator) possible(h Hit) bool {
	node := slices.Contains(g.plan.Nodes, h.Target)
	switch h.Kind {
	case Double, Deny, Drain:
		return node
	case CutStore:
		return node && g.plan.S3
	case Cut:
		return node || slices.Contains(g.plan.Gates, h.Target) || slices.Contains(g.plan.Failovers, h.Target)
	case Move:
		return g.movable(h.Target)
	}
	return true
}

func (g *generator) movable(target string) bool {
	return g.threads && target[0] == 'p' && target != g.plan.SmallDisk
}
