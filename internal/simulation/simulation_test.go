package simulation

import (
	"flag"
	"fmt"
	"testing"

	"github.com/seed-551dd829/braid/internal/history"
	"go.uber.org/goleak"
)

var seedsFlag = flag.Int("seeds", 100, "how many seeds TestSeeds runs, each of them twice")

var seedFlag = flag.Uint64("seed", 0, "the one seed that TestSeed runs, with its story under -v")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSeeds: whatever goes wrong, what was promised holds (I1 to I9), and the same seed is the same run.
func TestSeeds(t *testing.T) {
	s := Many(1, *seedsFlag, true)
	for _, r := range s.Failed {
		t.Errorf("go run ./internal/simulation/cmd/simulate -seed %d\n\t%s", r.Seed, r.Violations[0])
	}
	if silent := s.Silent(); len(silent) > 0 {
		t.Errorf("never happened: %q", silent)
	}
	if s.Writes[history.Acknowledged] < 10**seedsFlag {
		t.Errorf("only %d writes acknowledged: the simulation tests nothing", s.Writes[history.Acknowledged])
	}
	t.Log(s.Fired, s.Changes, s.Writes)
}

// TestSeed runs one seed, to look at.
func TestSeed(t *testing.T) {
	r := Run(*seedFlag, Options{Story: func(line string) {
		if testing.Verbose() {
			fmt.Println(line)
		}
	}})
	for _, v := range r.Violations {
		t.Error(v)
	}
	t.Logf("%v %v", r.Fired, r.Writes)
}
