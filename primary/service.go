package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// ErrFenced says that the sequencer has fenced this process's epoch: another process of this node has registered, or
// failover has declared this one dead. It commits nothing any more. Register anew to go on.
var ErrFenced = errors.New("this epoch is fenced")

// ErrDrainOver says that a drain took too long. What was open has an unknown outcome, and segments that are on disks alone
// stay there until a process settles them, which takes a newer epoch.
var ErrDrainOver = errors.New("the time to drain is over")

// Service is a primary. Run serves; nothing else starts anything.
type Service struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	senders senders
	needs   *needs
	now     func() time.Duration // since New, on the monotonic clock

	checks    chan *group   // admitted, to be checked
	unpacking chan struct{} // one token for each group that is unpacked at this moment
	diskWork  chan struct{} // disk has something
	rearm     chan struct{} // the next tick is earlier than the ticker thinks
	ready     chan struct{} // closed once groups reach this process
	ended     chan struct{} // closed by doStop

	running sync.WaitGroup                  // goroutines of Run
	spawn   func(func(ctx context.Context)) // starts one of them, with the context that ends when Run gives up
	look    func(*group)                    // has a group checked
	append  func()                          // has the appender look for work
	wake    func(at time.Duration)          // has tick called then, which is earlier than was asked before

	mu       sync.Mutex // guards what follows; nothing that blocks happens under it
	core     *core
	effects  []effect
	disk     []effect            // for the appender, in order
	files    map[uint64]*walFile // launched, and not done with
	armed    time.Duration       // when the ticker wakes
	endedFor error               // set before ended is closed
}

// checksMax bounds the groups that wait for a checker; past it senders get 429.
const checksMax = 4096

// resolveTimeout bounds how long a checker waits for a schema that it does not know.
const resolveTimeout = 2 * time.Second

// New checks its arguments and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.check(), deps.check()); err != nil {
		return nil, fmt.Errorf("primary %s: %w", cfg.ID, err)
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("primary %s: %w", cfg.ID, err)
	}
	s := newService(cfg, deps, m)
	started := time.Now()
	s.now = func() time.Duration { return time.Since(started) }
	s.look = s.queueCheck
	s.append = func() { signal(s.diskWork) }
	s.wake = func(time.Duration) { signal(s.rearm) }
	return s, nil
}

func newService(cfg Config, deps Deps, m *metrics) *Service {
	return &Service{
		cfg: cfg, deps: deps, log: deps.Logger, metrics: m, needs: newNeeds(),
		checks:    make(chan *group, checksMax),
		unpacking: make(chan struct{}, runtime.GOMAXPROCS(0)),
		diskWork:  make(chan struct{}, 1),
		rearm:     make(chan struct{}, 1),
		ready:     make(chan struct{}),
		ended:     make(chan struct{}),
		files:     make(map[uint64]*walFile),
		core: newCore(limits{
			node: cfg.ID, epoch: cfg.Epoch, first: cfg.FirstSequence, shards: deps.Shards, admissionBytes: cfg.AdmissionBytes,
			segmentBytes: cfg.SegmentBytesMax, inFlight: cfg.InFlight, sealInterval: cfg.SealInterval,
			objectPatience: cfg.ObjectPatience, commitPatience: cfg.CommitPatience,
			walInterval: cfg.WALSealInterval, walCopies: cfg.WALCopies, uploads: cfg.Uploads,
			backlogMax: cfg.BacklogSegments, backlogBytes: cfg.BacklogBytes,
		}),
	}
}

// Run serves until ctx ends, and then finishes what it has admitted within DrainFor; new groups get 503 meanwhile.
// nil means that it was asked to stop, and has finished; ErrDrainOver that it has not finished. ErrFenced means that the
// epoch is over. Any other error means that going on
// could harm: a file could not be written or synced, the object store has other bytes under a segment's name, or the
// sequencer cannot read our requests. Every group that was open is answered 503 before Run returns. Run once.
func (s *Service) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.spawn = func(f func(context.Context)) { s.running.Go(func() { f(work) }) }
	err := s.deps.FS.MkdirAll(s.epochDir())
	if err != nil {
		err = fmt.Errorf("primary %s: folder for segments: %w", s.cfg.ID, err)
	} else {
		s.spawn(s.appendLoop)
		s.spawn(s.tickLoop)
		s.spawn(s.probeLoop)
		for range checkersPerProcessor * runtime.GOMAXPROCS(0) {
			s.spawn(s.checkLoop)
		}
		err = s.serve(ctx)
	}
	s.step(func(c *core, _ time.Duration) { c.stop(err) }) // unless that is why serve returned
	cancel()
	s.running.Wait()
	if errors.Is(err, ErrDrainOver) {
		s.log.Warn("stopped before everything was finished", "drain", s.cfg.DrainFor)
	}
	return err
}

// serve listens until the core has ended, and returns why it has.
func (s *Service) serve(ctx context.Context) error {
	b, err := bus.NewService(s.deps.Conn, bus.ServiceOptions{
		Name: "braid-primary", Version: api.Version, Logger: s.log, Registerer: s.deps.Registerer,
		Description: "primary " + s.cfg.ID + ": makes groups durable and has them committed",
		Inboxes:     s.deps.Subjects.Inboxes,
	})
	if err != nil {
		return fmt.Errorf("primary %s: %w", s.cfg.ID, err)
	}
	// What waits in the subscription is not admitted yet. The handler is quick, so it is little, but senders that
	// share what is free can still all send at once; and the server must not be the first to lose patience.
	pending := min(2*s.cfg.AdmissionBytes, api.NATSMaxPending/2)
	err = b.Handle("write", s.deps.Subjects.PrimaryWrite(s.cfg.ID),
		bus.Endpoint{PendingBytes: int(pending)}, s.handle)
	if err == nil {
		err = s.listening(ctx)
	}
	if err == nil {
		err = s.waitForEnd(ctx)
	}
	return errors.Join(err, b.Stop())
}

// listening waits until the NATS server knows of the subscription: from then on nobody who writes meets "no
// responders". A connection that is down makes up for it when it is back.
func (s *Service) listening(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, flushTimeout)
		err := s.deps.Conn.FlushWithContext(attempt)
		cancel()
		switch {
		case err == nil:
			close(s.ready)
			return nil
		case ctx.Err() != nil || isClosed(s.ended):
			return nil
		case s.deps.Conn.IsClosed():
			return fmt.Errorf("primary %s: listen for groups: %w", s.cfg.ID, err)
		}
		s.log.Warn("the NATS server does not answer, waiting for it", "error", err)
	}
}

// flushTimeout bounds one attempt to have the NATS server's answer.
const flushTimeout = time.Second

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Ready is closed once groups reach the primary.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Fence ends the primary at once, because its epoch is over: every open group is answered 503, since it may have been
// committed, and Run returns ErrFenced. It may be called at any time, from any goroutine, while Run runs.
func (s *Service) Fence() { s.step(func(c *core, _ time.Duration) { c.stop(ErrFenced) }) }

// NextSequence is the number that the next segment would have: Config.FirstSequence of a primary that follows this one
// in the same epoch, once Run has returned.
func (s *Service) NextSequence() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.next
}

func (s *Service) waitForEnd(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.endedFor
	case <-ctx.Done():
	}
	s.step(func(c *core, now time.Duration) { c.drain(now) })
	timer := time.NewTimer(s.cfg.DrainFor)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		s.step(func(c *core, _ time.Duration) { c.stop(ErrDrainOver) })
		<-s.ended
	}
	return s.endedFor
}

// Load is what the heartbeat tells of a primary.
type Load struct {
	Fraction  float64 // admitted and undecided bytes over their bound, 0 to 1
	FreeBytes int64   // what would be admitted now; 0 while draining
	Senders   int     // distinct senders heard in the last second
	// Unable is why the primary cannot take writes now, although it runs: the sequencer or the object store cannot be
	// reached from it; "" if it can.
	Unable string
}

// Load may be called at any time, from any goroutine.
func (s *Service) Load() Load {
	s.mu.Lock()
	admitted, mode := s.core.admitted, s.core.mode
	s.mu.Unlock()
	l := Load{
		Fraction: float64(admitted) / float64(s.cfg.AdmissionBytes),
		Senders:  s.senders.count(s.now()),
		Unable:   s.needs.unable(),
	}
	if mode == serving {
		l.FreeBytes = s.cfg.AdmissionBytes - admitted
	}
	return l
}

func (s *Service) epochDir() string {
	return filepath.Join(s.cfg.SegmentsDir, s.cfg.ID, strconv.FormatUint(s.cfg.Epoch, 10))
}

func (s *Service) segmentID(sequence uint64) api.SegmentID {
	return api.SegmentID{Node: s.cfg.ID, Epoch: s.cfg.Epoch, Sequence: sequence}
}
