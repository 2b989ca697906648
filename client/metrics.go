package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/outbox"
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
		Help: "Attempts that were made again, and copies of late ones."})
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "braid_client_write_seconds",
		Help: "From a write's first attempt to its answer.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)})
	return m, m.register(m.writes, m.rows, m.retries, m.seconds,
		gauge("braid_client_open_writes", "Writes without an answer.", func() float64 { return float64(c.open.count()) }),
		gauge("braid_client_open_bytes", "Bytes of the writes without an answer.",
			func() float64 { return float64(c.memory.taken()) }),
		gauge("braid_client_topology_version", "Version of the topology that the client knows.",
			func() float64 { return float64(c.Topology().Version) }),
	)
}

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

// register adds metrics, all or none of all.
func (m *metrics) register(list ...prometheus.Collector) error {
	for _, x := range list {
		if err := m.registerer.Register(x); err != nil {
			m.unregister()
			m.all = nil
			return fmt.Errorf("register the client's metrics: %w", err)
		}
		m.all = append(m.all, x)
	}
	return nil
}

// watch adds the metrics of a directory.
func (m *metrics) watch(box *outbox.Box) error {
	if m == nil {
		return nil
	}
	return m.register(
		gauge("braid_client_directory_writes", "Writes in the directory without an answer.",
			func() float64 { return float64(box.State().Open) }),
		gauge("braid_client_directory_refused_writes", "Writes in the directory that cannot be delivered, and that "+
			"the application has not taken back.", func() float64 { return float64(box.State().Refused) }),
		gauge("braid_client_directory_waiting_bytes", "Bytes of the writes in the directory that are without an answer or refused.",
			func() float64 { return float64(box.State().Live) }),
		gauge("braid_client_directory_bytes", "Bytes of the directory's files.",
			func() float64 { return float64(box.State().Bytes) }),
		gauge("braid_client_directory_limit_bytes", "Where writers begin to wait for room in the directory.",
			func() float64 { return float64(box.State().Limit) }),
		gauge("braid_client_directory_oldest_seconds", "Age of the oldest write in the directory without an answer, 0 if "+
			"there is none.", func() float64 {
			oldest := box.State().Oldest
			if oldest.IsZero() {
				return 0
			}
			return time.Since(oldest).Seconds()
		}),
	)
}

// delivered counts a write from the directory.
func (m *metrics) delivered(o outbox.Outcome) {
	if o.Refusal != nil {
		m.writes.WithLabelValues(outcome(refusedWrite("", o.Refusal))).Inc()
		return
	}
	m.writes.WithLabelValues(outcome(nil)).Inc()
	m.rows.Add(float64(o.Rows))
}

func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, x := range m.all {
		m.registerer.Unregister(x)
	}
}

// ended counts a write that was sent.
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

// refused counts a write that was not taken in.
func (m *metrics) refused(err error) {
	if m != nil {
		m.writes.WithLabelValues(outcome(err)).Inc()
	}
}

// again counts an attempt that is made again, or copied.
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
		{ErrUnavailable, "unavailable"}, {ErrClosed, "closed"}, {ErrDirectory, "directory"},
	} {
		if errors.Is(err, kind.err) {
			return kind.name
		}
	}
	return "other"
}
