package member

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// attemptTimeout bounds one request to the sequencer; it is sent again after retryPause.
const (
	attemptTimeout = 5 * time.Second
	retryPause     = 200 * time.Millisecond
)

// Sequencer is what a member asks of the sequencer.
type Sequencer interface {
	RegisterNode(context.Context, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error)
	SetNodeState(context.Context, api.NodeStateRequest) (api.NodeStateAnswer, error)
}

var _ Sequencer = (*bus.Sequencer)(nil)

// Registry is how a node speaks with the registry: it asks until the sequencer answers or a context ends.
type Registry struct {
	cfg Config
	seq Sequencer
	log *slog.Logger
}

// NewRegistry is for the node that cfg names.
func NewRegistry(cfg Config, seq Sequencer, log *slog.Logger) *Registry {
	return &Registry{cfg: cfg, seq: seq, log: log}
}

// Register gets a new epoch for this process, which fences the node's earlier ones. A refusal (another data folder owns
// the id; another process has registered since the epoch that this one replaces) is final.
func (r *Registry) Register(ctx context.Context, replaces uint64) (api.RegisterNodeAnswer, error) {
	request := api.RegisterNodeRequest{
		ID: r.cfg.ID, Role: r.cfg.Role, Mark: r.cfg.Mark, HTTP: r.cfg.HTTP, Attempt: RandomID(),
		Replaces: replaces,
	}
	var answer api.RegisterNodeAnswer
	err := persist(ctx, r.log, "register", func(ctx context.Context) (err error) {
		answer, err = r.seq.RegisterNode(ctx, request)
		return err
	})
	if err != nil {
		return answer, fmt.Errorf("register node %s: %w", r.cfg.ID, err)
	}
	return answer, nil
}

// SetState changes the node's state, by a transaction conditional on the epoch, and returns the topology after it.
func (r *Registry) SetState(ctx context.Context, epoch uint64, s api.State) (api.Topology, error) {
	var answer api.NodeStateAnswer
	err := persist(ctx, r.log, "set state "+string(s), func(ctx context.Context) (err error) {
		answer, err = r.seq.SetNodeState(ctx, api.NodeStateRequest{ID: r.cfg.ID, Epoch: epoch, State: s})
		return err
	})
	if err != nil {
		return answer.Topology, fmt.Errorf("node %s: set state %s: %w", r.cfg.ID, s, err)
	}
	return answer.Topology, nil
}

// persist asks until there is an answer. Only a refusal and the end of ctx stop it: no answer, and a sequencer that
// is not there yet, pass.
func persist(ctx context.Context, log *slog.Logger, what string, ask func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		one, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := ask(one)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w (last error: %w)", ctx.Err(), err)
		case Refused(err):
			return err
		}
		if attempt%25 == 0 {
			log.Info("waiting for the sequencer", "request", what, "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last error: %w)", ctx.Err(), err)
		case <-time.After(retryPause):
		}
	}
}

// Refused says that the registry has understood a node's request and will not do it: asking again changes nothing.
func Refused(err error) bool {
	for _, name := range []api.Name{api.Invalid, api.Forbidden, api.Unauthorized, api.Fenced, api.NotFound} {
		if api.IsName(err, name) {
			return true
		}
	}
	return false
}
