package failover

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// metrics of one instance. What is labelled by node is bounded by the topology: a node that is no member has no series.
type metrics struct {
	leader    prometheus.Gauge
	asked     prometheus.Gauge
	decisions *prometheus.CounterVec // by what was done
	detection prometheus.Histogram
	version   prometheus.Gauge
	nodes     *prometheus.GaugeVec // by role and state
	info      *prometheus.GaugeVec // by node, role and state
	silence   *prometheus.GaugeVec // by node

	members map[string]labels // whose series there are
	shown   uint64            // version of the topology in nodes and info
}

// labels of a node.
type labels struct {
	role  api.Role
	state api.State
}

// What decisions are counted by.
const (
	kindReplaced = "replaced" // declared dead, and another stands in
	kindFenced   = "fenced"   // declared dead alone
	kindStandIn  = "stand_in" // a stand-in for one that was dead already
)

var (
	roles  = []api.Role{api.Primary, api.Replica}
	states = []api.State{api.Live, api.Draining, api.Stopped, api.Recovering, api.Dead}
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: "braid_failover_" + name, Help: help}
	}
	m := &metrics{
		leader: prometheus.NewGauge(gauge("leader", "1 while this instance is the one that acts.")),
		asked: prometheus.NewGauge(gauge("silent_nodes",
			"Nodes that have been silent for so long that they are asked.")),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "braid_failover_decisions_total", Help: "Decisions that this instance has carried out."}, []string{"kind"}),
		detection: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "braid_failover_detection_seconds",
			Help:    "Time from a dead node's last sign of life to the transaction that fenced it.",
			Buckets: []float64{.5, 1, 1.25, 1.5, 1.6, 1.7, 1.8, 2, 2.5, 3, 5, 10, 30}}),
		version: prometheus.NewGauge(gauge("topology_version",
			"Version of the topology that this instance knows: it grows with members, roles, states and epochs.")),
		nodes: prometheus.NewGaugeVec(gauge("nodes", "Members by role and state."), []string{"role", "state"}),
		info: prometheus.NewGaugeVec(gauge("node_info", "1 for each member, with its role and state."),
			[]string{"node", "role", "state"}),
		silence: prometheus.NewGaugeVec(gauge("node_silence_seconds",
			"Time since a member's last sign of life; none for one that has left on purpose."), []string{"node"}),
		members: make(map[string]labels),
	}
	for _, kind := range []string{kindReplaced, kindFenced, kindStandIn} {
		m.decisions.WithLabelValues(kind)
	}
	m.count(nil)
	if registerer == nil {
		return m, nil
	}
	var err error
	for _, c := range []prometheus.Collector{m.leader, m.asked, m.decisions, m.detection, m.version, m.nodes, m.info,
		m.silence} {
		err = errors.Join(err, registerer.Register(c))
	}
	if err != nil {
		err = fmt.Errorf("failover: %w", err)
	}
	return m, err
}

// observe shows what the core knows.
func (m *metrics) observe(c *core, now time.Duration) {
	leads := 0.0
	if c.leads {
		leads = 1
	}
	m.leader.Set(leads)
	silent := 0
	for _, n := range c.topology.Nodes {
		if c.overdue(n, now) {
			silent++
		}
	}
	m.asked.Set(float64(silent))
	if c.known && c.topology.Version != m.shown {
		m.shown = c.topology.Version
		m.version.Set(float64(m.shown))
		m.count(c.topology.Nodes)
		m.name(c.topology.Nodes)
	}
}

// count shows how many members have which role and state, also where there are none.
func (m *metrics) count(nodes []api.Node) {
	counts := make(map[labels]float64)
	for _, n := range nodes {
		counts[labels{n.Role, n.State}]++
	}
	for _, role := range roles {
		for _, state := range states {
			m.nodes.WithLabelValues(string(role), string(state)).Set(counts[labels{role, state}])
		}
	}
}

// name shows each member. The new series is there before the old one goes: a scrape between them sees both.
func (m *metrics) name(nodes []api.Node) {
	before := m.members
	m.members = make(map[string]labels, len(nodes))
	for _, n := range nodes {
		is := labels{n.Role, n.State}
		m.members[n.ID] = is
		m.info.WithLabelValues(n.ID, string(n.Role), string(n.State)).Set(1)
	}
	for id, was := range before {
		is, member := m.members[id]
		if is != was {
			m.info.DeleteLabelValues(id, string(was.role), string(was.state))
		}
		if !member || is.state == api.Stopped {
			m.silence.DeleteLabelValues(id)
		}
	}
}

// listen shows how long nobody has heard of whom.
func (m *metrics) listen(c *core, now time.Duration) {
	for _, n := range c.topology.Nodes {
		if n.State != api.Stopped {
			m.silence.WithLabelValues(n.ID).Set((now - c.nodes[n.ID].since).Seconds())
		}
	}
}

func (m *metrics) decided(a action, silence time.Duration) {
	switch a := a.(type) {
	case fail:
		kind := kindFenced
		if a.StandIn != "" {
			kind = kindReplaced
		}
		m.decisions.WithLabelValues(kind).Inc()
		m.detection.Observe(silence.Seconds())
	case standIn:
		m.decisions.WithLabelValues(kindStandIn).Inc()
	}
}
