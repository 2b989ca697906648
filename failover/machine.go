package failover

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// Sequencer is what failover asks of the sequencer. The errors are those of bus.Request.
type Sequencer interface {
	Lease(context.Context, api.LeaseRequest) (api.LeaseAnswer, error)
	Topology(context.Context) (api.Topology, error)
	FailNode(context.Context, api.FailNodeRequest) (api.TopologyAnswer, error)
	StandIn(context.Context, api.StandInRequest) (api.TopologyAnswer, error)
}

// Host is what a Machine runs on.
type Host struct {
	Now func() time.Duration // since any moment; it never goes back
	// Link is the number of the connection to NATS; below 0: there is none.
	Link func() int
	// Go runs a function beside what runs now. It may block in Sequencer and Ask, until its ctx ends.
	Go func(func(ctx context.Context))
	// Post runs a function on the machine, when nothing else of it runs: at once, where one thing runs at a time.
	Post func(func())

	Sequencer Sequencer
	// Ask asks a node for its info. Its errors are those of bus.Request.
	Ask     func(ctx context.Context, id string) (api.NodeInfo, error)
	Publish func(api.Topology)
	Logger  *slog.Logger
}

// Machine is one instance without NATS, goroutines and clock. A Service runs it on goroutines; the simulator runs it
// too. Nothing here is called from two goroutines at once.
type Machine struct {
	host    Host
	core    *core
	metrics *metrics
}

// NewMachine checks cfg. The machine does nothing before its first Tick.
func NewMachine(cfg Config, host Host) (*Machine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	metrics, err := newMetrics(nil)
	return &Machine{host: host, core: newCore(cfg), metrics: metrics}, err
}

// TickInterval is how often Tick is to be called.
const TickInterval = tickInterval

// Tick says that time has passed.
func (m *Machine) Tick() {
	m.core.tick(m.host.Now(), m.host.Link())
	m.act()
	m.metrics.listen(m.core, m.host.Now())
}

// Heard takes a heartbeat, SetTopology a topology that was announced.
func (m *Machine) Heard(b api.Heartbeat) {
	m.core.heard(b, m.host.Now())
	m.act()
}

// SetTopology takes a topology that was announced.
func (m *Machine) SetTopology(t api.Topology) {
	m.core.setTopology(t, m.host.Now())
	m.act()
}

// Leads says whether this instance acts, as far as it knows.
func (m *Machine) Leads() bool { return m.core.leads }

// Ready says whether it has heard the sequencer: from then on it judges.
func (m *Machine) Ready() bool { return m.core.known && m.core.proved > never }

// act does what the core wants done now.
func (m *Machine) act() {
	for _, a := range m.core.next(m.host.Now()) {
		m.do(a)
	}
	m.metrics.observe(m.core, m.host.Now())
}

func (m *Machine) do(a action) {
	sent, q, cfg := m.host.Now(), m.host.Sequencer, m.core.cfg
	switch a := a.(type) {
	case note:
		level := slog.LevelInfo
		if a.warn {
			level = slog.LevelWarn
		}
		m.host.Logger.Log(context.Background(), level, a.text, a.args...)
	case publish:
		m.host.Publish(a.Topology)
	case bump:
		request(m, cfg.RequestTimeout, func(ctx context.Context) (api.LeaseAnswer, error) {
			return q.Lease(ctx, a.LeaseRequest)
		}, func(answer api.LeaseAnswer, err error) { m.core.leaseAnswered(sent, answer, err, m.host.Now()) })
	case look:
		request(m, cfg.RequestTimeout, q.Topology, func(t api.Topology, err error) {
			m.core.topologyAnswered(sent, t, err, m.host.Now())
		})
	case ask:
		request(m, cfg.AskTimeout, func(ctx context.Context) (api.NodeInfo, error) { return m.host.Ask(ctx, a.id) },
			func(info api.NodeInfo, err error) { m.core.asked(a, sent, info, reason(err), m.host.Now()) })
	case fail:
		request(m, cfg.RequestTimeout, func(ctx context.Context) (api.TopologyAnswer, error) {
			return q.FailNode(ctx, a.FailNodeRequest)
		}, func(answer api.TopologyAnswer, err error) { m.decided(a, answer, err, a.silent+m.host.Now()-sent) })
	case standIn:
		request(m, cfg.RequestTimeout, func(ctx context.Context) (api.TopologyAnswer, error) {
			return q.StandIn(ctx, a.StandInRequest)
		}, func(answer api.TopologyAnswer, err error) { m.decided(a, answer, err, 0) })
	}
}

// decided notes the outcome of a decision; silence is how long a node that was declared dead had been silent.
func (m *Machine) decided(a action, answer api.TopologyAnswer, err error, silence time.Duration) {
	m.core.decided(a, answer.Topology, err, m.host.Now())
	if err == nil {
		m.metrics.decided(a, silence)
	}
}

// request runs call beside the machine, for at most timeout, and its outcome on it.
func request[T any](m *Machine, timeout time.Duration, call func(context.Context) (T, error), done func(T, error)) {
	m.host.Go(func(ctx context.Context) {
		bound, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		answer, err := call(bound)
		if ctx.Err() != nil {
			return
		}
		m.host.Post(func() { done(answer, err); m.act() })
	})
}

// reason says in a few words why a node has not answered; "": it has.
func reason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, bus.ErrNoResponders):
		return "nobody answers under its name"
	case errors.Is(err, bus.ErrUnknown):
		return "no answer in time"
	}
	return err.Error()
}
