package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// watcher notes every change of the topology and when it was heard: from its publication, and by asking now and then,
// since a publication can be missed.
type watcher struct {
	start time.Time
	first api.Topology
	stop  func()

	mu    sync.Mutex
	last  api.Topology // guarded by mu
	roles []RoleChange // guarded by mu
}

// watchPoll is how often the topology is asked for.
const watchPoll = 500 * time.Millisecond

// rolesMax bounds what is kept of changes: a cluster that changes more often has another illness.
const rolesMax = 100_000

// startWatch watches until the watcher's stop is called.
func (h *harness) startWatch(ctx context.Context, start time.Time) (*watcher, error) {
	nc, err := h.bare(nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	w := &watcher{start: start}
	subjects := api.Subjects{Namespace: h.config.Namespace}
	get := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		msg, err := nc.RequestWithContext(ctx, subjects.TopologyGet(), nil)
		if err != nil {
			return err
		}
		return w.hear(msg.Data)
	}
	_, err = nc.Subscribe(subjects.Topology(), func(m *nats.Msg) {
		if err := w.hear(m.Data); err != nil {
			h.deps.Logger.Warn("topology not read", "error", err)
		}
	})
	if err == nil {
		err = get(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("watch the topology: %w", err)
	}
	w.first = w.now()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		for pause(ctx, watchPoll) {
			if err := get(ctx); err != nil && ctx.Err() == nil {
				h.deps.Logger.Debug("topology not read", "error", err) // the sequencer or NATS is being hurt
			}
		}
	})
	w.stop = func() { cancel(); wg.Wait(); nc.Close() }
	return w, nil
}

// hear notes what a topology has that the last one had not. One that is older is no news.
func (w *watcher) hear(data []byte) error {
	var t api.Topology
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	if t.Cluster == "" {
		return errors.New("the answer is no topology")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Version <= w.last.Version {
		return nil
	}
	at := time.Since(w.start)
	for _, n := range t.Nodes {
		old, known := w.last.Node(n.ID)
		same := known && old.Role == n.Role && old.State == n.State && old.Epoch == n.Epoch &&
			old.StandsInFor == n.StandsInFor
		if !same && len(w.roles) < rolesMax {
			w.roles = append(w.roles, RoleChange{AtS: at.Seconds(), Node: n.ID, Role: string(n.Role),
				State: string(n.State), Epoch: n.Epoch, StandsInFor: n.StandsInFor, at: at})
		}
	}
	w.last = t
	return nil
}

func (w *watcher) now() api.Topology {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *watcher) changes() []RoleChange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roles
}
