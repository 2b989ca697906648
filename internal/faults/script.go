//go:build unix

package faults

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/processes"
)

// Script hurts a cluster in a way that was thought of, where a plan's steps do so at random. It may wait for what must
// come of it. When it returns, every process that it took away is started again, every link is whole, and nothing is
// paused; then the judge comes.
type Script func(ctx context.Context, s *Scenario) error

// Scenario is the running cluster of a Script.
type Scenario struct {
	*processes.Cluster
	inner   *cluster
	clients *workload
}

// Play runs a plan whose faults are a script's, as Run does.
func Play(ctx context.Context, plan *Plan, opts Options, script Script) (Report, error) {
	return play(ctx, plan, opts, script)
}

// Note tells the run's story.
func (s *Scenario) Note(format string, args ...any) { s.inner.events.Add(format, args...) }

// Cut takes a service's link to NATS away, as when a cable is pulled: its connections stay open, and silent.
func (s *Scenario) Cut(service string) {
	s.Note("%s is cut off from NATS", service)
	for _, l := range s.NATSLinks(service) {
		l.Cut()
	}
}

// Mend makes the link whole.
func (s *Scenario) Mend(service string) {
	s.Note("%s is not cut off any more", service)
	for _, l := range s.NATSLinks(service) {
		l.Mend()
	}
}

// Registered is a node as the registry has it.
func (s *Scenario) Registered(ctx context.Context, id string) (n client.Node, err error) {
	return n, s.Await(ctx, id+" is looked up", func(nodes map[string]client.Node) error {
		var ok bool
		if n, ok = nodes[id]; !ok {
			return fmt.Errorf("there is no node %s", id)
		}
		return nil
	})
}

// RunToEnd runs a command that should end by itself, and returns what it printed.
func (s *Scenario) RunToEnd(cmd *exec.Cmd) (string, error) {
	return runToEnd(cmd, s.inner.opts.Patience)
}

// Await waits until the topology is as ok wants it, for as long as patience lasts.
func (s *Scenario) Await(ctx context.Context, what string, ok func(nodes map[string]client.Node) error) error {
	err := processes.Poll(ctx, s.inner.opts.Patience, func() error {
		if err := s.inner.events.Err(); err != nil {
			return nil // which is told by itself
		}
		all, err := s.clients.clients[0].Nodes(ctx)
		if err != nil {
			return err
		}
		nodes := make(map[string]client.Node, len(all))
		for _, n := range all {
			nodes[n.ID] = n
		}
		return ok(nodes)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.Note("%s", what)
	return nil
}

// Dead waits until a node is declared dead; for a primary also until a replica stands in for it.
func (s *Scenario) Dead(ctx context.Context, id string) (standIn string, err error) {
	return standIn, s.Await(ctx, id+" is dead, another stands in", func(nodes map[string]client.Node) error {
		if n := nodes[id]; n.State != "dead" {
			return fmt.Errorf("%s is %s under epoch %d", id, n.State, n.Epoch)
		}
		for _, n := range nodes {
			if n.StandsInFor == id {
				standIn = n.ID
			}
		}
		if id[0] == 'p' && standIn == "" {
			return fmt.Errorf("nobody stands in for %s", id)
		}
		return nil
	})
}

// Back waits until a node is live in its own role, and nobody stands in for it.
func (s *Scenario) Back(ctx context.Context, id string) error {
	return s.Await(ctx, id+" is back", func(nodes map[string]client.Node) error {
		if n := nodes[id]; n.State != "live" || n.StandsInFor != "" {
			return fmt.Errorf("%s is %s, standing in for %q", id, n.State, n.StandsInFor)
		}
		for _, n := range nodes {
			if n.StandsInFor == id {
				return fmt.Errorf("%s stands in for %s", n.ID, id)
			}
		}
		return nil
	})
}

// Writes waits until the cluster has acknowledged so many writes more.
func (s *Scenario) Writes(ctx context.Context, n int) error {
	before := s.clients.records.acknowledged()
	return processes.Poll(ctx, s.inner.opts.Patience, func() error {
		if now := s.clients.records.acknowledged(); now < before+n {
			return fmt.Errorf("%d writes acknowledged, wanted are %d", now-before, n)
		}
		return nil
	})
}

// acknowledged is how many writes have been so far.
func (r *recorder) acknowledged() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked
}
