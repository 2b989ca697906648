package sequencer

import (
	"fmt"
	"testing"
	"time"
)

// instances returns preferences that have all heard each other at 0.
func instances(n int) []*preference {
	all := make([]*preference, n)
	for i := range all {
		all[i] = newPreference(fmt.Sprintf("seq-%d", i), time.Second)
	}
	for _, p := range all {
		for _, other := range all {
			p.hear(other.self, 0)
		}
	}
	return all
}

// owners returns who serves each shard, and fails if that is not one.
func owners(t *testing.T, all []*preference, now time.Duration, shards int) []string {
	t.Helper()
	out := make([]string, shards)
	for _, p := range all {
		for shard, mine := range p.shards(now, shards, true) {
			if mine && out[shard] != "" {
				t.Fatalf("shard %d is served by %s and %s", shard, out[shard], p.self)
			}
			if mine {
				out[shard] = p.self
			}
		}
	}
	for shard, owner := range out {
		if owner == "" {
			t.Fatalf("nobody serves shard %d", shard)
		}
	}
	return out
}

// TestEachShardHasOneInstance: those who have heard the same agree, and nobody has far more than its part.
func TestEachShardHasOneInstance(t *testing.T) {
	const shards = 1024
	for _, n := range []int{1, 2, 3, 7} {
		count := make(map[string]int)
		for _, owner := range owners(t, instances(n), 0, shards) {
			count[owner]++
		}
		for id, k := range count {
			if k < shards/n*7/10 || k > shards/n*13/10 {
				t.Errorf("of %d instances %s serves %d of %d shards", n, id, k, shards)
			}
		}
	}
}

// TestALeavingInstanceMovesItsShardsAlone, whether it says goodbye or falls silent.
func TestALeavingInstanceMovesItsShardsAlone(t *testing.T) {
	for _, silent := range []bool{false, true} {
		all := instances(3)
		before := owners(t, all, 0, 64)
		now, gone, left := 500*time.Millisecond, all[2].self, all[:2]
		for _, p := range left {
			p.hear(all[0].self, now)
			p.hear(all[1].self, now)
			if !silent {
				p.leave(gone)
			}
		}
		if silent {
			now = time.Second
		}
		for shard, owner := range owners(t, left, now, 64) {
			if owner != before[shard] && before[shard] != gone {
				t.Errorf("shard %d moved from %s to %s when %s left", shard, before[shard], owner, gone)
			}
		}
	}
}

// TestAnUnwellInstanceServesOnlyWhatNobodyElseDoes.
func TestAnUnwellInstanceServesOnlyWhatNobodyElseDoes(t *testing.T) {
	p := newPreference("a", time.Second)
	serves := func(now time.Duration) (n int) {
		for _, mine := range p.shards(now, 16, false) {
			if mine {
				n++
			}
		}
		return n
	}
	if n := serves(0); n != 16 {
		t.Errorf("alone it serves %d of 16", n)
	}
	p.hear("b", 0)
	if n := serves(0); n != 0 {
		t.Errorf("beside a living instance it serves %d", n)
	}
	if n := serves(time.Second); n != 16 {
		t.Errorf("when the other is silent it serves %d of 16", n)
	}
}

func TestI7_InstancesAreRememberedWithinABound(t *testing.T) {
	p := newPreference("a", time.Second)
	for i := range 10 * instancesMax {
		p.hear(fmt.Sprint(i), 0)
	}
	if len(p.heard) != instancesMax {
		t.Errorf("%d are remembered", len(p.heard))
	}
}
