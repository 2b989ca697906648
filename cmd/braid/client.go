package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/client"
)

// askTimeout bounds what a command waits for the cluster to answer one question.
const askTimeout = 10 * time.Second

// client connects as an application does.
func (f *natsFlags) client(ctx context.Context, p *process) (*client.Client, error) {
	trust, err := f.trust()
	if err != nil {
		return nil, err
	}
	c, err := client.Connect(ctx, f.Server, client.WithName("braid"), client.WithNamespace(f.Namespace),
		client.WithNATSOptions(f.options()...), client.WithTLS(trust), client.WithHTTPToken(f.HTTPToken),
		client.WithLogger(p.log))
	if err != nil {
		return nil, fmt.Errorf("%w\nIs a cluster running? `braid up` starts one; --server says where it is", err)
	}
	return c, nil
}

// closing closes c and keeps the first error.
func closing(c *client.Client, err *error) {
	if e := c.Close(); *err == nil {
		*err = e
	}
}
