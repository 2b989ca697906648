package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/member"
)

// GatewayConfig says how a gateway works.
type GatewayConfig struct {
	ID            string // "" makes one
	HTTP          string // where POST /write and reads are served; port 0 picks a free one
	Durability    api.Durability
	MergeInterval time.Duration // how long a small write waits for others of its table; 0: the default
}

// RunGateway runs a gateway until ctx ends or it fails. It calls ready when the gateway takes writes.
func RunGateway(ctx context.Context, cfg GatewayConfig, env Env, ready func(Ready)) error {
	if cfg.ID == "" {
		cfg.ID = "gw-" + member.RandomID()[:8]
	}
	env.Logger = env.Logger.With("gateway", cfg.ID)
	nc, err := env.connect(ctx, cfg.ID)
	if err != nil {
		return stopped(err)
	}
	defer nc.Close()
	beats, err := env.connect(ctx, cfg.ID+"-heartbeats")
	if err != nil {
		return stopped(err)
	}
	defer beats.Close()
	l, err := listen(cfg.HTTP)
	if err != nil {
		return err
	}
	transport := env.HTTP.transport()
	defer transport.CloseIdleConnections()
	seq := bus.NewSequencer(nc, env.Subjects)
	g, err := gateway.New(gateway.Config{
		ID: cfg.ID, Durability: cfg.Durability, MergeInterval: cfg.MergeInterval,
	}, gateway.Deps{
		Conn: nc, Beats: beats, Subjects: env.Subjects, Sequencer: seq, Catalog: catalog.New(seq.Schema, catalogTables),
		Logger: env.Logger, Registerer: env.registerer(cfg.ID),
		Transport: transport,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := newStack()
	s.start(ctx, "http", func(ctx context.Context) error {
		return env.serve(ctx, l, env.mux(func() error {
			if !g.Ready() {
				return fmt.Errorf("gateway %s has no live primary or is not registered yet", cfg.ID)
			}
			return nil
		}, g.Handler()))
	})
	s.start(ctx, "gateway", g.Run)
	if err = awaitReady(ctx, s, g.Ready); err == nil {
		ready(Ready{Service: "gateway", ID: cfg.ID, HTTP: env.HTTP.at(l.Addr().String())})
		err = s.wait(ctx)
	}
	// The gateway ends first: requests over HTTP may still be waiting for its answers.
	return errors.Join(stopped(err), s.stop())
}

// readyPoll is how often a service that tells nobody when it is ready is asked.
const readyPoll = 5 * time.Millisecond

func awaitReady(ctx context.Context, s *stack, ready func() bool) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errStopped
		case p := <-s.ended:
			return p.failure()
		}
	}
	return nil
}
