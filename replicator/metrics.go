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
	repairs              *prometheus.CounterVec // by what was damaged
	readRows             *prometheus.CounterVec // by format
	readsBroken          prometheus.Counter
	lag                  prometheus.GaugeFunc
}

func newMetrics(r prometheus.Registerer, lag func() float64) (*metrics, error) {
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
		repairs:     vector("repairs_total", "Damaged or missing local files that were replaced.", "what"),
		readRows:    vector("read_rows_total", "Rows that were read over HTTP.", "format"),
		readsBroken: counter("reads_broken_total", "Reads that were broken off because rows could not be had."),
		lag: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "braid_replicator_lag_records",
			Help: "Confirmed log records that are not applied here."}, lag),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.records), r.Register(m.txids), r.Register(m.rows), r.Register(m.gaps),
		r.Register(m.held), r.Register(m.errors), r.Register(m.fetchSeconds), r.Register(m.fetchBytes),
		r.Register(m.repairs), r.Register(m.readRows), r.Register(m.readsBroken), r.Register(m.lag))
}
