package bus

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Follower listens to what nobody answers: heartbeats, topologies, hints. What is lost of it is made up for by whoever
// follows, but not hidden: it is counted, and logged at the 1st, 2nd, 4th, 8th … time.
type Follower struct {
	nc   *nats.Conn
	log  *slog.Logger
	lost *prometheus.CounterVec
}

// NewFollower uses nc, which stays the caller's. registerer may be nil.
func NewFollower(nc *nats.Conn, log *slog.Logger, registerer prometheus.Registerer) (*Follower, error) {
	f := &Follower{nc: nc, log: log, lost: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "braid_bus_announcements_lost_total",
		Help: "Announcements that were not understood, or dropped because the subscription was full.",
	}, []string{"subject"})}
	if registerer != nil {
		if err := registerer.Register(f.lost); err != nil {
			return nil, fmt.Errorf("follow announcements: %w", err)
		}
	}
	return f, nil
}

// Follow calls handle for each announcement on a subject, one after the other, until stop. An error of handle says that
// it was not understood.
func (f *Follower) Follow(subject string, handle func(data []byte) error) (stop func() error, err error) {
	counter := f.lost.WithLabelValues(subject)
	failures, dropped := 0, 0
	sub, err := f.nc.Subscribe(subject, func(m *nats.Msg) {
		if n, err := m.Sub.Dropped(); err == nil && n > dropped {
			counter.Add(float64(n - dropped))
			f.log.Warn("subscription full, messages dropped", "subject", subject, "messages", n-dropped)
			dropped = n
		}
		err := handle(m.Data)
		if err == nil {
			return
		}
		counter.Inc()
		if failures++; failures&(failures-1) == 0 {
			f.log.Warn("announcement not understood", "subject", m.Subject, "times", failures, "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", subject, err)
	}
	return func() error {
		if err := sub.Unsubscribe(); err != nil && !f.nc.IsClosed() {
			return fmt.Errorf("stop listening to %s: %w", subject, err)
		}
		return nil
	}, nil
}

// JSON is a handler of announcements in JSON. take's error says that one makes no sense.
func JSON[T any](take func(T) error) func(data []byte) error {
	return func(data []byte) error {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		return take(v)
	}
}
