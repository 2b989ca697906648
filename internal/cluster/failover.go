package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/failover"
	"github.com/seed-551dd829/braid/internal/member"
)

// FailoverConfig says how a failover instance works.
type FailoverConfig struct {
	ID             string        // "" makes one
	FailureTimeout time.Duration // how long a node may be silent; 0: 1.5 s
	HTTP           string        // where /metrics, /healthz and /readyz are served; "" nowhere
}

// RunFailover runs a failover instance until ctx ends or it fails. It calls ready when the instance judges.
func RunFailover(ctx context.Context, cfg FailoverConfig, env Env, ready func(Ready)) error {
	if cfg.ID == "" {
		cfg.ID = "fo-" + member.RandomID()[:8]
	}
	env.Logger = env.Logger.With("failover", cfg.ID)
	nc, err := env.Connect(cfg.ID)
	if err != nil {
		return err
	}
	defer nc.Close()
	f, err := failover.New(failover.Config{ID: cfg.ID, FailureTimeout: cfg.FailureTimeout}, failover.Deps{
		Conn: nc, Subjects: env.Subjects, Logger: env.Logger, Registerer: env.registerer(cfg.ID),
	})
	if err != nil {
		return err
	}
	s := newStack()
	s.start(ctx, "failover", f.Run)
	told := Ready{Service: "failover", ID: cfg.ID}
	if cfg.HTTP != "" {
		l, err := listen(cfg.HTTP)
		if err != nil {
			return errors.Join(err, s.stop())
		}
		told.HTTP = l.Addr().String()
		s.start(ctx, "http", func(ctx context.Context) error {
			return env.serve(ctx, l, env.mux(func() error {
				if !f.Ready() {
					return fmt.Errorf("failover %s has not heard the sequencer", cfg.ID)
				}
				return nil
			}, nil))
		})
	}
	if err = awaitReady(ctx, s, f.Ready); err == nil {
		ready(told)
		err = s.wait(ctx)
	}
	return errors.Join(err, s.stop())
}
