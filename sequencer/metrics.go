package sequencer

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

type metrics struct {
	commit     prometheus.Histogram
	request    prometheus.Histogram
	requests   prometheus.Histogram
	groups     prometheus.Histogram
	writes     prometheus.Histogram
	outcomes   *prometheus.CounterVec
	conflicts  prometheus.Counter
	unknown    prometheus.Counter
	overloaded prometheus.Counter
	swept      prometheus.Counter
	confirmed  prometheus.Counter
	pending    prometheus.Gauge
	pendingAge prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, depth, available func() float64) (*metrics, error) {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "braid_sequencer_" + name, Help: help, Buckets: buckets,
		})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "braid_sequencer_" + name, Help: help})
	}
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 14)
	many := prometheus.ExponentialBuckets(1, 4, 9)
	m := &metrics{
		commit:   histogram("commit_seconds", "Duration of a commit transaction, with its repetitions.", seconds),
		request:  histogram("request_seconds", "From a commit request's arrival to its answer.", seconds),
		requests: histogram("transaction_requests", "Commit requests gathered in one transaction.", many),
		groups:   histogram("transaction_groups", "Groups in one commit transaction.", many),
		writes:   histogram("transaction_writes", "Writes in one commit transaction.", many),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "braid_sequencer_groups_total", Help: "Groups by what they were told: decided, pending, later (ask again), or the name of the error.",
		}, []string{"outcome"}),
		conflicts:  counter("store_conflicts_total", "Times that a transaction's function ran again."),
		unknown:    counter("store_unknown_total", "Transactions whose outcome the store did not know."),
		overloaded: counter("overloaded_total", "Requests refused because a queue was full."),
		swept:      counter("expired_total", "Keys, producers and answers cleared after their time."),
		confirmed:  counter("confirmed_records_total", "Pending records that became confirmed."),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "braid_sequencer_pending_records",
			Help: "Records whose segment is not in the object store yet, up to 10,000; from the instance that bumps the ticks."}),
		pendingAge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "braid_sequencer_pending_age_seconds",
			Help: "How long the oldest pending record has been pending, counted in ticks."}),
	}
	if r == nil {
		return m, nil
	}
	for _, outcome := range []string{"decided", "pending", "later"} {
		m.outcomes.WithLabelValues(outcome)
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "braid_sequencer_queue_requests", Help: "Requests that wait for a transaction.",
	}, depth)
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "braid_sequencer_available", Help: "1 while this instance serves and its store answers it.",
	}, available)
	var err error
	for _, c := range []prometheus.Collector{m.commit, m.request, m.requests, m.groups, m.writes, m.outcomes,
		m.conflicts, m.unknown, m.overloaded, m.swept, m.confirmed, m.pending, m.pendingAge, waiting, up} {
		err = errors.Join(err, r.Register(c))
	}
	if err != nil {
		return nil, fmt.Errorf("sequencer metrics: %w", err)
	}
	return m, nil
}

// answered counts groups by what they were told: once per group, so that it costs nothing per write.
func (m *metrics) answered(results []Result) {
	decided, pending, refused := 0, 0, 0
	for i := range results {
		if results[i].Err != nil {
			m.outcomes.WithLabelValues(api.AsError(results[i].Err).Name.Label()).Inc()
			continue
		}
		for j := range results[i].Answers {
			switch a := &results[i].Answers[j]; {
			case a.Err != nil:
				refused++
			case a.Pending:
				pending++
			default:
				decided++
			}
		}
	}
	m.outcomes.WithLabelValues("decided").Add(float64(decided))
	m.outcomes.WithLabelValues("pending").Add(float64(pending))
	m.outcomes.WithLabelValues("later").Add(float64(refused))
}
