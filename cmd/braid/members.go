package main

import (
	"context"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// memberFlags are what an operator's decisions about a node have in common.
type memberFlags struct {
	natsFlags
	ID   string `arg:"" help:"The node's id."`
	JSON bool   `help:"Print the topology afterwards as JSON." name:"json"`
}

// change is one request about a node, decided on a version of the topology.
type change func(context.Context, *bus.Sequencer, uint64) (api.TopologyAnswer, error)

// changesMax is how often a decision is made again because the topology has changed meanwhile: what an operator wants
// of a node does not depend on the others.
const changesMax = 10

// decide makes a change; look is shown the node before and may refuse.
func (f *memberFlags) decide(p *process, look func(api.Topology, api.Node) error, change change, done string) error {
	nc, err := bus.Connect(bus.Options{Servers: f.Server, Name: "braid", Extra: f.options(), Logger: p.log})
	if err != nil {
		return fmt.Errorf("%w\nIs a cluster running? `braid up` starts one; --server says where it is", err)
	}
	defer nc.Close()
	seq := bus.NewSequencer(nc, api.Subjects{Namespace: f.Namespace})
	for attempt := 1; ; attempt++ {
		answer, err := f.attempt(p, seq, look, change)
		look = nil // the operator is asked once
		switch {
		case api.IsName(err, api.Conflict) && attempt < changesMax:
			continue
		case err != nil:
			return err
		case f.JSON:
			printJSON(p, answer.Topology)
		default:
			fmt.Fprintf(p.stdout, "%s %s, topology version %d. Try: braid status\n", f.ID, done, answer.Topology.Version)
		}
		return nil
	}
}

func (f *memberFlags) attempt(
	p *process, seq *bus.Sequencer, look func(api.Topology, api.Node) error, change change,
) (api.TopologyAnswer, error) {
	bound, cancel := context.WithTimeout(p.ctx, askTimeout)
	topology, err := seq.Topology(bound)
	cancel()
	if err != nil {
		return api.TopologyAnswer{}, fmt.Errorf("ask the sequencer: %w", err)
	}
	n, known := topology.Node(f.ID)
	if !known {
		return api.TopologyAnswer{}, fmt.Errorf("there is no node %s; `braid status` shows those that there are",
			api.Quote(f.ID))
	}
	if look != nil {
		if err := look(topology, n); err != nil {
			return api.TopologyAnswer{}, err
		}
	}
	bound, cancel = context.WithTimeout(p.ctx, askTimeout)
	defer cancel()
	return change(bound, seq, topology.Version)
}

type promoteCmd struct{ memberFlags }

// Run makes a replica a primary for good.
func (c *promoteCmd) Run(p *process) error {
	return c.decide(p, nil, func(ctx context.Context, q *bus.Sequencer, version uint64) (api.TopologyAnswer, error) {
		return q.Promote(ctx, api.RoleRequest{ID: c.ID, Version: version})
	}, "is a primary from now on, whatever it was started as")
}

type demoteCmd struct{ memberFlags }

// Run makes a primary a replica for good.
func (c *demoteCmd) Run(p *process) error {
	return c.decide(p, nil, func(ctx context.Context, q *bus.Sequencer, version uint64) (api.TopologyAnswer, error) {
		return q.Demote(ctx, api.RoleRequest{ID: c.ID, Version: version})
	}, "is a replica from now on, whatever it was started as")
}

type removeCmd struct {
	memberFlags
	confirmFlag
}

// Run takes a node out of the cluster.
func (c *removeCmd) Run(p *process) error {
	return c.decide(p, func(t api.Topology, n api.Node) error { return c.confirm(p, removal(t, n), c.ID) },
		func(ctx context.Context, q *bus.Sequencer, version uint64) (api.TopologyAnswer, error) {
			return q.Remove(ctx, api.RemoveRequest{ID: c.ID, Version: version})
		}, "is no member any more")
}

// removal says what removing a node means.
func removal(t api.Topology, n api.Node) string {
	text := fmt.Sprintf("Node %s (%s, %s) is taken out of the cluster: its copy of the data does not count any more.",
		n.ID, n.Role, n.State)
	for _, other := range t.Nodes {
		if other.StandsInFor == n.ID {
			text += fmt.Sprintf(" %s, which stands in for it, is a primary for good.", other.ID)
		}
	}
	return text
}
