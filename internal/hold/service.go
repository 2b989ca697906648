package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// Service is a node's holder on NATS.
type Service struct {
	keeper   *Keeper
	nc       *nats.Conn
	subjects api.Subjects

	running sync.WaitGroup
	mu      sync.Mutex                      // guards begin against requests that come while Run ends
	begin   func(func(ctx context.Context)) // starts a goroutine; nil unless Run runs
}

// tickEvery is how exactly times are kept.
const tickEvery = 200 * time.Millisecond

// New reads what is held on the disk, and starts nothing. nc stays the caller's.
func New(cfg Config, deps Deps, nc *nats.Conn, subjects api.Subjects) (*Service, error) {
	s := &Service{nc: nc, subjects: subjects}
	started := time.Now()
	var err error
	s.keeper, err = NewKeeper(cfg, deps, func() time.Duration { return time.Since(started) }, s.spawn)
	return s, err
}

// spawn runs f on a goroutine, unless Run has ended or not begun.
func (s *Service) spawn(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin != nil {
		s.begin(f)
	}
}

func (s *Service) setBegin(begin func(func(context.Context))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin = begin
}

// Run holds segments until ctx ends. It must begin before the node is live: until then nobody can name it as a holder.
func (s *Service) Run(ctx context.Context) error {
	k := s.keeper
	work, cancel := context.WithCancel(ctx)
	s.setBegin(func(f func(context.Context)) { s.running.Go(func() { f(work) }) })
	defer func() {
		s.setBegin(nil)
		cancel()
		s.running.Wait()
	}()
	b, err := bus.NewService(s.nc, bus.ServiceOptions{
		Name: "braid-holder", Version: api.Version, Logger: k.log, Registerer: k.deps.Registerer,
		Description: "holder " + k.cfg.ID + ": keeps segments of other nodes until they are in the object store",
		Inboxes:     s.subjects.Inboxes,
	})
	if err != nil {
		return fmt.Errorf("holder %s: %w", k.cfg.ID, err)
	}
	err = b.Handle("hold", s.subjects.NodeHold(k.cfg.ID), bus.Endpoint{PendingBytes: 2 * piecesMax * api.HoldPieceBytes},
		func(in bus.Incoming) { k.Take(in.Data(), in) })
	if err == nil {
		err = s.loop(ctx)
	}
	return errors.Join(err, b.Stop())
}

func (s *Service) loop(ctx context.Context) error {
	f, err := bus.NewFollower(s.nc, s.keeper.log, nil)
	if err != nil {
		return err
	}
	stop, err := f.Follow(s.subjects.Topology(), bus.JSON(func(t api.Topology) error {
		s.keeper.Topology(&t)
		return nil
	}))
	if err != nil {
		return fmt.Errorf("holder %s: %w", s.keeper.cfg.ID, err)
	}
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		s.keeper.Tick()
		select {
		case <-ctx.Done():
			return stop()
		case <-ticker.C:
		}
	}
}
