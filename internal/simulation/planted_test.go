package simulation

import (
	"slices"
	"testing"
)

// plantedSeedsMax bounds the seeds within which a planted bug must be caught.
const plantedSeedsMax = 300

// TestPlantedBugs: every planted bug is caught, by what docs/simulation.md names.
func TestPlantedBugs(t *testing.T) {
	for _, p := range Bugs {
		t.Run(string(p.Bug), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= plantedSeedsMax; seed++ {
				r := Run(seed, Options{Bug: p.Bug})
				i := slices.IndexFunc(r.Violations, p.Caught)
				if i >= 0 {
					t.Logf("seed %d: %s", seed, r.Violations[i])
					return
				}
				if len(r.Violations) > 0 {
					t.Logf("seed %d, otherwise: %s", seed, r.Violations[0])
				}
			}
			t.Errorf("not caught by %s in %d seeds", p.By, plantedSeedsMax)
		})
	}
}
