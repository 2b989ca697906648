package loadtest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"

	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of fault.
const (
	chaosKill      = "kill"                // kill -9, and a start afterwards
	chaosPause     = "pause"               // SIGSTOP and SIGCONT
	chaosPartition = "partition"           // cut off from NATS
	chaosObjects   = "partition-objects"   // cut off from the object store alone
	chaosSequencer = "partition-sequencer" // denied to speak to the sequencer, all else works
	chaosDrain     = "drain"               // a planned stop, and a start afterwards
)

// chaosLasts is how long a fault of each kind lasts unless the schedule says so: longer than it takes to fence a node
// and to promote another. Its keys are the kinds.
func chaosLasts(kind string) (time.Duration, bool) {
	switch kind {
	case chaosKill, chaosPause, chaosPartition, chaosObjects, chaosSequencer:
		return 4 * time.Second, true
	case chaosDrain:
		return 2 * time.Second, true
	}
	return 0, false
}

// chaosKinds are all kinds, as they are told to who misspelt one.
const chaosKinds = "kill, pause, partition, partition-objects, partition-sequencer, drain"

// chaosEntry is one part of a schedule: a kind of fault, of whom, every so often.
type chaosEntry struct {
	kind   string
	target string // a name, a role, or "" for the primaries in turn
	every  time.Duration
	lasts  time.Duration
}

// chaosPlan says what to do, when, to whom. Exactly one of entries and random is there.
type chaosPlan struct {
	entries []chaosEntry
	random  bool
	seed    uint64
}

// parseChaos reads KIND[@WHOM]:EVERY[:FOR],… or random:SEED.
func parseChaos(text string) (p chaosPlan, err error) {
	if seed, ok := strings.CutPrefix(text, "random:"); ok {
		p.random = true
		if p.seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return p, fmt.Errorf("chaos %q: %q is no seed, a number like 7", text, seed)
		}
		return p, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		e, err := parseChaosEntry(part)
		if err != nil {
			return p, fmt.Errorf("chaos %q: %w", part, err)
		}
		p.entries = append(p.entries, e)
	}
	return p, nil
}

func parseChaosEntry(text string) (e chaosEntry, err error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return e, errors.New("want KIND[@WHOM]:EVERY[:FOR], as in kill:10s or pause@p1:20s:3s, or random:SEED")
	}
	e.kind, e.target, _ = strings.Cut(parts[0], "@")
	lasts, known := chaosLasts(e.kind)
	if !known {
		return e, fmt.Errorf("kind %q is none of %s", e.kind, chaosKinds)
	}
	e.lasts = lasts
	if e.every, err = time.ParseDuration(parts[1]); err == nil && len(parts) == 3 {
		e.lasts, err = time.ParseDuration(parts[2])
	}
	if err == nil && (e.every <= 0 || e.lasts <= 0) {
		err = errors.New("times are more than 0")
	}
	return e, err
}

// strike is one fault to come.
type strike struct {
	at     time.Duration // since the run began
	kind   string
	target string
	lasts  time.Duration
}

// striker draws one strike after another. One strike is over, and its victim back, before the next begins: what is
// measured has one cause.
type striker struct {
	plan    chaosPlan
	targets []Target
	ticks   []time.Duration // of each entry: when it strikes next
	turns   []int           // of each entry: whose turn it is
	rand    *rand.Rand
}

func newStriker(plan chaosPlan, targets []Target) (*striker, error) {
	s := &striker{plan: plan, targets: targets, rand: rand.New(rand.NewPCG(plan.seed, 0x6368616f73))}
	for _, e := range plan.entries {
		if len(s.of(e)) == 0 {
			return nil, fmt.Errorf("chaos %s@%s: there is nobody of that name or role", e.kind, e.target)
		}
		if e.kind == chaosObjects && !slices.ContainsFunc(targets, func(t Target) bool { return t.Store }) {
			return nil, errors.New("chaos partition-objects: a folder cannot be cut off; " +
				"use --objects s3:BUCKET with an http:// --s3-endpoint")
		}
		if e.kind == chaosPartition && !slices.ContainsFunc(targets, func(t Target) bool {
			return t.Cuttable && slices.Contains(s.of(e), t.Name)
		}) {
			return nil, fmt.Errorf("chaos partition@%s: that one cannot be cut off from NATS", e.target)
		}
		s.ticks = append(s.ticks, e.every)
		s.turns = append(s.turns, 0)
	}
	return s, nil
}

// of are those that an entry means.
func (s *striker) of(e chaosEntry) (names []string) {
	for _, t := range s.targets {
		if t.Name == e.target || t.Role == cmp.Or(e.target, rolePrimary) {
			names = append(names, t.Name)
		}
	}
	return names
}

// next is the strike that comes after elapsed. One that was due before is made at once, and those after it that were
// due as well are left out.
func (s *striker) next(elapsed time.Duration) strike {
	if s.plan.random {
		return s.draw(elapsed)
	}
	i := 0
	for j := range s.ticks {
		if s.ticks[j] < s.ticks[i] {
			i = j
		}
	}
	e := s.plan.entries[i]
	of := s.of(e)
	st := strike{at: max(s.ticks[i], elapsed), kind: e.kind, target: of[s.turns[i]%len(of)], lasts: e.lasts}
	s.turns[i]++
	s.ticks[i] = (st.at/e.every + 1) * e.every
	return st
}

// The bounds of what is drawn at random.
const (
	randomWaitMin  = 500 * time.Millisecond
	randomWaitMax  = 5 * time.Second
	randomLastsMin = 100 * time.Millisecond
	randomLastsMax = 5 * time.Second
)

func (s *striker) draw(elapsed time.Duration) strike {
	st := strike{at: elapsed + s.between(randomWaitMin, randomWaitMax), lasts: s.between(randomLastsMin, randomLastsMax)}
	t := s.targets[s.rand.IntN(len(s.targets))]
	kinds := []string{chaosKill, chaosPause, chaosDrain}
	if t.Cuttable {
		kinds = append(kinds, chaosPartition)
	}
	if t.Role == rolePrimary || t.Role == roleReplica {
		kinds = append(kinds, chaosSequencer)
	}
	if t.Store {
		kinds = append(kinds, chaosObjects)
	}
	st.kind, st.target = kinds[s.rand.IntN(len(kinds))], t.Name
	return st
}

// between draws whole milliseconds.
func (s *striker) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rand.Int64N(int64((most-least)/time.Millisecond)))*time.Millisecond
}
