package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the client's, nil without a registerer.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	writes     *prometheus.CounterVec
	rows       prometheus.Counter
	retries    prometheus.Counter
	seconds    prometheus.Histogram
}

// newMetrics registers them.
func newMetrics(c *Client, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{registerer: r}
	m.writes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "braid_client_writes_total",
		Help: "Writes that have ended, by outcome: stored, or the kind of error."}, []string{"outcome"})
	m.rows = prometheus.NewCounter(prometheus.CounterOpts{Name: "braid_client_rows_total", Help: "Rows that are stored."})
	m.retries = prometheus.NewCounter(prometheus.CounterOpts{Name: "braid_client_retries_total",
		Help: "Attempts that were made again."})
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "braid_client_write_seconds",
		Help: "From a write's first attempt to its answer.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m.all = []prometheus.Collector{m.writes, m.rows, m.retries, m.seconds,
		gauge("braid_client_open_writes", "Writes without an answer.", func() float64 { return float64(c.open.count()) }),
		gauge("braid_client_open_bytes", "Bytes of the writes without an answer.",
			func() float64 { return float64(c.memory.taken()) }),
		gauge("braid_client_topology_version", "Version of the topology that the client knows.",
			func() float64 { return float64(c.Topology().Version) }),
	}
	for i, x := range m.all {
		if err := r.Register(x); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, fmt.Errorf("register the client's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, x := range m.all {
		m.registerer.Unregister(x)
	}
}

// ended counts a write.
func (m *metrics) ended(began time.Time, rows int, err error) {
	if m == nil {
		return
	}
	m.writes.WithLabelValues(outcome(err)).Inc()
	if err == nil {
		m.rows.Add(float64(rows))
		m.seconds.Observe(time.Since(began).Seconds())
	}
}

// again counts an attempt that is going to be made again.
func (m *metrics) again() {
	if m != nil {
		m.retries.Inc()
	}
}

// outcome is a label, of few values. What is unknown is called that, whatever else it is.
func outcome(err error) string {
	if err == nil {
		return "stored"
	}
	for _, kind := range []struct {
		err  error
		name string
	}{
		{ErrUnknownOutcome, "unknown"}, {ErrConflict, "conflict"}, {ErrInvalid, "invalid"}, {ErrTooLarge, "too_large"},
		{ErrFenced, "fenced"}, {ErrVoided, "voided"}, {ErrUnauthorized, "unauthorized"}, {ErrOverloaded, "overloaded"},
		{ErrUnavailable, "unavailable"}, {ErrClosed, "closed"},
	} {
		if errors.Is(err, kind.err) {
			return kind.name
		}
	}
	return "other"
}
