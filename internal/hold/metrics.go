package hold

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	held, bytes prometheus.Gauge
	syncSeconds prometheus.Histogram
	refused     prometheus.Counter
	uploaded    prometheus.Counter
	confirmed   prometheus.Counter
	gone        *prometheus.CounterVec
	failed      *prometheus.CounterVec
}

// Why a copy was let go.
const (
	goneStored   = "stored"
	goneUnneeded = "unneeded"
	goneVoided   = "voided"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "braid_holder_" + name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	m := &metrics{
		held:  prometheus.NewGauge(prometheus.GaugeOpts(opts("segments", "Segments of other nodes that are held."))),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts(opts("bytes", "Bytes of the segments of other nodes that are held."))),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "braid_holder_sync_seconds",
			Help:    "From the last piece of a segment to its copy being checked and synced.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		refused:   counter("refused_total", "Pieces refused, because a bound was reached or the disk failed."),
		uploaded:  counter("uploaded_total", "Segments of others that this node has put into the object store."),
		confirmed: counter("confirmed_records_total", "Records that this node has confirmed."),
		gone: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("released_total", "Copies that were let go: stored (it is in the object store), unneeded, voided.")),
			[]string{"reason"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("errors_total", "What a holder could not do and tries again, by what it was: receive, look, settle, release.")),
			[]string{"operation"}),
	}
	for _, reason := range []string{goneStored, goneUnneeded, goneVoided} {
		m.gone.WithLabelValues(reason)
	}
	for _, operation := range []string{"receive", "look", "settle", "release"} {
		m.failed.WithLabelValues(operation)
	}
	if r == nil {
		return m, nil
	}
	var err error
	for _, c := range []prometheus.Collector{m.held, m.bytes, m.syncSeconds, m.refused, m.uploaded, m.confirmed, m.gone,
		m.failed} {
		err = errors.Join(err, r.Register(c))
	}
	if err != nil {
		return nil, fmt.Errorf("holder metrics: %w", err)
	}
	return m, nil
}
