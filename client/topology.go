package client

import (
	"context"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
)

// Topology is the membership of a cluster at one version.
type Topology struct {
	Cluster string // random id of the cluster
	Version uint64 // grows with members, roles, states and epochs; 0: nothing is known yet
	Shards  int
	Nodes   []Node // by id
}

// Node is one member.
type Node struct {
	ID          string
	Role        string // primary or replica
	State       string // live, draining, stopped, recovering or dead
	Epoch       uint64
	HTTP        string // host:port where it serves reads
	StandsInFor string
}

func publicTopology(t api.Topology) Topology {
	out := Topology{Cluster: t.Cluster, Version: t.Version, Shards: t.Shards}
	for _, n := range t.Nodes {
		out.Nodes = append(out.Nodes,
			Node{n.ID, string(n.Role), string(n.State), n.Epoch, n.HTTP, n.StandsInFor})
	}
	return out
}

// Topology is the newest that the client has heard of: it is announced with each change. It asks nobody; see
// ReadTopology, and WithTopologyHandler.
func (c *Client) Topology() Topology {
	c.primaries.mu.Lock()
	defer c.primaries.mu.Unlock()
	t, _ := c.primaries.view.Topology()
	return publicTopology(t)
}

// ReadTopology asks the cluster for its topology. Its errors: ErrUnavailable, ErrClosed.
func (c *Client) ReadTopology(ctx context.Context) (Topology, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return Topology{}, err
	}
	return publicTopology(t), nil
}

func (c *Client) topology(ctx context.Context) (t api.Topology, err error) {
	err = c.retry(ctx, func(ctx context.Context) (err error) {
		t, err = c.sequencer.Topology(ctx)
		return err
	})
	if err != nil {
		return t, fmt.Errorf("read the topology: %w", c.public(ctx, err))
	}
	c.primaries.set(t)
	return t, nil
}
