package sequencer

import "time"

// preference says which shards an instance serves, so that the commits of a shard meet in one place. Each shard goes
// to the living instance with the highest hash of instance and shard (rendezvous hashing): all who have heard the same
// instances agree, and one that comes or goes moves only its own shards. Those who disagree cost speed, never
// correctness.
//
// It is a pure core: time is passed in, this instance's own, from any origin.
type preference struct {
	self  string
	ttl   time.Duration            // how long an instance counts as living after it was heard
	heard map[string]time.Duration // when others were heard last
}

// instancesMax bounds the instances that are remembered. Shards of more than these are served by too many.
const instancesMax = 256

func newPreference(self string, ttl time.Duration) *preference {
	return &preference{self: self, ttl: ttl, heard: make(map[string]time.Duration)}
}

// hear takes an instance's sign of life.
func (p *preference) hear(id string, now time.Duration) {
	if _, known := p.heard[id]; id != p.self && (known || len(p.heard) < instancesMax) {
		p.heard[id] = now
	}
}

// leave takes an instance's goodbye.
func (p *preference) leave(id string) { delete(p.heard, id) }

// shards returns, for each of n shards, whether this instance serves it. One whose store does not answer (well is
// false) leaves its shards to the others; where there is no other, it keeps them all.
func (p *preference) shards(now time.Duration, n int, well bool) []bool {
	for id, at := range p.heard {
		if now-at >= p.ttl {
			delete(p.heard, id)
		}
	}
	mine := make([]bool, n)
	for shard := range mine {
		mine[shard] = well || len(p.heard) == 0
		for id := range p.heard {
			mine[shard] = mine[shard] && beats(p.self, id, shard)
		}
	}
	return mine
}

// beats says whether a goes before b for a shard.
func beats(a, b string, shard int) bool {
	x, y := weight(a, shard), weight(b, shard)
	return x > y || x == y && a > b
}

// weight is FNV-1a over the id and the shard, with the finalizer of MurmurHash3 behind it: FNV alone leaves the last
// bytes' order in the high bits, and one instance would win most shards.
func weight(id string, shard int) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ uint64(shard)) * 1099511628211
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
