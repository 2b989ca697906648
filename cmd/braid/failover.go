package main

import (
	"time"

	"github.com/seed-551dd829/braid/internal/cluster"
)

type failoverCmd struct {
	serviceFlags
	ID             string        `help:"Name in logs and metrics, and as the holder of the lease. Default: a random one."`
	FailureTimeout time.Duration `help:"How long a node may be silent before it is declared dead." default:"1500ms"`
	HTTP           string        `name:"http" help:"Address for /metrics, /healthz and /readyz; port 0 picks a free one." default:"127.0.0.1:0"`
}

// Run runs a failover instance until a signal ends it.
func (c *failoverCmd) Run(p *process) error {
	env, err := c.env(p)
	if err != nil {
		return err
	}
	return cluster.RunFailover(p.ctx, cluster.FailoverConfig{
		ID: c.ID, FailureTimeout: c.FailureTimeout, HTTP: c.HTTP,
	}, env, c.tell(p))
}
