package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// workMax bounds the heartbeats, topologies and outcomes that wait for the loop. A heartbeat past it is dropped and
// counted: another follows.
const workMax = 4096

// errBusy is the reason of a heartbeat that is dropped.
var errBusy = errors.New("the loop of this instance does not keep up")

// Service is the shell of one instance: one loop, to which everything is posted.
//
//	braid.heartbeat.*, braid.topology ──▶ loop ──▶ core ──▶ requests, each on a goroutine ──▶ loop
//	timer, 50 ms ────────────────────────▲
type Service struct {
	deps    Deps
	machine *Machine
	work    chan func()
	ready   atomic.Bool
}

// New checks its arguments and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if deps.Conn == nil || deps.Logger == nil {
		return nil, errors.New("failover: connection and logger must be given")
	}
	s := &Service{deps: deps, work: make(chan func(), workMax)}
	m, err := NewMachine(cfg, Host{})
	if err != nil {
		return nil, err
	}
	s.machine = m
	m.metrics, err = newMetrics(deps.Registerer)
	return s, err
}

// Ready says whether this instance judges: it has heard the sequencer.
func (s *Service) Ready() bool { return s.ready.Load() }

// Run watches, and acts while it holds the lease, until ctx ends. Run is called once.
func (s *Service) Run(ctx context.Context) error {
	id := s.machine.core.cfg.ID
	var requests sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer requests.Wait()
	defer cancel()
	s.machine.host = s.host(ctx, &requests)
	service, err := bus.NewService(s.deps.Conn, bus.ServiceOptions{
		Name: "braid-failover", Version: api.Version, Logger: s.deps.Logger, Registerer: s.deps.Registerer,
		Description: "failover " + id + ": declares nodes dead, puts stand-ins in their place",
		Inboxes:     s.deps.Subjects.Inboxes,
	})
	if err != nil {
		return fmt.Errorf("failover %s: %w", id, err)
	}
	stop, err := s.follow()
	if err == nil {
		s.loop(ctx)
		err = stop()
	}
	if err = errors.Join(err, service.Stop()); err != nil {
		return fmt.Errorf("failover %s: %w", id, err)
	}
	return nil
}

func (s *Service) host(ctx context.Context, requests *sync.WaitGroup) Host {
	started := time.Now()
	return Host{
		Now:       func() time.Duration { return time.Since(started) },
		Link:      s.link,
		Sequencer: bus.NewSequencer(s.deps.Conn, s.deps.Subjects),
		Logger:    s.deps.Logger,
		Publish:   s.publish,
		Go:        func(f func(context.Context)) { requests.Go(func() { f(ctx) }) },
		Post: func(f func()) {
			select {
			case s.work <- f:
			case <-ctx.Done():
			}
		},
		Ask: func(ctx context.Context, id string) (api.NodeInfo, error) {
			return bus.Ask[api.NodeInfo](ctx, s.deps.Conn, s.deps.Subjects.NodeInfo(id), struct{}{})
		},
	}
}

func (s *Service) link() int {
	if !s.deps.Conn.IsConnected() {
		return -1
	}
	return int(s.deps.Conn.Stats().Reconnects)
}

func (s *Service) loop(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.work:
			f()
		case <-ticker.C:
			s.machine.Tick()
		}
		s.ready.Store(s.machine.Ready())
	}
}

// follow listens to heartbeats and topologies until stop.
func (s *Service) follow() (stop func() error, err error) {
	f, err := bus.NewFollower(s.deps.Conn, s.deps.Logger, s.deps.Registerer)
	if err != nil {
		return nil, err
	}
	stopBeats, err := f.Follow(s.deps.Subjects.Heartbeat("*"), bus.JSON(func(b api.Heartbeat) error {
		return s.take(func() { s.machine.Heard(b) })
	}))
	if err != nil {
		return nil, err
	}
	stopTopologies, err := f.Follow(s.deps.Subjects.Topology(), bus.JSON(func(t api.Topology) error {
		return s.take(func() { s.machine.SetTopology(t) })
	}))
	if err != nil {
		return nil, errors.Join(err, stopBeats())
	}
	return func() error { return errors.Join(stopBeats(), stopTopologies()) }, nil
}

// take hands something to the loop, without waiting for it.
func (s *Service) take(f func()) error {
	select {
	case s.work <- f:
		return nil
	default:
		return errBusy
	}
}

func (s *Service) publish(t api.Topology) {
	data, err := json.Marshal(t)
	if err == nil {
		err = s.deps.Conn.Publish(s.deps.Subjects.Topology(), data)
	}
	if err != nil {
		s.deps.Logger.Warn("topology not published", "version", t.Version, "error", err)
	}
}
