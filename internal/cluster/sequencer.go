package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
)

// SequencerConfig says how a sequencer works.
type SequencerConfig struct {
	ID    string // "" makes one
	Store string // embedded:DIR, or fdb:CLUSTER_FILE
	HTTP  string // where /metrics, /healthz and /readyz are served; "" nowhere
	// KeyWindow and ProducerIdle are as in sequencer.Config; 0 is the default.
	KeyWindow, ProducerIdle time.Duration
}

// OpenStore opens the store that spec names. The caller closes it.
func OpenStore(spec string) (kv.Store, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch {
	case kind == "embedded" && rest != "":
		return bbolt.Open(rest)
	case kind == "fdb" && rest != "":
		return openFDB(rest)
	}
	return nil, fmt.Errorf("store %q is not understood: use embedded:DIR or fdb:CLUSTER_FILE", spec)
}

// RunSequencer opens its store and runs a sequencer on it until ctx ends or it fails.
func RunSequencer(ctx context.Context, cfg SequencerConfig, env Env, ready func(Ready)) (err error) {
	store, err := OpenStore(cfg.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return runSequencer(ctx, cfg, store, env, ready)
}

func runSequencer(
	ctx context.Context, cfg SequencerConfig, store kv.Store, env Env, ready func(Ready),
) error {
	if cfg.ID == "" {
		cfg.ID = "seq-" + member.RandomID()[:8]
	}
	env.Logger = env.Logger.With("sequencer", cfg.ID)
	nc, err := env.connect(ctx, cfg.ID)
	if err != nil {
		return stopped(err)
	}
	defer nc.Close()
	q, err := sequencer.New(sequencer.Config{ID: cfg.ID, KeyWindow: cfg.KeyWindow, ProducerIdle: cfg.ProducerIdle}, sequencer.Deps{
		Conn: nc, Subjects: env.Subjects, Store: store, Logger: env.Logger, Registerer: env.registerer(cfg.ID),
	})
	if err != nil {
		return err
	}
	return env.runPlain(ctx, plain{
		name: "sequencer", id: cfg.ID, http: cfg.HTTP, run: q.Run, notYet: "is starting",
		isReady: func() bool {
			select {
			case <-q.Ready():
				return true
			default:
				return false
			}
		},
	}, ready)
}
