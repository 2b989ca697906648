package simulation

import (
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/history"
)

// plantedSeedsMax bounds the seeds within which a planted bug must be caught.
const plantedSeedsMax = 300

// TestPlantedBugs: every planted bug is caught, by the invariant that docs/simulation.md names.
func TestPlantedBugs(t *testing.T) {
	for _, p := range Bugs {
		t.Run(string(p.Bug), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= plantedSeedsMax; seed++ {
				r := Run(seed, Options{Bug: p.Bug})
				i := slices.IndexFunc(r.Violations, func(v history.Violation) bool { return v.Invariant == p.Invariant })
				if i >= 0 {
					t.Logf("seed %d: %s", seed, r.Violations[i])
					return
				}
				if len(r.Violations) > 0 {
					t.Logf("seed %d, by another invariant: %s", seed, r.Violations[0])
				}
			}
			t.Errorf("not caught by I%d in %d seeds", p.Invariant, plantedSeedsMax)
		})
	}
}
