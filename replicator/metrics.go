package replicator

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one node's replicator.
type metrics struct {
	records, txids, rows prometheus.Counter
	gaps                 prometheus.Counter
	held                 prometheus.Counter
	errors               *prometheus.CounterVec // by operation
	fetchSeconds         prometheus.Histogram
	fetchBytes           prometheus.Counter
	damage, repairs      *prometheus.CounterVec // by what was damaged
	scrubBytes           prometheus.Counter
	scrubRounds          prometheus.Counter
	readRows             *prometheus.CounterVec // by format
	readsBroken          prometheus.Counter
}

// newMetrics registers nothing yet.
func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "braid_replicator_" + name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "braid_replicator_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		records: counter("applied_records_total", "Commit records applied to local tables."),
		txids:   counter("applied_txids_total", "Transactions applied to local tables."),
		rows:    counter("applied_rows_total", "Rows of applied transactions."),
		gaps:    counter("gaps_total", "Records that did not follow from what the table has."),
		held:    counter("held_records_total", "Times that a record's bytes could not be had, so that its table waits."),
		errors:  vector("errors_total", "Failed operations.", "operation"),
		fetchSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "braid_replicator_fetch_seconds",
			Help: "Time to fetch one segment.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}),
		fetchBytes:  counter("fetch_bytes_total", "Bytes of fetched segments."),
		damage:      vector("damage_total", "Damaged or missing files and objects that were found.", "kind"),
		repairs:     vector("repairs_total", "Damaged or missing files and objects that were replaced.", "kind"),
		scrubBytes:  counter("scrub_bytes_total", "Bytes that the background check has read."),
		scrubRounds: counter("scrub_rounds_total", "Times that the background check has read everything."),
		readRows:    vector("read_rows_total", "Rows that were read over HTTP.", "format"),
		readsBroken: counter("reads_broken_total", "Reads that were broken off because rows could not be had."),
	}
	m.start()
	return m
}

// register shows the metrics, and what the service knows when it is asked. It is called once the tables are open.
func (m *metrics) register(r prometheus.Registerer, s *Service) error {
	if r == nil {
		return nil
	}
	gauge := func(name, help string, ask func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "braid_replicator_" + name, Help: help}, ask)
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.records, m.txids, m.rows, m.gaps, m.held, m.errors, m.fetchSeconds, m.fetchBytes, m.damage, m.repairs,
		m.scrubBytes, m.scrubRounds, m.readRows, m.readsBroken, newTableMetrics(s),
		gauge("lag_records", "Confirmed log records that are not applied here; NaN until every shard's log was read.",
			func() float64 { return shownLag(s.Lag()) }),
		gauge("tables_standing", "Tables that stand, or have rows that cannot be read here.",
			func() float64 { return float64(len(s.Standing())) }),
		gauge("damaged", "Files and objects that are damaged and could not be repaired yet.",
			func() float64 { return float64(s.damaged()) }),
	} {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

// start shows every counter from the beginning, so that the first increase is one.
func (m *metrics) start() {
	for _, operation := range []string{"log", "apply", "append", "fetch", "schema", "checkpoint", "scrub", "reply"} {
		m.errors.WithLabelValues(operation)
	}
	for _, kind := range []string{"segment", "object", "table", "checkpoint"} {
		m.damage.WithLabelValues(kind)
		m.repairs.WithLabelValues(kind)
	}
	for format := range contentTypes {
		m.readRows.WithLabelValues(format)
	}
}
