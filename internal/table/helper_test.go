package table

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

const root = "/node"

func open(t testing.TB, fsys disk.FS) *Store {
	t.Helper()
	s, err := Open(Config{Dir: root, FS: fsys, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// commitLog is a shard's log made from a seed: several tables, groups of several writes, some refused, some void.
func commitLog(seed uint64, tables, records int) []api.LogRecord {
	rng := rand.New(rand.NewPCG(seed, 1))
	heads := make([]uint64, tables)
	log := make([]api.LogRecord, records)
	for i := range log {
		n := rng.IntN(tables)
		r := api.LogRecord{
			Index: uint64(i + 1), Table: fmt.Sprintf("table%d", n), First: heads[n] + 1, State: api.Confirmed,
			Segment: api.SegmentID{Node: "p1", Epoch: 1, Sequence: uint64(i/4 + 1)}, Offset: uint64(i) * 100,
			Length: 100, CRC: rng.Uint32(), Writes: uint32(1 + rng.IntN(20)), Rows: uint64(1 + rng.IntN(1000)),
		}
		if rng.IntN(3) == 0 {
			r.Mask = make([]byte, (r.Writes+7)/8)
			r.Mask[0] = 1
		}
		if rng.IntN(10) == 0 {
			r.State = api.Void
		}
		heads[n] = r.Last()
		log[i] = r
	}
	return log
}

// follow applies the log from the store's position on, in pieces of random size, with a checkpoint now and then.
func follow(s *Store, log []api.LogRecord, rng *rand.Rand) error {
	for s.Position(0) < uint64(len(log)) {
		rest := log[s.Position(0):]
		if _, err := s.Apply(0, rest[:1+rng.IntN(min(len(rest), 7))], nil); err != nil {
			return err
		}
		if rng.IntN(3) == 0 {
			if err := s.Checkpoint(); err != nil {
				return err
			}
		}
	}
	return nil
}

func mustFollow(t testing.TB, s *Store, log []api.LogRecord, seed uint64) {
	t.Helper()
	if err := follow(s, log, rand.New(rand.NewPCG(seed, 2))); err != nil {
		t.Fatal(err)
	}
}

// describe is everything that two nodes at the same position must agree on.
func describe(s *Store) string {
	out := fmt.Sprintf("position %d\n", s.Position(0))
	for _, n := range s.Tables() {
		out += fmt.Sprintf("%s applied=%d rows=%d digest=%.8s\n", n.Name, n.Applied, n.Rows, n.Digest)
	}
	return out
}
