package sequencer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/lease"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// queueGroup is shared by all instances: each request reaches one of them.
const queueGroup = "sequencer"

const (
	retryFirst  = 5 * time.Millisecond
	retryMax    = 200 * time.Millisecond
	readers     = 4    // reads that run at once
	readsMax    = 4096 // that wait
	updatesMax  = 8192 // registrations and schemas that wait
	gatherCount = 1024 // of them in one transaction
	writeCost   = 100  // bytes that a write adds to a transaction, about
	sweepLimit  = 500  // cleared in one transaction
	sweepRounds = 20   // transactions after one tick
)

// Service is the shell of one sequencer instance:
//
//	commit.<shard>, where preferred ──▶ lane per shard ──▶ one transaction ──▶ answers, hint on commits.<shard>
//	registry, schemas ──▶ update lane ──▶ one transaction ──▶ answers, braid.topology
//	log, tables, topology, segment ──▶ read lane ──▶ a View each
//	timer ──▶ lease, tick, sweep
type Service struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	ready   chan struct{}

	core    Core
	commits []*lane[*commitJob] // by shard; these three are made by Run before anything arrives
	updates *lane[*updateJob]
	reads   *lane[*readJob]
	lanesMu sync.Mutex // guards the three against the queue depth's metric
	tails   []tail     // by shard
	fatal   chan error

	started  time.Time
	answered atomic.Int64 // when the store answered a tick last, as since
}

// New checks its arguments and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if deps.Conn == nil || deps.Store == nil || deps.Logger == nil {
		return nil, errors.New("sequencer: connection, store and logger must be given")
	}
	s := &Service{cfg: cfg, deps: deps, ready: make(chan struct{}), fatal: make(chan error, 1), started: time.Now()}
	var err error
	s.metrics, err = newMetrics(deps.Registerer, s.depth, s.available)
	return s, err
}

// Ready is closed once requests are answered.
func (s *Service) Ready() <-chan struct{} { return s.ready }

func (s *Service) depth() (n float64) {
	s.lanesMu.Lock()
	defer s.lanesMu.Unlock()
	for _, l := range s.commits {
		n += float64(l.depth())
	}
	if s.updates != nil {
		n += float64(s.updates.depth())
	}
	return n
}

// Run opens the store's cluster and serves until ctx ends; then it takes no more requests, and finishes those that
// wait, for at most DrainFor. It fails if the store has another layout, or fails itself. Run is called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("sequencer %s: %w", s.cfg.ID, err)
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var lanes sync.WaitGroup
	s.tails = make([]tail, s.core.Shards)
	s.startLanes(work, &lanes)
	service, err := s.listen()
	if err == nil {
		err = s.serve(ctx, service)
	}
	if service != nil {
		err = errors.Join(err, service.Stop())
	}
	drain := time.AfterFunc(s.cfg.DrainFor, stopWork)
	defer drain.Stop()
	s.closeLanes()
	lanes.Wait()
	if err != nil {
		return fmt.Errorf("sequencer %s: %w", s.cfg.ID, err)
	}
	return nil
}

// serve answers until ctx ends or the store has failed.
func (s *Service) serve(ctx context.Context, service *bus.Service) error {
	s.answered.Store(int64(s.since())) // by open
	v, err := s.startServing(service)
	if err != nil {
		return err
	}
	if err := s.deps.Conn.FlushTimeout(s.cfg.Patience); err != nil {
		return errors.Join(err, v.stop())
	}
	loops, ctx := errgroup.WithContext(ctx)
	loops.Go(func() error { return v.run(ctx) })
	loops.Go(func() error { return s.tickLoop(ctx) })
	close(s.ready)
	s.deps.Logger.Info("sequencer is ready", "shards", s.core.Shards)
	return loops.Wait()
}

// since is this instance's time.
func (s *Service) since() time.Duration { return time.Since(s.started) }

// well says whether the store has answered lately.
func (s *Service) well() bool {
	return s.since()-time.Duration(s.answered.Load()) < 3*s.cfg.TickInterval
}

// available is well as a metric: 0 until this instance serves, too.
func (s *Service) available() float64 {
	select {
	case <-s.ready:
	default:
		return 0
	}
	if !s.well() {
		return 0
	}
	return 1
}

// open reads or creates the cluster, trying again while the store is away.
func (s *Service) open(ctx context.Context) error {
	id := s.cfg.Cluster
	if id == "" {
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return err
		}
		id = hex.EncodeToString(random[:])
	}
	shards := s.cfg.Shards
	if shards == 0 {
		shards = s.deps.Store.Shards()
	}
	var cluster Cluster
	err := s.retry(ctx, func() error {
		return s.deps.Store.Update(ctx, func(t kv.Txn) (err error) {
			cluster, err = Open(t, id, shards)
			return err
		})
	})
	ticks := func(d time.Duration) uint64 { return uint64(d / s.cfg.TickInterval) }
	s.core = Core{Shards: cluster.Shards, KeyWindow: ticks(s.cfg.KeyWindow), ProducerIdle: ticks(s.cfg.ProducerIdle),
		Numbers: NewNumbers()}
	return err
}

// again says whether a transaction that failed so is worth another try.
func again(err error) bool {
	return !errors.Is(err, kv.ErrFailed) && (errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrUnavailable))
}

// retry calls f until it has an answer or ctx ends.
func (s *Service) retry(ctx context.Context, f func() error) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMax) {
		err := f()
		if err == nil || !again(err) {
			return err
		}
		if errors.Is(err, kv.ErrUnknown) {
			s.metrics.unknown.Inc()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// failed ends Run if the store is lost.
func (s *Service) failed(err error) {
	if errors.Is(err, kv.ErrFailed) {
		select {
		case s.fatal <- err:
		default:
		}
	}
}

func (s *Service) startLanes(ctx context.Context, wg *sync.WaitGroup) {
	s.lanesMu.Lock()
	defer s.lanesMu.Unlock()
	for shard := range s.core.Shards {
		l := newLane(queue[*commitJob]{itemsMax: s.cfg.QueueRequestsMax, costMax: s.cfg.QueueBytesMax},
			gatherCount, s.cfg.GatherBytesMax,
			func(ctx context.Context, jobs []*commitJob) { s.commit(ctx, shard, jobs) })
		s.commits = append(s.commits, l)
		wg.Go(func() { l.run(ctx) })
	}
	s.updates = newLane(queue[*updateJob]{itemsMax: updatesMax, costMax: s.cfg.QueueBytesMax},
		gatherCount, s.cfg.GatherBytesMax, s.update)
	wg.Go(func() { s.updates.run(ctx) })
	s.reads = newLane(queue[*readJob]{itemsMax: readsMax, costMax: s.cfg.QueueBytesMax}, 1, 0, s.read)
	for range readers {
		wg.Go(func() { s.reads.run(ctx) })
	}
}

func (s *Service) closeLanes() {
	for _, l := range s.commits {
		l.close()
	}
	s.updates.close()
	s.reads.close()
}

// publish sends what nobody answers, and what is only a hint.
func (s *Service) publish(subject string, data []byte) {
	if err := s.deps.Conn.Publish(subject, data); err != nil {
		s.deps.Logger.Warn("not published", "subject", subject, "error", err)
	}
}

func (s *Service) publishHead(shard int, head uint64) {
	s.publish(s.deps.Subjects.Commits(shard), strconv.AppendUint(nil, head, 10))
}

func (s *Service) publishTopology(topology *api.Topology) {
	data, err := json.Marshal(topology)
	if err != nil {
		s.deps.Logger.Error("topology not published", "error", err)
		return
	}
	s.publish(s.deps.Subjects.Topology(), data)
}

// tickLoop bumps the tick counter while this instance holds its lease, and clears what has expired. It ends with ctx,
// or with the error of a store that has failed.
func (s *Service) tickLoop(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.TickInterval)
	defer ticker.Stop()
	mine := lease.Lease{Self: s.cfg.ID, TTL: s.cfg.LeaseTTL}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.fatal:
			return err
		case <-ticker.C:
		}
		if err := s.tick(ctx, &mine); err != nil && ctx.Err() == nil {
			s.deps.Logger.Warn("no tick", "error", err)
			s.failed(err)
		}
	}
}

func (s *Service) tick(ctx context.Context, mine *lease.Lease) error {
	var seen api.Lease
	err := s.deps.Store.View(ctx, func(r kv.Reader) (err error) {
		seen, err = getLease(r, api.TicksLease)
		return err
	})
	if err != nil {
		return err
	}
	now := s.since()
	if s.answered.Store(int64(now)); !mine.May(now, seen) {
		return nil
	}
	ticked := false
	err = s.deps.Store.Update(ctx, func(t kv.Txn) (err error) {
		ticked, _, err = Tick(t, s.cfg.ID, seen)
		return err
	})
	if err != nil {
		return err
	}
	if !ticked {
		s.metrics.pending.Set(0) // whoever ticks counts them
		s.metrics.pendingAge.Set(0)
		return nil
	}
	if err := s.countPending(ctx); err != nil {
		return err
	}
	for range sweepRounds {
		n := 0
		err := s.deps.Store.Update(ctx, func(t kv.Txn) (err error) {
			n, err = s.core.Sweep(t, sweepLimit)
			return err
		})
		if err != nil {
			return err
		}
		if s.metrics.swept.Add(float64(n)); n < sweepLimit {
			break
		}
	}
	return nil
}

// pendingCountMax bounds the count of pending records, which is a metric and no more.
const pendingCountMax = 10_000

// countPending looks how many records are pending, so that one that stays so is noticed.
func (s *Service) countPending(ctx context.Context) error {
	count, age := 0, uint64(0)
	err := s.deps.Store.View(ctx, func(r kv.Reader) error {
		n, oldest, err := PendingCount(r, pendingCountMax)
		if err != nil {
			return err
		}
		now, err := Ticks(r)
		if count, age = n, 0; n > 0 {
			age = now - min(now, oldest)
		}
		return err
	})
	if err == nil {
		s.metrics.pending.Set(float64(count))
		s.metrics.pendingAge.Set((time.Duration(age) * s.cfg.TickInterval).Seconds())
	}
	return err
}

// listen answers on every subject of the sequencer but the commits.
func (s *Service) listen() (*bus.Service, error) {
	service, err := bus.NewService(s.deps.Conn, bus.ServiceOptions{
		Name: "braid-sequencer", Version: api.Version,
		Description: "sequencer " + s.cfg.ID + ": TxIDs, commit logs, schemas, registry",
		Logger:      s.deps.Logger, Registerer: s.deps.Registerer,
		Inboxes: s.deps.Subjects.Inboxes,
	})
	if err != nil {
		return nil, err
	}
	for _, e := range s.endpoints() {
		if err := service.Handle(e.name, e.subject, bus.Endpoint{Queue: queueGroup}, e.handle); err != nil {
			return service, err
		}
	}
	return service, nil
}
