// Package member is a node's membership: its data folder, its registration, its heartbeats and its answers to `info`.
// What a node does as primary or replica is told to it as functions; it decides nothing.
package member

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// HeartbeatInterval is how often a node says that it lives.
const HeartbeatInterval = 200 * time.Millisecond

// attemptTimeout bounds one request to the sequencer; it is sent again after retryPause.
const (
	attemptTimeout = 5 * time.Second
	retryPause     = 200 * time.Millisecond
)

// Config says who the node is.
type Config struct {
	ID   string
	Role api.Role
	HTTP string // host:port where it serves reads, as others reach it
	Mark string // of its data folder
}

// Sequencer is what a member asks of the sequencer.
type Sequencer interface {
	RegisterNode(context.Context, api.RegisterNodeRequest) (api.RegisterNodeAnswer, error)
	SetNodeState(context.Context, api.NodeStateRequest) (api.NodeStateAnswer, error)
}

// Load is what a heartbeat tells of a primary's work; zero for a replica.
type Load struct {
	Fraction  float64 // admitted and unanswered bytes over their bound
	FreeBytes int64
	Senders   int
}

// Member is a registered node.
type Member struct {
	cfg   Config
	seq   Sequencer
	log   *slog.Logger
	epoch uint64

	topology api.Topology // as registering found it

	mu    sync.Mutex
	state api.State
	load  func() Load
	lag   func() uint64
	stand func() api.Standing
}

// Register starts the node's process in the cluster: a new epoch, and its earlier ones are fenced. It asks until the
// sequencer answers or ctx ends. A refusal (another data folder owns the id) is final.
func Register(ctx context.Context, cfg Config, seq Sequencer, log *slog.Logger) (*Member, error) {
	request := api.RegisterNodeRequest{
		ID: cfg.ID, Role: cfg.Role, Mark: cfg.Mark, HTTP: cfg.HTTP, Attempt: RandomID(),
	}
	var answer api.RegisterNodeAnswer
	err := persist(ctx, log, "register", func(ctx context.Context) (err error) {
		answer, err = seq.RegisterNode(ctx, request)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register node %s: %w", cfg.ID, err)
	}
	return &Member{
		cfg: cfg, seq: seq, log: log, epoch: answer.Epoch, topology: answer.Topology,
		state: api.Recovering,
		load:  func() Load { return Load{} }, lag: func() uint64 { return 0 },
		stand: func() api.Standing { return api.Standing{} },
	}, nil
}

// Epoch is the epoch of this process.
func (m *Member) Epoch() uint64 { return m.epoch }

// Topology is the topology as registering found it.
func (m *Member) Topology() api.Topology { return m.topology }

// Report tells the member where to look for what a heartbeat says. Nil leaves a source as it is.
func (m *Member) Report(load func() Load, lag func() uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if load != nil {
		m.load = load
	}
	if lag != nil {
		m.lag = lag
	}
}

// ReportStanding tells the member where to look for the tables that stand. The function must not wait for a disk.
func (m *Member) ReportStanding(stand func() api.Standing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stand = stand
}

// State is the node's state as this process knows it.
func (m *Member) State() api.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Announce changes the state in heartbeats alone. Draining is announced before it is written, so that gateways turn
// away while the node still takes what is on its way.
func (m *Member) Announce(s api.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

// SetState changes the state in the registry, by a transaction conditional on this process's epoch, and then in
// heartbeats. It asks until the sequencer answers or ctx ends.
func (m *Member) SetState(ctx context.Context, s api.State) error {
	err := persist(ctx, m.log, "set state "+string(s), func(ctx context.Context) error {
		_, err := m.seq.SetNodeState(ctx, api.NodeStateRequest{ID: m.cfg.ID, Epoch: m.epoch, State: s})
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s: set state %s: %w", m.cfg.ID, s, err)
	}
	m.Announce(s)
	return nil
}

// Heartbeat is what the node says of itself now.
func (m *Member) Heartbeat() api.Heartbeat {
	m.mu.Lock()
	defer m.mu.Unlock()
	load := m.load()
	return api.Heartbeat{
		ID: m.cfg.ID, Role: m.cfg.Role, State: m.state, Epoch: m.epoch, HTTP: m.cfg.HTTP,
		Load: load.Fraction, FreeBytes: load.FreeBytes, Senders: load.Senders, Lag: m.lag(),
		Standing: m.stand(),
	}
}

// Beat sends heartbeats on nc until ctx ends. nc carries nothing else, so that no load delays them.
func (m *Member) Beat(ctx context.Context, nc *nats.Conn, subjects api.Subjects) error {
	ticker := time.NewTicker(HeartbeatInterval)
	defer ticker.Stop()
	for {
		data, err := json.Marshal(m.Heartbeat())
		if err != nil {
			return err
		}
		// A beat that cannot be sent is a beat that is missed, which is what heartbeats are for.
		if err := nc.Publish(subjects.Heartbeat(m.cfg.ID), data); err != nil {
			m.log.Warn("heartbeat not sent", "error", err)
		} else if err := nc.FlushTimeout(HeartbeatInterval); err != nil {
			m.log.Debug("heartbeat not flushed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Info answers `info` about this node; applied is the log index that it has applied, by shard.
func (m *Member) Info(version string, applied map[string]uint64) api.NodeInfo {
	b := m.Heartbeat()
	return api.NodeInfo{
		Node: api.Node{ID: b.ID, Role: b.Role, State: b.State, Epoch: b.Epoch, HTTP: b.HTTP},
		Lag:  b.Lag, Load: b.Load, Applied: applied, Version: version, Standing: b.Standing,
	}
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
		case refused(err):
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

func refused(err error) bool {
	for _, name := range []api.Name{api.Invalid, api.Forbidden, api.Unauthorized, api.Fenced, api.NotFound} {
		if api.IsName(err, name) {
			return true
		}
	}
	return false
}

var _ Sequencer = (*bus.Sequencer)(nil)
