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

// primaries is what the client knows of those that it may write to: a gate for each address, the topology and the
// heartbeats.
type primaries struct {
	mu    sync.Mutex
	gates map[string]*gate // by primary; "" is the cluster's address
	view  *topology.View
	began time.Time     // whoever lives is heard in the first HeartbeatMax from then on
	open  topology.Open // attempts under way at a primary whose writes may be sent elsewhere

	telling  sync.Mutex // held while onChange runs, so that it sees versions in their order; before mu
	onChange func(Topology)
}

func newPrimaries(onChange func(Topology)) *primaries {
	return &primaries{gates: make(map[string]*gate), view: topology.NewView(), onChange: onChange,
		began: time.Now()}
}

// gatesMax bounds the addresses that are remembered, for an application may name any id in a route.
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
		g = newGate(api.UnansweredBytesMax)
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

// set takes a topology, and tells whoever wants to know if it is newer.
func (p *primaries) set(t api.Topology) {
	p.telling.Lock()
	defer p.telling.Unlock()
	p.mu.Lock()
	newer := p.view.SetTopology(t)
	if newer {
		p.open.GiveUp(p.view, time.Now()) // a death that is announced ends attempts at once
	}
	p.mu.Unlock()
	if newer && p.onChange != nil {
		p.onChange(publicTopology(t))
	}
}

// pick returns the primary for one attempt: the preferred one or whoever stands in for it, else the least-loaded live
// one, not the one that was tried last if there is another. Before the first heartbeats it goes by the topology.
func (p *primaries) pick(prefer, last string, now time.Time) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if prefer != "" {
		if id := p.preferred(prefer, now); id != "" {
			return id, true
		}
	}
	best, load := "", 0.0
	better := func(id string, l float64) {
		if g := p.gates[id]; g != nil {
			l += g.fill()
		}
		if id == last {
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

// through returns the primary that a gateway is asked to send to where the application wants this one: itself, or
// whoever stands in for it, or "", which is any. One that the topology does not know is for the gateway to refuse.
func (p *primaries) through(primary string) string {
	if primary == "" {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.view.Node(primary); !known {
		return primary
	}
	return p.preferred(primary, time.Now())
}

// preferred returns the primary or its stand-in, whichever can be written to; "" if neither can. It is called with mu
// held.
func (p *primaries) preferred(primary string, now time.Time) string {
	for _, id := range []string{primary, p.view.StandIn(primary)} {
		if _, ok := p.view.Candidate(id, now); ok {
			if p.view.Outdone(id, now) != "" {
				continue
			}
			return id
		}
		n, known := p.view.Node(id)
		if known && n.Role == api.Primary && n.State == api.Live && !p.view.Settled(now) &&
			now.Before(p.began.Add(topology.HeartbeatMax)) {
			return id // not heard yet; later it would be silent, and another is asked until it is dead or back
		}
	}
	return ""
}

// watch begins to follow topology and heartbeats.
func (c *Client) watch(ctx context.Context) error {
	if err := c.follow(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	one, cancel := context.WithTimeout(ctx, firstTopology)
	defer cancel()
	if t, err := c.sequencer.Topology(one); err == nil {
		c.primaries.set(t)
	} else {
		c.opts.logger.Info("no topology yet, it is asked for again", "error", err)
	}
	c.spawn(c.followStale)
	return nil
}

// firstTopology bounds how long Connect waits for the topology.
const firstTopology = 2 * time.Second

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

// followStale asks for the topology as long as there is none, and when heartbeats contradict the known one: an
// announcement may be lost.
func (c *Client) followStale() {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-c.closed:
			return
		case now := <-every.C:
			c.primaries.mu.Lock()
			_, known := c.primaries.view.Topology()
			stale := !known || c.primaries.view.Stale(now)
			c.primaries.mu.Unlock()
			if !stale {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.attemptTimeout)
		t, err := c.sequencer.Topology(ctx)
		cancel()
		if err != nil {
			if c.isOpen() == nil {
				c.opts.logger.Warn("topology not read, it is asked for again", "error", err)
			}
			continue
		}
		c.primaries.set(t)
	}
}
