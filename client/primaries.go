package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/topology"
)

// primaries is what the client knows of those that it may write to: a gate for each address, and, once somebody
// needs it, the topology and the heartbeats.
type primaries struct {
	mu    sync.Mutex
	gates map[string]*gate // by primary; "" is the cluster's address
	view  *topology.View

	starting chan struct{} // holds one token; a mutex that a context can leave
	watching bool          // guarded by starting
}

func newPrimaries() *primaries {
	p := &primaries{gates: make(map[string]*gate), view: topology.NewView(), starting: make(chan struct{}, 1)}
	p.starting <- struct{}{}
	return p
}

// gatesMax bounds the addresses that are remembered, for an application may name any id in Via.
const gatesMax = 4096

func (p *primaries) gate(id string) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[id]
	if g == nil {
		if len(p.gates) >= gatesMax {
			for other, g := range p.gates {
				if g.fill() == 0 {
					delete(p.gates, other)
				}
			}
		}
		g = newGate()
		p.gates[id] = g
	}
	return g
}

// heard takes a heartbeat: what its primary has free is shared by all who send to it.
func (p *primaries) heard(h api.Heartbeat, now time.Time) {
	p.mu.Lock()
	p.view.Heard(h, now)
	g := p.gates[h.ID]
	p.mu.Unlock()
	if g != nil {
		g.share(h.FreeBytes / int64(max(h.Senders, 1)))
	}
}

func (p *primaries) set(t api.Topology) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.view.SetTopology(t)
}

// pick returns the least-loaded live primary, not the one that was tried last if there is another. Before the first
// heartbeats it goes by the topology.
func (p *primaries) pick(not string, now time.Time) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best, load := "", 0.0
	better := func(id string, l float64) {
		if g := p.gates[id]; g != nil {
			l += g.fill()
		}
		if id == not {
			l += 1000
		}
		if best == "" || l < load {
			best, load = id, l
		}
	}
	for _, c := range p.view.Candidates(now) {
		better(c.ID, c.Load)
	}
	if best != "" {
		return best, true
	}
	known, _ := p.view.Topology()
	for _, n := range known.Nodes {
		if n.Role == api.Primary && n.State == api.Live {
			better(n.ID, 0)
		}
	}
	return best, best != ""
}

// watch begins to follow topology and heartbeats, once.
func (c *Client) watch(ctx context.Context) error {
	p := c.primaries
	select {
	case <-p.starting:
	case <-ctx.Done():
		return fmt.Errorf("%w: read the topology: %w", ErrUnavailable, context.Cause(ctx))
	}
	defer func() { p.starting <- struct{}{} }()
	if p.watching {
		return nil
	}
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	p.set(t)
	if err := c.follow(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !c.spawn(func() { c.followStale() }) {
		return ErrClosed
	}
	p.watching = true
	return nil
}

// follow hears heartbeats and topologies until the connection closes.
func (c *Client) follow() error {
	f, err := bus.NewFollower(c.nc, c.opts.logger, nil)
	if err != nil {
		return err
	}
	stop, err := f.Follow(c.subjects.Heartbeat("*"), bus.JSON(func(h api.Heartbeat) error {
		if err := api.CheckNode(h.ID); err != nil {
			return err
		}
		c.primaries.heard(h, time.Now())
		return nil
	}))
	if err != nil {
		return err
	}
	_, err = f.Follow(c.subjects.Topology(), bus.JSON(func(t api.Topology) error {
		c.primaries.set(t)
		return nil
	}))
	if err != nil {
		return errors.Join(err, stop())
	}
	return nil
}

// followStale asks for the topology when heartbeats contradict the known one: an announcement may be lost.
func (c *Client) followStale() {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-c.closed:
			return
		case now := <-every.C:
			c.primaries.mu.Lock()
			stale := c.primaries.view.Stale(now)
			c.primaries.mu.Unlock()
			if !stale {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.attemptTimeout)
		t, err := c.sequencer.Topology(ctx)
		cancel()
		if err != nil {
			c.opts.logger.Warn("topology not read, it is asked for again", "error", err)
			continue
		}
		c.primaries.set(t)
	}
}

func (c *Client) topology(ctx context.Context) (t api.Topology, err error) {
	err = c.retry(ctx, func(ctx context.Context) (err error) {
		t, err = c.sequencer.Topology(ctx)
		return err
	})
	if err != nil {
		return t, fmt.Errorf("read the topology: %w", public(err))
	}
	return t, nil
}
