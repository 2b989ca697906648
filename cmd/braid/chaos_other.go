//go:build !unix

package main

import (
	"context"
	"errors"

	"github.com/seed-551dd829/braid/loadtest"
)

func (c *loadtestCmd) startProcesses(context.Context, *process, string, string) (loadtest.Cluster, error) {
	return loadtest.Cluster{}, errors.New("--chaos needs a system with SIGSTOP and SIGCONT")
}
