package gateway

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// metrics of a gateway. Nothing is labelled by table or node beyond what a cluster has few of.
type metrics struct {
	requests     *prometheus.CounterVec // by format and source
	rows         *prometheus.CounterVec // by format
	bytes        *prometheus.CounterVec // by format
	answers      *prometheus.CounterVec // by code and outcome, once per write or request without one
	unheard      *prometheus.CounterVec // errors of plain publishes, by code
	groups       prometheus.Counter
	groupWrites  prometheus.Histogram
	groupBytes   prometheus.Histogram
	retries      *prometheus.CounterVec // by reason
	registered   prometheus.Counter
	parseSeconds prometheus.Histogram
	encodeSecs   prometheus.Histogram
	writeSeconds prometheus.Histogram

	requestsBy [3][2]prometheus.Counter // by format; over NATS, over HTTP
	rowsBy     [3]prometheus.Counter
	bytesBy    [3]prometheus.Counter
	answered   map[api.Name]prometheus.Counter // "" is stored
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "braid_gateway_" + name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "braid_gateway_" + name, Help: help, Buckets: buckets,
	})
}

func newMetrics(s *Service, reg prometheus.Registerer) (*metrics, error) {
	fast := prometheus.ExponentialBuckets(20e-6, 4, 9)
	m := &metrics{
		requests: counterVec("requests_total", "Write requests taken.", "format", "source"),
		rows:     counterVec("rows_total", "Rows of accepted writes.", "format"),
		bytes:    counterVec("request_bytes_total", "Payload bytes of write requests, as they arrived.", "format"),
		answers:  counterVec("answers_total", "Outcomes of writes, and of requests refused as a whole.", "code", "outcome"),
		unheard:  counterVec("publish_errors_total", "Refused writes whose sender did not wait for an answer.", "code"),
		groups: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "braid_gateway_groups_total", Help: "Groups sent to primaries, each counted once."}),
		groupWrites: histogram("group_writes", "Writes in a group.", prometheus.ExponentialBuckets(1, 2, 11)),
		groupBytes:  histogram("group_bytes", "Bytes of an encoded group.", prometheus.ExponentialBuckets(512, 4, 8)),
		retries:     counterVec("route_retries_total", "Attempts at a primary that did not end a group's course: lost, no_responders, pending, or a refusal's name.", "reason"),
		registered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "braid_gateway_registrations_total", Help: "Times this gateway registered as a producer."}),
		parseSeconds: histogram("parse_seconds", "Time to unpack and parse a payload.", fast),
		encodeSecs:   histogram("encode_seconds", "Time to encode a group.", fast),
		writeSeconds: histogram("write_seconds", "Time from a write's arrival to its outcome.",
			prometheus.ExponentialBuckets(500e-6, 2, 16)),
		answered: make(map[api.Name]prometheus.Counter),
	}
	for f := range formatNames {
		name := formatNames[f]
		m.requestsBy[f] = [2]prometheus.Counter{
			m.requests.WithLabelValues(name, "nats"), m.requests.WithLabelValues(name, "http")}
		m.rowsBy[f], m.bytesBy[f] = m.rows.WithLabelValues(name), m.bytes.WithLabelValues(name)
	}
	m.answered[""] = m.answers.WithLabelValues("200", "stored")
	for _, name := range api.Names() {
		code := strconv.Itoa(name.Code())
		m.answered[name] = m.answers.WithLabelValues(code, string(name))
		m.unheard.WithLabelValues(code)
	}
	for _, reason := range []string{retryLost, retrySilent, retryPending} {
		m.retries.WithLabelValues(reason)
	}
	return m, m.register(s, reg)
}

func (m *metrics) register(s *Service, reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "braid_gateway_" + name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.rows, m.bytes, m.answers, m.unheard, m.groups, m.groupWrites, m.groupBytes, m.retries,
		m.registered, m.parseSeconds, m.encodeSecs, m.writeSeconds,
		gauge("held_bytes", "Bytes of requests without an answer.", func() float64 {
			bytes, _ := s.held.sizes()
			return float64(bytes)
		}),
		gauge("held_requests", "Requests without an answer.", func() float64 {
			_, requests := s.held.sizes()
			return float64(requests)
		}),
		gauge("writable_primaries", "Primaries that this gateway could send a write to now.", func() float64 {
			return float64(s.routes.usable())
		}),
		gauge("topology_version", "Version of the topology that this gateway knows.", func() float64 {
			return float64(s.routes.version())
		}),
		gauge("unanswered_bytes", "Bytes of groups sent to primaries and not answered.", func() float64 {
			return float64(s.routes.unanswered())
		}),
	} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("gateway metrics: %w", err)
		}
	}
	return nil
}

// outcome counts what one write, or a request that was refused as a whole, was told.
func (m *metrics) outcome(e *api.Error) {
	name := api.Name("")
	if e != nil {
		name = e.Name
	}
	if c, ok := m.answered[name]; ok {
		c.Inc()
		return
	}
	m.answers.WithLabelValues(strconv.Itoa(name.Code()), name.Label()).Inc()
}

func since(h prometheus.Histogram, start time.Time) { h.Observe(time.Since(start).Seconds()) }

// Why a group's course goes on, beside the names of refusals.
const (
	retryLost    = "lost"
	retrySilent  = "no_responders"
	retryPending = "pending"
)

// retry counts an attempt that did not end a group's course.
func (m *metrics) retry(how reply, refusal *api.Error) {
	reason := retryLost
	switch how {
	case replySilent:
		reason = retrySilent
	case replyPending:
		reason = retryPending
	case replyRefused:
		reason = refusal.Name.Label()
	}
	m.retries.WithLabelValues(reason).Inc()
}
