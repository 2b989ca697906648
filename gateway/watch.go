package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

const (
	sweepInterval    = 50 * time.Millisecond
	topologyInterval = 5 * time.Second        // an announcement that was lost is made up for
	staleInterval    = 250 * time.Millisecond // the same, once a node contradicts the topology
	topologyAttempt  = 2 * time.Second
)

// watchCluster keeps the router's view: heartbeats and topologies as they are announced, and the
// topology asked for.
func (s *Service) watchCluster(ctx context.Context, parts *sync.WaitGroup) (stop func(), err error) {
	nc := s.deps.Conn
	beats, err := nc.Subscribe(s.deps.Subjects.Heartbeat("*"), func(m *nats.Msg) {
		var h api.Heartbeat
		if json.Unmarshal(m.Data, &h) == nil && h.ID != "" {
			s.routes.heard(h)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to heartbeats: %w", err)
	}
	topologies, err := nc.Subscribe(s.deps.Subjects.Topology(), func(m *nats.Msg) {
		var t api.Topology
		if json.Unmarshal(m.Data, &t) == nil {
			s.routes.setTopology(t)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to the topology: %w", err)
	}
	parts.Go(func() { s.sweep(ctx) })
	parts.Go(func() { s.askTopology(ctx) })
	return func() {
		for _, sub := range []*nats.Subscription{beats, topologies} {
			if err := sub.Unsubscribe(); err != nil && !nc.IsClosed() {
				s.log.Warn("unsubscribe", "subject", sub.Subject, "error", err)
			}
		}
	}, nil
}

func (s *Service) sweep(ctx context.Context) {
	for pause(ctx, sweepInterval) {
		s.routes.sweep()
	}
}

// askTopology reads the topology at the start, now and then, and soon when a node says of itself
// what the topology does not.
func (s *Service) askTopology(ctx context.Context) {
	var asked time.Time
	for {
		if !s.routes.known() || s.routes.stale() || time.Since(asked) >= topologyInterval {
			attempt, cancel := context.WithTimeout(ctx, topologyAttempt)
			t, err := s.deps.Sequencer.Topology(attempt)
			cancel()
			if err == nil {
				asked = time.Now()
				s.routes.setTopology(t)
			} else if ctx.Err() == nil {
				s.log.Warn("read the topology", "error", err)
			}
		}
		if !pause(ctx, staleInterval) {
			return
		}
	}
}

// known says whether there is a topology.
func (r *routes) known() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.core.view.Topology()
	return known
}
