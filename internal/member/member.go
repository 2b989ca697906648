// Package member is a node's membership: its data folder, what its process does from registration to end (Life), how
// it speaks with the registry, its heartbeats, and its answers to `info`. What a node does as primary or replica is told
// to it as functions.
package member

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// HeartbeatInterval is how often a node says that it lives.
const HeartbeatInterval = 200 * time.Millisecond

// Config says who the node is.
type Config struct {
	ID   string
	Role api.Role // that it registers with
	HTTP string   // host:port where it serves reads, as others reach it
	Mark string   // of its data folder
}

// Load is what a heartbeat tells of a primary's work; zero for a replica.
type Load struct {
	Fraction  float64 // admitted and unanswered bytes over their bound
	FreeBytes int64
	Senders   int
	Unable    string // as in api.Heartbeat
}

// Member is what a node tells others of itself.
type Member struct {
	cfg Config
	log *slog.Logger
	now chan struct{} // there is something new to tell

	mu       sync.Mutex
	self     Self
	speaking bool // there is an epoch to speak of
	load     func() Load
	lag      func() uint64
	applied  func() []uint64
	stand    func() api.Standing
}

// New returns a member that has nothing to tell yet.
func New(cfg Config, log *slog.Logger) *Member {
	return &Member{cfg: cfg, log: log, now: make(chan struct{}, 1),
		load: func() Load { return Load{} }, lag: func() uint64 { return 0 },
		applied: func() []uint64 { return nil },
		stand:   func() api.Standing { return api.Standing{} },
	}
}

// Tell has heartbeats say from now on what the node is, and sends one at once if that is new. With speaking false there
// are none.
func (m *Member) Tell(s Self, speaking bool) {
	m.mu.Lock()
	changed := m.self != s || m.speaking != speaking
	m.self, m.speaking = s, speaking
	m.mu.Unlock()
	if changed {
		select {
		case m.now <- struct{}{}:
		default:
		}
	}
}

// Self is what the node says of itself.
func (m *Member) Self() Self {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// ReportLoad tells the member where to look for a primary's load; nil: it has none.
func (m *Member) ReportLoad(load func() Load) {
	if load == nil {
		load = func() Load { return Load{} }
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load = load
}

// ReportProgress tells the member where to look for the lag, for the log index that was applied by shard, and for the
// tables that stand. lag and stand must not wait for a disk.
func (m *Member) ReportProgress(lag func() uint64, applied func() []uint64, stand func() api.Standing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lag, m.applied, m.stand = lag, applied, stand
}

// Heartbeat is what the node says of itself now. ok is false while it has nothing to say.
func (m *Member) Heartbeat() (h api.Heartbeat, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	load := m.load()
	return api.Heartbeat{
		ID: m.cfg.ID, Role: m.self.Role, State: m.self.State, Epoch: m.self.Epoch, HTTP: m.cfg.HTTP,
		Load: load.Fraction, FreeBytes: load.FreeBytes, Senders: load.Senders, Lag: m.lag(),
		Standing: m.stand(), Unable: load.Unable,
	}, m.speaking
}

// Beat sends heartbeats on nc until ctx ends: regularly, and as soon as there is something new. nc carries nothing else,
// so that no load delays them.
func (m *Member) Beat(ctx context.Context, nc *nats.Conn, subjects api.Subjects) error {
	ticker := time.NewTicker(HeartbeatInterval)
	defer ticker.Stop()
	unable := ""
	for {
		if h, ok := m.Heartbeat(); ok {
			m.note(&unable, h.Unable)
			if err := m.beat(nc, subjects, h); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.now:
		case <-ticker.C:
		}
	}
}

// note logs that a primary cannot take writes, and why, and that it can again: nobody else says so of one that is not
// heard.
func (m *Member) note(before *string, now string) {
	switch {
	case now != "" && *before == "":
		m.log.Warn("cannot take writes", "reason", now)
	case now == "" && *before != "":
		m.log.Info("can take writes again")
	}
	*before = now
}

func (m *Member) beat(nc *nats.Conn, subjects api.Subjects, h api.Heartbeat) error {
	if !nc.IsConnected() {
		return nil // what the client kept would be told too late
	}
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	// A beat that cannot be sent is a beat that is missed, which is what heartbeats are for.
	if err := nc.Publish(subjects.Heartbeat(m.cfg.ID), data); err != nil {
		m.log.Warn("heartbeat not sent", "error", err)
	} else if err := nc.FlushTimeout(HeartbeatInterval); err != nil {
		m.log.Debug("heartbeat not flushed", "error", err)
	}
	return nil
}

// Info answers `info` about this node; version is the program's.
func (m *Member) Info(version string) api.NodeInfo {
	b, _ := m.Heartbeat()
	m.mu.Lock()
	read := m.applied
	m.mu.Unlock()
	applied := make(map[string]uint64)
	for shard, index := range read() {
		applied[strconv.Itoa(shard)] = index
	}
	return api.NodeInfo{
		Node: api.Node{ID: b.ID, Role: b.Role, State: b.State, Epoch: b.Epoch, HTTP: b.HTTP},
		Lag:  b.Lag, Load: b.Load, Applied: applied, Version: version, Standing: b.Standing,
		Unable: b.Unable,
	}
}
