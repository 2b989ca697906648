package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

const (
	sweepInterval    = 50 * time.Millisecond
	topologyInterval = 5 * time.Second        // an announcement that was lost is made up for
	staleInterval    = 250 * time.Millisecond // the same, once a node contradicts the topology
	topologyAttempt  = 2 * time.Second
	probeTimeout     = time.Second
)

// watchCluster keeps the router's view: heartbeats and topologies as they are announced, and the
// topology asked for.
func (s *Service) watchCluster(ctx context.Context, parts *sync.WaitGroup) (stop func(), err error) {
	f, err := bus.NewFollower(s.deps.Beats, s.log, s.deps.Registerer)
	if err != nil {
		return nil, err
	}
	stopBeats, err := f.Follow(s.deps.Subjects.Heartbeat("*"), bus.JSON(func(h api.Heartbeat) error {
		if err := api.CheckNode(h.ID); err != nil {
			return err
		}
		s.routes.heard(h)
		return nil
	}))
	if err != nil {
		return nil, err
	}
	stopTopologies, err := f.Follow(s.deps.Subjects.Topology(), bus.JSON(func(t api.Topology) error {
		s.routes.setTopology(t)
		return nil
	}))
	if err != nil {
		return nil, errors.Join(err, stopBeats())
	}
	parts.Go(func() { s.sweep(ctx, parts) })
	parts.Go(func() { s.askTopology(ctx) })
	return func() {
		if err := errors.Join(stopBeats(), stopTopologies()); err != nil {
			s.log.Warn("announcements are still listened to", "error", err)
		}
	}, nil
}

func (s *Service) sweep(ctx context.Context, parts *sync.WaitGroup) {
	for s.env.pause(ctx, sweepInterval) {
		for _, id := range s.routes.sweep() {
			parts.Go(func() { s.probe(ctx, id) })
		}
	}
}

// probe asks a primary whether it is there. No answer in time says nothing by itself: routes knows since when there is
// none.
func (s *Service) probe(ctx context.Context, primary string) {
	ctx, cancel := context.WithDeadline(ctx, s.env.now().Add(probeTimeout))
	defer cancel()
	switch err := s.env.probe(ctx, primary); {
	case errors.Is(err, bus.ErrNoResponders):
		s.routes.asked(primary, false)
	case !errors.Is(err, bus.ErrUnknown):
		s.routes.asked(primary, true)
	}
}

// askTopology reads the topology at the start, now and then, and soon when a node says of itself
// what the topology does not.
func (s *Service) askTopology(ctx context.Context) {
	var asked time.Time
	failures := 0
	for {
		if s.routes.doubtful() || time.Since(asked) >= topologyInterval {
			attempt, cancel := context.WithTimeout(ctx, topologyAttempt)
			t, err := s.deps.Sequencer.Topology(attempt)
			cancel()
			if err == nil {
				asked, failures = time.Now(), 0
				s.routes.setTopology(t)
			} else if failures++; ctx.Err() == nil && failures&(failures-1) == 0 {
				s.log.Warn("read the topology", "error", err)
			}
		}
		if !s.env.pause(ctx, staleInterval) {
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

// doubtful says that there is no topology, or that a node contradicts it.
func (r *routes) doubtful() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.core.view.Topology()
	return !known || r.core.view.Stale(r.now())
}
