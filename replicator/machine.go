package replicator

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/table"
)

// Machine is a replicator without NATS, HTTP, goroutines and clock: what a Service does for one shard after the other.
// It blocks in what Deps gave it, and nowhere else. The simulator runs it.
type Machine struct{ s *Service }

// NewMachine opens the node's tables. It does not look at Deps' connection and registerer; segments are fetched from
// the object store alone.
func NewMachine(cfg Config, deps Deps, now func() time.Time) (*Machine, error) {
	s, err := newService(cfg, deps, now)
	if err != nil {
		return nil, err
	}
	s.segments.obtain = s.segments.fetchNow
	s.each = func(n int, f func(i int)) {
		for i := range n {
			f(i)
		}
	}
	return &Machine{s}, s.open(1)
}

// Hint says that a shard's log has changed. The next Step knows it.
func (m *Machine) Hint(shard int, h Hint) { m.s.shards[shard].poke(h) }

// Hinted has something when there is a hint that no Step knows yet.
func (m *Machine) Hinted(shard int) <-chan struct{} { return m.s.shards[shard].hints.signal }

// Look asks how far all logs go, and hints at the answer.
func (m *Machine) Look(ctx context.Context) { m.s.look(ctx) }

// Step reads and applies a piece of a shard's log if one is due, and returns when the next is.
func (m *Machine) Step(ctx context.Context, shard int) (next time.Time) {
	sh := m.s.shards[shard]
	m.s.advance(ctx, sh)
	return sh.core.wake()
}

// Checkpoint is Store.Checkpoint: after an error the process must end.
func (m *Machine) Checkpoint() error { return m.s.tables.Checkpoint() }

// Pending is Service.Pending.
func (m *Machine) Pending() bool { return m.s.Pending() }

// Lag is Service.Lag.
func (m *Machine) Lag() uint64 { return m.s.Lag() }

// Tables are the node's tables.
func (m *Machine) Tables() *table.Store { return m.s.tables }
