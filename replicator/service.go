package replicator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/table"
)

// Service is the replicator of one node. Run makes it follow the logs; Handler serves reads before, during and after.
type Service struct {
	cfg      Config
	deps     Deps
	tables   *table.Store
	segments *segments
	metrics  *metrics
	client   *http.Client
	shards   []*shard
	reads    chan struct{} // a place for each HTTP read
	waits    *waits
	digests  chan digestQuestion

	now  func() time.Time
	each func(n int, f func(i int)) // calls f for 0 to n-1, side by side where it can

	wardMu   sync.Mutex
	ward     ward
	admitted chan struct{} // the ward has a new patient

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever a shard made progress
}

// New opens the node's tables, which takes time proportional to their records, and starts nothing. Run closes them.
func New(cfg Config, deps Deps) (*Service, error) {
	if deps.Conn == nil {
		return nil, errors.New("replicator: Conn must be set")
	}
	s, err := newService(cfg, deps, time.Now)
	if err != nil {
		return nil, err
	}
	s.segments.obtain = s.segments.get
	s.each = s.sideBySide
	if err := s.open(0); err != nil {
		return nil, err
	}
	if err := s.metrics.register(deps.Registerer, s); err != nil {
		return nil, fmt.Errorf("replicator: %w", errors.Join(err, s.tables.Close()))
	}
	return s, nil
}

// newService makes all but the tables.
func newService(cfg Config, deps Deps, now func() time.Time) (*Service, error) {
	if err := errors.Join(cfg.check(), deps.check()); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, deps: deps, changed: make(chan struct{}), now: now,
		metrics:  newMetrics(),
		client:   newClient(cfg.FetchParallel, deps.Trust),
		reads:    make(chan struct{}, cfg.ReadsMax),
		waits:    newWaits(cfg.WaitersMax),
		digests:  make(chan digestQuestion, digestsMax),
		ward:     ward{retryMax: 12 * cfg.RetryMax, patients: make(map[ailment]*patient)},
		admitted: make(chan struct{}, 1)}
	s.segments = &segments{fsys: deps.FS, dir: cfg.SegmentsDir, workers: cfg.FetchParallel,
		timeout: cfg.FetchTimeout, wait: cfg.PieceWait, metrics: s.metrics, log: deps.Logger,
		objects: fromObjects(deps.Objects), peers: s.peers, lost: s.lostObject,
		queue: make(chan *flight, queueMax), flights: make(map[api.SegmentID]*flight)}
	return s, nil
}

// open reads what is on the disk.
func (s *Service) open(syncsParallel int) (err error) {
	if err := s.segments.prepare(); err != nil {
		return fmt.Errorf("replicator: %w", err)
	}
	s.tables, err = table.Open(table.Config{Dir: s.cfg.DataDir, FS: s.deps.FS,
		Shards: s.deps.Shards, SyncsParallel: syncsParallel, Logger: s.deps.Logger})
	if err != nil {
		return fmt.Errorf("replicator: %w", err)
	}
	for i := range s.deps.Shards {
		s.shards = append(s.shards, newShard(i, s.coreConfig(), s.tables.Position(i), s.now()))
	}
	return nil
}

func (s *Service) coreConfig() coreConfig {
	return coreConfig{poll: 2 * s.cfg.PollInterval, backoffMin: min(50*time.Millisecond, s.cfg.RetryMax),
		backoffMax: s.cfg.RetryMax, limit: s.cfg.PieceRecords}
}

// Run follows the logs until ctx ends, and returns nil then; or an error after which the process must end, because
// what is on this disk is not certain any more.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	stopDigests, err := s.serveDigests()
	if err != nil {
		return errors.Join(err, s.tables.Close())
	}
	unsubscribe, err := s.subscribe()
	if err != nil {
		return errors.Join(err, stopDigests(), s.tables.Close())
	}
	for range s.segments.workers {
		g.Go(func() error { return s.segments.work(ctx) })
	}
	for _, sh := range s.shards {
		g.Go(func() error { return s.follow(ctx, sh) })
	}
	g.Go(func() error { return s.looks(ctx) })
	g.Go(func() error { return s.answerDigests(ctx) })
	g.Go(func() error { return s.checkpoints(ctx) })
	g.Go(func() error { return s.heal(ctx) })
	g.Go(func() error { return s.scrub(ctx) })
	err = g.Wait()
	unsubscribe()
	err = errors.Join(err, stopDigests(), s.tables.Close())
	s.client.CloseIdleConnections()
	return err
}

func (s *Service) checkpoints(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.CheckpointInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.tables.Checkpoint(); err != nil {
				s.metrics.errors.WithLabelValues("checkpoint").Inc()
				return fmt.Errorf("replicator: %w", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Lag is the number of confirmed log records that this node has not applied; very large until every shard's log has
// been read once since the start.
func (s *Service) Lag() (records uint64) {
	for _, sh := range s.shards {
		records += sh.lag.Load()
	}
	return records
}

// Applied is the log index up to which each shard was applied.
func (s *Service) Applied() []uint64 {
	applied := make([]uint64, len(s.shards))
	for i := range s.shards {
		applied[i] = s.tables.Position(i)
	}
	return applied
}

// CaughtUp waits until the lag is below a number of records (0 is taken for 1), or ctx ends.
func (s *Service) CaughtUp(ctx context.Context, below uint64) error {
	for {
		changed := s.watch()
		if s.Lag() < max(below, 1) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch returns a channel that is closed at the next progress of any shard.
func (s *Service) watch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Service) progressed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}
