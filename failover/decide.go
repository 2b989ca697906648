package failover

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// decide returns the most urgent decision on the topology as it is known, nil if there is none. One at a time: the next
// one is taken on what the topology is then.
func (c *core) decide(now time.Duration) action {
	if dead := c.dead(now); len(dead) > 0 {
		n := dead[0]
		w := c.nodes[n.ID]
		a := fail{silent: now - w.since, why: w.failed.why, FailNodeRequest: api.FailNodeRequest{
			ID: n.ID, Epoch: n.Epoch, Version: c.topology.Version,
		}}
		if place := c.vacant(n); place != "" {
			a.place = place
			a.StandIn, a.lag, _ = c.best(place, now)
		}
		return a
	}
	for _, n := range c.topology.Nodes {
		if n.State != api.Dead || n.Role != api.Primary || c.standsInFor(n.ID) != "" {
			continue
		}
		if id, lag, ok := c.best(n.ID, now); ok {
			return standIn{api.StandInRequest{ID: n.ID, StandIn: id, Version: c.topology.Version}, lag}
		}
	}
	return nil
}

// vacant is the place that a node leaves empty when it dies: its own, or that of the primary for which it stands in; ""
// if it is a replica, or somebody stands there already.
func (c *core) vacant(n api.Node) string {
	switch {
	case n.Role != api.Primary:
		return ""
	case n.StandsInFor != "":
		return n.StandsInFor
	case c.standsInFor(n.ID) != "":
		return ""
	}
	return n.ID
}

// standsInFor is the node that stands in for id, "" if none does.
func (c *core) standsInFor(id string) string {
	for _, n := range c.topology.Nodes {
		if n.StandsInFor == id {
			return n.ID
		}
	}
	return ""
}

// best is the live replica that has least to catch up with, then the first by id. Only one that was heard just now, and
// says of itself what the topology says, takes a place: it must not be the next that is found dead.
func (c *core) best(place string, now time.Duration) (id string, lag uint64, ok bool) {
	for _, n := range c.topology.Nodes { // by id
		w := c.nodes[n.ID]
		if n.ID == place || n.Role != api.Replica || n.State != api.Live || !w.beaten || now-w.since > recentMax ||
			w.quiet || w.beat.State != api.Live {
			continue
		}
		if !ok || w.beat.Lag < lag {
			id, lag, ok = n.ID, w.beat.Lag, true
		}
	}
	return id, lag, ok
}
