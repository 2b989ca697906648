//go:build unix

package faults

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var everything = Traits{SmallDisk: true, S3: true, Threads: true}

// TestSameSeedSamePlan: one line is enough to see a plan again.
func TestSameSeedSamePlan(t *testing.T) {
	seen := make(map[string]uint64)
	for seed := range uint64(500) {
		a, b := Generate(seed, 10, everything).String(), Generate(seed, 10, everything).String()
		if a != b {
			t.Fatalf("seed %d gives two plans:\n%s%s", seed, a, b)
		}
		if other, ok := seen[a]; ok {
			t.Fatalf("seeds %d and %d give the same plan", seed, other)
		}
		seen[a] = seed
	}
}

// TestPlansCanBeRun: hits go to processes that the plan has, one hit each a step, and only where they make sense.
func TestPlansCanBeRun(t *testing.T) {
	kinds := make(map[Kind]int)
	for seed := range uint64(500) {
		for _, traits := range []Traits{{}, everything} {
			p := Generate(seed, 10, traits)
			if len(p.Steps) != 10 || p.S3 && !traits.S3 || p.SmallDisk != "" && !traits.SmallDisk {
				t.Fatalf("not what was asked for with %+v:\n%s", traits, p)
			}
			for _, s := range p.Steps {
				checkStep(t, p, s)
			}
			if p.SmallDisk != "" && p.Kinds()[Fill] == 0 {
				t.Fatalf("a small disk that never fills up:\n%s", p)
			}
			if p.Kinds()[Move] > 0 && !traits.Threads {
				t.Fatalf("a move that cannot be made:\n%s", p)
			}
			for k, n := range p.Kinds() {
				kinds[k] += n
			}
		}
	}
	for _, k := range []Kind{Kill, KillAgain, Stop, Pause, Double, Move, Cut, CutStore, Deny, Drain, Fill} {
		if kinds[k] == 0 {
			t.Errorf("no plan of 1,000 has %q", k)
		}
	}
}

func checkStep(t *testing.T, p *Plan, s Step) {
	t.Helper()
	hit := make(map[string]bool)
	for _, h := range s.Hits {
		if hit[h.Target] || !slices.Contains(p.Processes(), h.Target) {
			t.Fatalf("%s is hit twice at once, or is not there:\n%s", h.Target, p)
		}
		hit[h.Target] = true
		node := slices.Contains(p.Nodes, h.Target)
		onlyNodes := []Kind{Double, Deny, Drain, CutStore}
		if slices.Contains(onlyNodes, h.Kind) && !node || h.Kind == Move && h.Target[0] != 'p' ||
			h.Kind == Cut && strings.HasPrefix(h.Target, "nats") || h.Kind == CutStore && !p.S3 ||
			h.Kind == Fill && h.Target != p.SmallDisk {
			t.Fatalf("%s makes no sense:\n%s", h, p)
		}
	}
	if len(s.Hits) == 0 {
		t.Fatalf("a step without a hit:\n%s", p)
	}
}
