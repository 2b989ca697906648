// Package gateway is the protocol edge: it takes rows over NATS and HTTP, checks them against their
// table's schema, encodes them once into groups, sends each group to the least loaded primary (or
// the one that the client chose), and answers the client. It holds no state that matters: what it
// dies with was not acknowledged, and is sent again by whoever has an identity for it.
//
// What is decided is in pure cores: merger (which writes share a group), numbering (identities),
// router and course (where a group goes and when it is given up). The rest of the package moves
// bytes between them, NATS and HTTP:
//
//	NATS, HTTP ─▶ take ─▶ queue ─▶ workers: decode, parse, check ─▶ merger ─▶ carry: number, encode
//	     ▲                                     │ asks for schemas                   │
//	     └────────────── answers ◀─────────────┴──────── outcomes ◀── course: primaries, one after another
package gateway

import (
	"context"
	"log/slog"
	"net/http/httputil"
	"runtime"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Service is a gateway. Run makes it work; Handler serves HTTP meanwhile.
type Service struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	metrics  *metrics
	course   courseConfig
	env      *surroundings
	sender   []string // value of api.HeaderSender
	held     *holding
	queue    chan *request
	unpacker *unpacker
	encoders chan struct{} // a place for each group that is being encoded
	frames   sync.Pool     // of *[]byte
	merging  merging
	routes   *routes
	producer *producer
	unheard  *unheard
	proxy    *httputil.ReverseProxy
	tasks    sync.WaitGroup // goroutines that end by themselves once what is held is answered
	// remembered returns a table's schema if the catalog has it at hand.
	remembered func(table string) (api.Schema, bool)
}

// merging is the merger with its lock and the timer's bell.
type merging struct {
	mu     sync.Mutex
	core   *merger
	alarms chan time.Time
}

// alarm asks for the timer; a bell that is ringing already is for an earlier moment.
func (m *merging) alarm(at time.Time) {
	select {
	case m.alarms <- at:
	default:
	}
}

// largeWriteBytes is where a write gains nothing from sharing a group: one of it fills a NATS
// message's buffers, and waiting for company would only delay it.
const largeWriteBytes = 64 << 10

// New checks configuration and surroundings, and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := deps.check(); err != nil {
		return nil, err
	}
	if deps.Beats == nil {
		deps.Beats = deps.Conn
	}
	env := newSurroundings()
	s, err := newService(cfg, deps, env)
	if err != nil {
		return nil, err
	}
	s.unheard = &unheard{log: s.log, counter: s.metrics.unheard}
	s.proxy = s.newProxy()
	env.start, env.alarm, env.request, env.probe = s.tasks.Go, s.merging.alarm, s.ask, s.askPresence
	return s, nil
}

func newService(cfg Config, deps Deps, env *surroundings) (*Service, error) {
	s := &Service{
		cfg: cfg, deps: deps, env: env, log: deps.Logger.With("component", "gateway"),
		course: courseConfig{
			overloadWait: cfg.OverloadWait, noneWait: cfg.NoPrimaryWait,
			rest: 20 * time.Millisecond, pendingWait: 50 * time.Millisecond,
		},
		sender:   []string{cfg.ID},
		held:     &holding{bytesMax: cfg.HeldBytesMax, requestsMax: cfg.HeldRequestsMax, closed: true},
		queue:    make(chan *request, cfg.HeldRequestsMax),
		unpacker: newUnpacker(cfg.UnpackedBytesMax),
		encoders: make(chan struct{}, runtime.GOMAXPROCS(0)),
		routes:   newRoutes(newRouter(api.UnansweredBytesMax), env.now),
	}
	s.merging = merging{alarms: make(chan time.Time, 1), core: newMerger(mergeConfig{
		interval: cfg.MergeInterval, writesMax: api.GroupWritesMax, identityBytes: api.GroupIdentityBytes,
		groupBytes: api.GroupBytesMax / 2, largeBytes: largeWriteBytes,
	})}
	var err error
	if s.metrics, err = newMetrics(s, deps.Registerer); err != nil {
		return nil, err
	}
	s.producer = newProducer(env, deps.Sequencer, s.log, s.metrics.registered)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	s.remembered = func(table string) (api.Schema, bool) {
		schema, err := deps.Catalog.Schema(ended, table)
		return schema, err == nil
	}
	return s, nil
}

// Ready says whether a write would be taken now: the gateway is registered, listens, and knows a
// live primary.
func (s *Service) Ready() bool {
	return !s.held.isClosed() && s.producer.registered() && s.routes.ready()
}

// Run takes writes until ctx ends; then it takes no more, goes on with what it has for DrainFor,
// and returns nil. What is not answered by then is answered 503.
func (s *Service) Run(ctx context.Context) error {
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup // goroutines that end with hard
	defer parts.Wait()
	defer stop()
	unwatch, err := s.watchCluster(hard, &parts)
	if err != nil {
		return err
	}
	defer unwatch()
	parts.Go(func() { s.producer.run(hard) })
	parts.Go(func() { s.mergeTimer(hard) })
	for range s.cfg.Workers {
		parts.Go(func() { s.work(hard) })
	}
	if !s.settleIn(ctx) {
		return nil
	}
	listening, err := s.listen()
	if err != nil {
		return err
	}
	s.held.setClosed(false)
	s.log.Info("gateway takes writes")
	<-ctx.Done()
	err = listening.Stop()
	s.drain(stop)
	s.tasks.Wait()
	return err
}

// work processes requests until ctx ends, which is not before all are answered.
func (s *Service) work(ctx context.Context) {
	for {
		select {
		case r := <-s.queue:
			s.process(ctx, r)
		case <-ctx.Done():
			return
		}
	}
}

// stragglers is how long requests that had reached the connection before it stopped listening may
// take to the queue.
const stragglers = 50 * time.Millisecond

// drain waits for what is held, then ends everything with stop.
func (s *Service) drain(stop func()) {
	late := time.NewTimer(s.cfg.DrainFor)
	defer late.Stop()
	settled := time.NewTimer(min(stragglers, s.cfg.DrainFor))
	defer settled.Stop()
	<-settled.C
	s.held.setClosed(true)
	select {
	case <-s.held.empty():
	case <-late.C:
		_, requests := s.held.sizes()
		s.log.Warn("gateway stops with requests unanswered", "requests", requests)
	}
	stop()
	s.abandon()
	<-s.held.empty()
}

// abandon answers what no worker has taken. Workers may still take some of it, which ends the same
// way.
func (s *Service) abandon() {
	for {
		select {
		case r := <-s.queue:
			s.refuse(r, api.Errorf(api.Unavailable, "this gateway is shutting down"))
		default:
			return
		}
	}
}

// settleIn waits until the gateway can tell a cluster without primaries from one that it has not
// heard yet: the topology is there, and all live nodes were heard or had the time for it. false:
// ctx ended before.
func (s *Service) settleIn(ctx context.Context) bool {
	if _, err := s.producer.current(ctx); err != nil {
		return false
	}
	var knownAt time.Time
	for !s.routes.settled() {
		if knownAt.IsZero() && s.routes.known() {
			knownAt = time.Now()
		}
		if !knownAt.IsZero() && time.Since(knownAt) > settleInMax {
			break
		}
		if !s.env.pause(ctx, settlePoll) {
			return false
		}
	}
	return true
}

const (
	settlePoll  = 5 * time.Millisecond
	settleInMax = 600 * time.Millisecond
)
