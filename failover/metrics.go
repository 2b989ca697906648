package failover

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one instance.
type metrics struct {
	leader    prometheus.Gauge
	silent    prometheus.Gauge
	failovers *prometheus.CounterVec // by what was done
	detection prometheus.Histogram
}

// What failovers are counted by.
const (
	kindReplaced = "replaced" // declared dead, and another stands in
	kindFenced   = "fenced"   // declared dead alone
	kindStandIn  = "stand_in" // a stand-in for one that was dead already
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "braid_failover_leader", Help: "1 while this instance is the one that acts."}),
		silent: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "braid_failover_silent_nodes", Help: "Nodes that have been silent for so long that they are asked."}),
		failovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "braid_failovers_total", Help: "Decisions that this instance has carried out."}, []string{"kind"}),
		detection: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "braid_failover_detection_seconds",
			Help:    "Time from a dead node's last sign of life to the transaction that fenced it.",
			Buckets: []float64{.5, 1, 1.25, 1.5, 1.6, 1.7, 1.8, 2, 2.5, 3, 5, 10, 30}}),
	}
	for _, kind := range []string{kindReplaced, kindFenced, kindStandIn} {
		m.failovers.WithLabelValues(kind)
	}
	if registerer == nil {
		return m, nil
	}
	err := errors.Join(registerer.Register(m.leader), registerer.Register(m.silent), registerer.Register(m.failovers),
		registerer.Register(m.detection))
	if err != nil {
		err = fmt.Errorf("failover: %w", err)
	}
	return m, err
}

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
	m.silent.Set(float64(silent))
}

func (m *metrics) decided(a action, silence time.Duration) {
	switch a := a.(type) {
	case fail:
		kind := kindFenced
		if a.StandIn != "" {
			kind = kindReplaced
		}
		m.failovers.WithLabelValues(kind).Inc()
		m.detection.Observe(silence.Seconds())
	case standIn:
		m.failovers.WithLabelValues(kindStandIn).Inc()
	}
}
