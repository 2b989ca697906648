package cluster

import (
	"context"
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
	nc, err := env.connect(ctx, cfg.ID)
	if err != nil {
		return stopped(err)
	}
	defer nc.Close()
	f, err := failover.New(failover.Config{ID: cfg.ID, FailureTimeout: cfg.FailureTimeout}, failover.Deps{
		Conn: nc, Subjects: env.Subjects, Logger: env.Logger, Registerer: env.registerer(cfg.ID),
	})
	if err != nil {
		return err
	}
	return env.runPlain(ctx, plain{
		name: "failover", id: cfg.ID, http: cfg.HTTP, run: f.Run, notYet: "has not heard the sequencer",
		isReady: f.Ready,
	}, ready)
}
