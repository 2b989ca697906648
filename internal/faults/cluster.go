//go:build unix

package faults

import (
	"errors"
	"os/exec"
	"time"

	"github.com/seed-551dd829/braid/internal/processes"
)

// Options say how to run a plan.
type Options struct {
	// Dir gets everything: data, logs, the story of the run.
	Dir string
	// Braid makes a command of the program under test, which ends when its stdin does.
	Braid func(args ...string) *exec.Cmd
	// S3 is the program versitygw, for plans with an S3 server.
	S3 string
	// Patience bounds every wait for something that must happen. Machines differ: it is never the thing measured.
	Patience time.Duration
}

// cluster is the processes of a plan.
type cluster struct {
	*processes.Cluster
	plan    *Plan
	opts    Options
	events  *processes.Story
	mounted string // where the small disk is, "" for nowhere
}

func newCluster(plan *Plan, opts Options, ev *processes.Story) (*cluster, error) {
	cfg := processes.Config{
		Dir: opts.Dir, Braid: opts.Braid, Story: ev, Patience: opts.Patience,
		NATS: plan.NATS, Primaries: plan.primaries(), Replicas: plan.replicas(), Gateways: plan.Gates,
		Failovers: plan.Failovers, GatewayFlags: []string{"--durability", plan.Durability}, Links: true,
	}
	if plan.S3 {
		cfg.S3 = opts.S3
	}
	inner, err := processes.New(cfg)
	if err != nil {
		return nil, err
	}
	c := &cluster{Cluster: inner, plan: plan, opts: opts, events: ev}
	if plan.SmallDisk != "" {
		if err := c.mount(c.Folder(plan.SmallDisk)); err != nil {
			return nil, errors.Join(err, inner.Close())
		}
	}
	return c, nil
}

// close kills what runs, and frees the small disk.
func (c *cluster) close() error { return errors.Join(c.Close(), c.unmount()) }
