package replicator

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/table"
)

// tablesShown bounds the tables of a node that are shown by name: a cluster may have as many tables as it likes.
const tablesShown = 100

// tableMetrics collects what is said of single shards and tables.
type tableMetrics struct {
	s                        *Service
	shardLag, tableLag, txid *prometheus.Desc
}

func newTableMetrics(s *Service) *tableMetrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("braid_replicator_"+name, help, labels, nil)
	}
	return &tableMetrics{s: s,
		shardLag: describe("shard_lag_records",
			"Confirmed log records of a shard that are not applied here; NaN until its log was read.", "shard"),
		tableLag: describe("table_lag_records",
			"Confirmed records by which a table is behind its shard, of the first 100 by name and the 100 furthest behind.",
			"table"),
		txid: describe("table_applied_txid", "Last TxID applied, of the first 100 tables by name.", "table"),
	}
}

// Describe implements prometheus.Collector.
func (m *tableMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.shardLag
	out <- m.tableLag
	out <- m.txid
}

// Collect implements prometheus.Collector.
func (m *tableMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, label string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, label)
	}
	for _, sh := range m.s.shards {
		gauge(m.shardLag, shownLag(sh.lag.Load()), strconv.Itoa(sh.index))
	}
	names := m.s.tables.Names()
	lag := make(map[string]uint64)
	for _, name := range names[:min(len(names), tablesShown)] {
		gauge(m.txid, float64(m.s.tables.AppliedTxID(name)), name)
		lag[name] = 0
	}
	for _, t := range m.s.lagging() {
		lag[t.Table] = t.Records
	}
	for name, records := range lag {
		gauge(m.tableLag, float64(records), name)
	}
}

// shownLag is a lag as a metric: one that is not known yet is no number.
func shownLag(records uint64) float64 {
	if records >= lagUnknown {
		return math.NaN()
	}
	return float64(records)
}

// lagging lists the tables that are furthest behind.
func (s *Service) lagging() (all []table.Lag) {
	for _, sh := range s.shards {
		all = append(all, *sh.lagging.Load()...)
	}
	return table.Furthest(all, tablesShown)
}
