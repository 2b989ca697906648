package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a store, by operation (put, get, stat, list, mend).
type metrics struct {
	seconds *prometheus.HistogramVec // until the answer; of a get, until its first byte can be read
	errors  *prometheus.CounterVec   // answers other than nil and ErrNotFound
	bytes   *prometheus.CounterVec   // of objects put and got
}

// Instrument returns s with metrics registered in r. Several stores of a process may share a
// registerer: their numbers add up.
func Instrument(s Store, r prometheus.Registerer) (Store, error) {
	m := metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "braid_objstore_operation_seconds",
			Help:    "Time of an object store operation until its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "braid_objstore_errors_total",
			Help: "Object store operations that failed; an object that is not there is no failure.",
		}, []string{"operation"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "braid_objstore_bytes_total",
			Help: "Bytes of objects put, and got as far as they were read.",
		}, []string{"operation"}),
	}
	var err error
	if m.seconds, err = registered(r, m.seconds); err != nil {
		return nil, err
	}
	if m.errors, err = registered(r, m.errors); err != nil {
		return nil, err
	}
	if m.bytes, err = registered(r, m.bytes); err != nil {
		return nil, err
	}
	for _, operation := range []string{"put", "get", "stat", "list", "mend"} {
		m.seconds.WithLabelValues(operation)
		m.errors.WithLabelValues(operation)
	}
	for _, operation := range []string{"put", "get"} {
		m.bytes.WithLabelValues(operation)
	}
	return instrumented{next: s, metrics: m}, nil
}

// registered returns c, or the one of its kind that is registered already.
func registered[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	err := r.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

type instrumented struct {
	next    Store
	metrics metrics
}

// done is called with the answer of an operation that began at begin.
func (i instrumented) done(operation string, begin time.Time, err error) {
	i.metrics.seconds.WithLabelValues(operation).Observe(time.Since(begin).Seconds())
	if err != nil && !errors.Is(err, ErrNotFound) {
		i.metrics.errors.WithLabelValues(operation).Inc()
	}
}

func (i instrumented) Put(ctx context.Context, key string, body Body) error {
	begin := time.Now()
	err := i.next.Put(ctx, key, body)
	i.done("put", begin, err)
	if err == nil {
		i.metrics.bytes.WithLabelValues("put").Add(float64(body.Size))
	}
	return err
}

func (i instrumented) Get(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	begin := time.Now()
	r, size, err := i.next.Get(ctx, key)
	i.done("get", begin, err)
	if err != nil {
		return nil, 0, err
	}
	return &counted{ReadCloser: r, metrics: i.metrics}, size, nil
}

type counted struct {
	io.ReadCloser
	metrics metrics
	failed  bool
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.metrics.bytes.WithLabelValues("get").Add(float64(n))
	if err != nil && err != io.EOF && !c.failed {
		c.failed = true
		c.metrics.errors.WithLabelValues("get").Inc()
	}
	return n, err
}

func (i instrumented) Stat(ctx context.Context, key string) (Info, error) {
	begin := time.Now()
	info, err := i.next.Stat(ctx, key)
	i.done("stat", begin, err)
	return info, err
}

func (i instrumented) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		begin := time.Now()
		var last error
		for info, err := range i.next.List(ctx, prefix) {
			if last = err; !yield(info, err) {
				break
			}
		}
		i.done("list", begin, last)
	}
}

// Close closes the store if it holds anything.
func (i instrumented) Close() error {
	if c, ok := i.next.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
