package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

type drainCmd struct {
	natsFlags
	ID      string        `arg:"" help:"The node."`
	Timeout time.Duration `help:"How long to wait until it has stopped." default:"60s"`
	JSON    bool          `help:"Print the node as JSON once it has stopped." name:"json"`
}

// drainPoll is how often the registry is asked how far the node has come.
const drainPoll = 50 * time.Millisecond

// Run tells a node to drain, and waits until the registry says that it has stopped. Its process ends then, as with
// SIGTERM; starting it again brings it back.
func (c *drainCmd) Run(p *process) error {
	if err := api.CheckNode(c.ID); err != nil {
		return err
	}
	nc, err := bus.Connect(bus.Options{Servers: c.Server, Name: "braid-drain", Extra: c.options(), Logger: p.log})
	if err != nil {
		return fmt.Errorf("%w\nIs a cluster running? --server says where it is", err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(p.ctx, c.Timeout)
	defer cancel()
	subjects := api.Subjects{Namespace: c.Namespace}
	told, err := bus.Ask[api.NodeInfo](ctx, nc, subjects.NodeDrain(c.ID), struct{}{})
	switch {
	case errors.Is(err, bus.ErrNoResponders):
		return fmt.Errorf("node %s does not answer: is it running? Try: braid status", c.ID)
	case err != nil:
		return fmt.Errorf("tell node %s to drain: %w", c.ID, err)
	}
	n, err := c.await(ctx, bus.NewSequencer(nc, subjects), told.Epoch)
	if err != nil {
		return err
	}
	if c.JSON {
		printJSON(p, n)
		return nil
	}
	fmt.Fprintf(p.stdout, "node %s has stopped. Starting it again brings it back; braid remove %s takes it out for good\n",
		n.ID, n.ID)
	return nil
}

// await asks the registry until the node has stopped under the epoch.
func (c *drainCmd) await(ctx context.Context, seq *bus.Sequencer, epoch uint64) (api.Node, error) {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for last := (api.Node{ID: c.ID}); ; {
		topology, err := seq.Topology(ctx)
		if n, member := topology.Node(c.ID); err == nil {
			switch {
			case !member || n.Epoch != epoch:
				return n, fmt.Errorf("node %s is not the process any more that was told to drain", c.ID)
			case n.State == api.Stopped:
				return n, nil
			case n.State == api.Dead:
				return n, fmt.Errorf("node %s was declared dead while it drained", c.ID)
			}
			last = n
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return last, fmt.Errorf("node %s is still %s (%w)", c.ID, last.State, ctx.Err())
		}
	}
}
