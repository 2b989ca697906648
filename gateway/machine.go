package gateway

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Host is what a Machine runs on.
type Host struct {
	Now func() time.Time
	// Await waits until changed is closed, a moment comes, or ctx ends.
	Await func(ctx context.Context, changed <-chan struct{}, until time.Time)
	// Go runs a function beside what runs now. It may block in Deps, Await and Request, and nowhere else.
	Go    func(func(ctx context.Context))
	Alarm func(at time.Time) // has Due called then
	// Request sends a frame to a primary and returns its answer's data. Its errors are those of bus.Request.
	Request func(ctx context.Context, primary string, frame []byte) ([]byte, error)
	// Probe asks a primary whether it is there. Any answer is one; the errors are those of bus.Request.
	Probe func(ctx context.Context, primary string) error
	NewID func() string // never twice the same
}

// Machine is a gateway without NATS, HTTP, goroutines and clock: what it does between a payload and its answer. A
// Service runs the same code on goroutines; the simulator runs this. Nothing here is called from two goroutines at
// once.
type Machine struct {
	s    *Service
	host Host
}

// NewMachine does not look at Deps' connections, registerer and transport. The machine registers at once.
func NewMachine(cfg Config, deps Deps, host Host) (*Machine, error) {
	cfg.setDefaults()
	env := &surroundings{now: host.Now, await: host.Await, request: host.Request, probe: host.Probe,
		newID: host.NewID, alarm: host.Alarm}
	env.start = func(f func()) { host.Go(func(context.Context) { f() }) }
	s, err := newService(cfg, deps, env)
	if err != nil {
		return nil, err
	}
	s.held.setClosed(false)
	host.Go(s.producer.run)
	return &Machine{s, host}, nil
}

// Write is a payload of line protocol, with what its headers say.
type Write struct {
	Table    string
	Payload  []byte
	Locked   bool // there is an expected TxID
	Expected uint64
	Key      string
	ID       api.ProducerSeq // none: the client has no producer
}

// Answer takes what became of a payload: a result for each table, or an error for all of it.
type Answer func(results []api.WriteResult, err *api.Error)

// Take takes a payload. It is answered once, now or later.
func (m *Machine) Take(w Write, answer Answer) {
	m.s.take(&request{
		options: options{format: lineProtocol, durability: m.s.cfg.Durability, table: w.Table, locked: w.Locked,
			expected: w.Expected, key: w.Key, producer: w.ID},
		data: w.Payload, precision: 1, arrived: m.s.env.now(), answerer: machineAnswerer(answer),
	}, 0)
	m.host.Go(func(ctx context.Context) {
		select {
		case r := <-m.s.queue:
			m.s.process(ctx, r)
		default: // it was refused
		}
	})
}

type machineAnswerer Answer

func (a machineAnswerer) results(r []api.WriteResult) { a(r, nil) }
func (a machineAnswerer) refused(err *api.Error)      { a(nil, err) }
func (a machineAnswerer) empty()                      { a(nil, nil) }

// Due lets writes go that have waited for others.
func (m *Machine) Due(ctx context.Context) {
	if next, waiting := m.s.due(ctx); waiting {
		m.host.Alarm(next)
	}
}

// Heard takes a heartbeat, SetTopology a topology. Sweep ends attempts at primaries that are silent, replaced or perhaps
// not there, and asks those that are slow to answer; it is to be called often.
func (m *Machine) Heard(h api.Heartbeat)      { m.s.routes.heard(h) }
func (m *Machine) SetTopology(t api.Topology) { m.s.routes.setTopology(t) }
func (m *Machine) Sweep() {
	for _, id := range m.s.routes.sweep() {
		m.host.Go(func(ctx context.Context) { m.s.probe(ctx, id) })
	}
}

// Doubtful says that the topology is to be asked for: there is none yet, or a node contradicts it.
func (m *Machine) Doubtful() bool { return m.s.routes.doubtful() }

// Writable says whether a primary can be written to, as far as this gateway knows.
func (m *Machine) Writable(primary string) bool { return m.s.routes.writable(primary) }

// Held is how many bytes and requests are without an answer.
func (m *Machine) Held() (bytes int64, requests int) { return m.s.held.sizes() }
