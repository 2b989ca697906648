package primary

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

type metrics struct {
	groups, rows, bytes prometheus.Counter
	refused             *prometheus.CounterVec
	seals               *prometheus.CounterVec
	segmentBytes        prometheus.Histogram
	syncSeconds         prometheus.Histogram
	putSeconds          prometheus.Histogram
	putRetries          prometheus.Counter
	commitSeconds       prometheus.Histogram
	commitGroups        prometheus.Histogram
	commitRetries       prometheus.Counter
	answerSeconds       [levels]prometheus.Observer // by durability
	admitted, flying    prometheus.Gauge
	holdSeconds         prometheus.Histogram
	holdFailures        prometheus.Counter
	confirmRetries      prometheus.Counter
	backlog             prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 16)
	m := &metrics{
		groups: counter("groups_total", "Groups appended to a segment."),
		rows:   counter("rows_total", "Rows of groups appended to a segment."),
		bytes:  counter("bytes_total", "Bytes of groups appended to a segment."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "braid_primary_refused_total",
			Help: "Groups answered with an error, by its name."}, []string{"reason"}),
		seals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "braid_primary_seals_total",
			Help: "Segments sealed, by reason: full, idle, drain."}, []string{"reason"}),
		segmentBytes: histogram("segment_bytes", "Size of sealed segments.", prometheus.ExponentialBuckets(1024, 2, 16)),
		syncSeconds:  histogram("sync_seconds", "Time to fsync a segment.", seconds),
		putSeconds:   histogram("put_seconds", "Time of a successful put into the object store.", seconds),
		putRetries:   counter("put_retries_total", "Puts into the object store that failed and are repeated."),
		commitSeconds: histogram("commit_seconds",
			"Time of a commit request, from sending to its answer.", seconds),
		commitGroups:  histogram("commit_groups", "Groups in a commit request.", prometheus.ExponentialBuckets(1, 2, 10)),
		commitRetries: counter("commit_retries_total", "Commit requests without an answer, which are repeated."),
		admitted:      gauge("admitted_bytes", "Bytes of groups that are admitted and not decided."),
		holdSeconds: histogram("hold_seconds",
			"Time to bring a segment to another node, to its answer that it is whole and synced.", seconds),
		holdFailures:   counter("hold_failures_total", "Attempts to bring a segment to another node that failed."),
		confirmRetries: counter("confirm_retries_total", "Confirmations without an answer, which are repeated."),
		backlog: gauge("backlog_segments",
			"Segments of durability wal that are not in the object store yet."),
		flying: gauge("segments_in_flight", "Segments that are being made durable."),
	}
	answers := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "braid_primary_answer_seconds",
		Help: "Time from a group's arrival to its acknowledgement.", Buckets: seconds}, []string{"durability"})
	for d := range m.answerSeconds {
		m.answerSeconds[d] = answers.WithLabelValues(api.Durability(d).String())
	}
	for _, name := range api.Names() {
		m.refused.WithLabelValues(string(name))
	}
	for _, reason := range []string{sealFull, sealIdle, sealDrain} {
		m.seals.WithLabelValues(reason)
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.groups, m.rows, m.bytes, m.refused, m.seals, m.segmentBytes, m.syncSeconds, m.putSeconds, m.putRetries,
		m.commitSeconds, m.commitGroups, m.commitRetries, answers, m.admitted, m.flying,
		m.holdSeconds, m.holdFailures, m.confirmRetries, m.backlog,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "braid_primary_" + name, Help: help})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "braid_primary_" + name, Help: help})
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "braid_primary_" + name, Help: help, Buckets: buckets,
	})
}

func (m *metrics) appended(g *group) {
	m.groups.Inc()
	m.rows.Add(float64(g.rows))
	m.bytes.Add(float64(g.bytes))
}

func (m *metrics) sealed(reason string, length int64) {
	m.seals.WithLabelValues(reason).Inc()
	m.segmentBytes.Observe(float64(length))
}
