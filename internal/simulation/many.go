package simulation

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/sim"
)

// Summary is of many seeds.
type Summary struct {
	Seeds  int
	Failed []Result
	Fired  map[sim.Fault]int
	Writes map[history.Outcome]int

	Changes map[Change]int
}

// Many runs seeds from, from+1, …, as many at once as there are processors. With twice, each is run again, and must
// leave the same trace.
func Many(from uint64, seeds int, twice bool) Summary {
	s := Summary{Seeds: seeds, Fired: make(map[sim.Fault]int), Writes: make(map[history.Outcome]int),
		Changes: make(map[Change]int)}
	next := make(chan uint64)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := range next {
				r := runChecked(seed, twice)
				mu.Lock()
				s.add(r)
				mu.Unlock()
			}
		})
	}
	for i := range seeds {
		next <- from + uint64(i)
	}
	close(next)
	workers.Wait()
	return s
}

func runChecked(seed uint64, twice bool) Result {
	r := Run(seed, Options{})
	if twice {
		if again := Run(seed, Options{}); again.Hash != r.Hash {
			r.Violations = append(r.Violations, history.Violation{Check: "determinism",
				Detail: fmt.Sprintf("the trace of the second run has hash %016x, not %016x", again.Hash, r.Hash)})
		}
	}
	return r
}

func (s *Summary) add(r Result) {
	if len(r.Violations) > 0 {
		s.Failed = append(s.Failed, r)
	}
	for f, n := range r.Fired {
		s.Fired[f] += n
	}
	for o, n := range r.Writes {
		s.Writes[o] += n
	}
	for c, n := range r.Changes {
		s.Changes[c] += n
	}
}

// Silent lists the kinds of faults that never fired, and the changes that never happened.
func (s *Summary) Silent() (silent []string) {
	for _, f := range sim.Faults {
		if s.Fired[f] == 0 {
			silent = append(silent, string(f))
		}
	}
	for _, c := range Changes {
		if s.Changes[c] == 0 {
			silent = append(silent, string(c))
		}
	}
	return silent
}
