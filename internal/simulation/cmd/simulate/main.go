// Command simulate runs seeds of the simulation. One seed tells its story; many tell which failed, and how often each
// kind of fault fired.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/internal/simulation"
)

func main() {
	seed := flag.Uint64("seed", 0, "run this seed and tell its story")
	from := flag.Uint64("from", 1, "the first of many seeds")
	seeds := flag.Int("seeds", 1000, "how many seeds to run")
	twice := flag.Bool("twice", false, "run each seed twice and compare the traces")
	bug := flag.String("bug", "", "plant this bug, with -seed")
	flag.Parse()
	ok := false
	if *seed != 0 {
		ok = one(*seed, simulation.Bug(*bug))
	} else {
		ok = many(*from, *seeds, *twice)
	}
	if !ok {
		os.Exit(1)
	}
}

func one(seed uint64, bug simulation.Bug) bool {
	r := simulation.Run(seed, simulation.Options{Bug: bug, Story: func(line string) { fmt.Println(line) }})
	for _, v := range r.Violations {
		fmt.Println("VIOLATED", v)
	}
	return len(r.Violations) == 0
}

// tell keeps the story of a failed seed.
func tell(seed uint64) {
	f, err := os.CreateTemp("", fmt.Sprintf("simulation-seed-%d-*.txt", seed))
	if err != nil {
		fmt.Println("the story is not kept:", err)
		return
	}
	simulation.Run(seed, simulation.Options{Story: func(line string) { fmt.Fprintln(f, line) }})
	if err := f.Close(); err != nil {
		fmt.Println("the story is not kept:", err)
		return
	}
	fmt.Println("the story of the first:", f.Name())
}

func many(from uint64, seeds int, twice bool) bool {
	began := time.Now()
	s := simulation.Many(from, seeds, twice)
	for _, r := range s.Failed {
		fmt.Printf("seed %d: %s\n  go run ./internal/simulation/cmd/simulate -seed %d\n", r.Seed, r.Violations[0], r.Seed)
	}
	if len(s.Failed) > 0 {
		tell(s.Failed[0].Seed)
	}
	for _, f := range sim.Faults {
		fmt.Printf("%8d  %s\n", s.Fired[f], f)
	}
	for _, c := range simulation.Changes {
		fmt.Printf("%8d  %s\n", s.Changes[c], c)
	}
	fmt.Printf("%d seeds in %s, %d failed; %d writes acknowledged, %d refused with a conflict, %d unknown\n", s.Seeds,
		time.Since(began).Round(time.Second), len(s.Failed), s.Writes[history.Acknowledged], s.Writes[history.Conflicted],
		s.Writes[history.Unknown])
	silent := s.Silent()
	if len(silent) > 0 {
		fmt.Printf("never happened: %q\n", silent)
	}
	return len(s.Failed) == 0 && len(silent) == 0
}
