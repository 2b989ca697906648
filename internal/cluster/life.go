package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/primary"
)

// How often a node reads the topology, since announcements get lost: now and then, and soon when what it knows does not
// fit. One reading is bounded by askTimeout.
const (
	askInterval   = time.Second
	doubtInterval = 200 * time.Millisecond
	askTimeout    = 3 * time.Second
)

// leaveTimeout bounds what a node that leaves waits for the sequencer: it goes even if nobody hears it.
const leaveTimeout = 3 * time.Second

// life is the shell around member.Life: one goroutine brings it events and does what it decides.
//
//	braid.topology, answers of the registry ──▶ ┌─────────────┐ ──▶ heartbeats
//	SIGTERM, drain ───────────────────────────▶ │ member.Life │ ──▶ registry: register, live, draining, stopped
//	parts that end ───────────────────────────▶ └─────────────┘ ──▶ primary part: start, drain, stop
type life struct {
	n        *node
	core     *member.Life
	registry *member.Registry
	events   chan func(*member.Life)
	working  sync.WaitGroup // goroutines that post events; they end with run's context

	leaving chan struct{} // somebody told the node to drain

	stage  stage // what is done under the epoch now: settling, catching up, saying
	asking chan struct{}
	part   *primaryPart // nil: none runs
	last   sequences
}

// sequences remembers where the segments of an epoch go on.
type sequences struct{ epoch, next uint64 }

// stage is a piece of work of which there is one at a time: the next begins when the one before has ended.
type stage struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// eventsMax bounds the events that wait: each goroutine that posts has one.
const eventsMax = 64

func newLife(n *node, mark string) *life {
	cfg := member.Config{ID: n.cfg.ID, Role: n.cfg.Role, HTTP: n.cfg.Advertise, Mark: mark}
	return &life{
		n: n, core: member.NewLife(n.cfg.ID), registry: member.NewRegistry(cfg, n.registrySeq, n.log),
		events: make(chan func(*member.Life), eventsMax), asking: make(chan struct{}, 1),
		leaving: make(chan struct{}, 1),
		stage:   stage{cancel: func() {}},
	}
}

// run lives until ctx ends and the node has left, until it is told to drain and has, or until something fails. It calls
// ready when the node is live for the first time.
func (l *life) run(ctx context.Context, ready func()) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer l.working.Wait()
	defer cancel()
	unfollow, err := l.follow(work)
	if err != nil {
		return err
	}
	defer unfollow()
	ticker := time.NewTicker(doubtInterval)
	defer ticker.Stop()
	leave, asked := ctx.Done(), time.Now()
	for {
		if ended, err := l.act(work, &ready); ended {
			l.abandon()
			return err
		}
		select {
		case e := <-l.events:
			e(l.core)
		case <-leave:
			leave = nil
			l.core.Leave()
		case <-l.leaving:
			l.core.Leave()
		case p := <-l.n.stack.ended:
			l.core.Failed(p.failure())
		case now := <-ticker.C:
			if l.core.Doubts() || now.Sub(asked) >= askInterval {
				asked = now
				l.ask(work)
			}
		}
	}
}

// follow listens to announced topologies.
func (l *life) follow(ctx context.Context) (stop func(), err error) {
	// Without a metric of what is lost, which the replicator's listening has: reading the topology makes up for it.
	f, err := bus.NewFollower(l.n.beats, l.n.log, nil)
	if err != nil {
		return nil, err
	}
	unfollow, err := f.Follow(l.n.env.Subjects.Topology(), bus.JSON(func(t api.Topology) error {
		l.post(ctx, func(c *member.Life) { c.Topology(t) })
		return nil
	}))
	if err != nil {
		return nil, err
	}
	return func() {
		if err := unfollow(); err != nil {
			l.n.log.Warn("topologies are still listened to", "error", err)
		}
	}, nil
}

// post brings an event. It waits for its turn, or for the end of ctx.
func (l *life) post(ctx context.Context, e func(*member.Life)) {
	select {
	case l.events <- e:
	case <-ctx.Done():
	}
}

// leave has the node leave on purpose. It does not wait.
func (l *life) leave() {
	select {
	case l.leaving <- struct{}{}:
	default:
	}
}

// act does what the core has decided, and shows what the node is.
func (l *life) act(ctx context.Context, ready *func()) (ended bool, err error) {
	for actions := l.core.Take(); len(actions) > 0; actions = l.core.Take() {
		for _, a := range actions {
			l.do(ctx, a)
		}
	}
	self, speaking := l.core.Self()
	l.n.member.Tell(self, speaking)
	if ended, err := l.core.Ended(); ended {
		return true, err
	}
	// One whose primary part has begun and does not listen yet is not ready.
	if *ready != nil && self.State == api.Live && (self.Role == api.Primary || l.part == nil) {
		(*ready)()
		*ready = nil
	}
	return false, nil
}

func (l *life) do(ctx context.Context, a member.Action) {
	switch a.Kind {
	case member.DoRegister:
		l.begin(ctx, func(ctx context.Context) { l.register(ctx, a.Replaces) })
	case member.DoSettle:
		l.begin(ctx, func(ctx context.Context) { l.settle(ctx, a.Epoch) })
	case member.DoCatchUp:
		l.begin(ctx, func(ctx context.Context) { l.catchUp(ctx, a.Epoch) })
	case member.DoSay:
		l.begin(ctx, func(ctx context.Context) { l.say(ctx, a.Epoch, a.State) })
	case member.DoStartPrimary:
		l.startPrimary(ctx, a.Epoch)
	case member.DoDrainPrimary:
		l.part.cancel()
	case member.DoStopPrimary:
		l.part.stop()
	case member.DoAsk:
		l.ask(ctx)
	}
}

// begin ends the stage before, and then does the next one.
func (l *life) begin(ctx context.Context, f func(context.Context)) {
	before := l.stage.done
	l.stage.cancel()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	l.stage = stage{cancel, done}
	l.working.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		f(ctx)
	})
}

// failed is for stages: an error of one that was canceled is none.
func (l *life) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.post(ctx, func(c *member.Life) { c.Failed(err) })
	}
}

func (l *life) register(ctx context.Context, replaces uint64) {
	answer, err := l.registry.Register(ctx, replaces)
	if err != nil {
		l.failed(ctx, err)
		return
	}
	l.n.log.Info("registered", "epoch", answer.Epoch)
	l.post(ctx, func(c *member.Life) {
		l.n.shards = answer.Topology.Shards
		c.Registered(answer)
	})
}

// settle decides about old segments, and starts what follows the logs, the first time. Settling comes first then, since
// the replicator fetches into the same folders.
func (l *life) settle(ctx context.Context, epoch uint64) {
	err := l.n.settle(ctx, epoch)
	if err == nil && l.n.replicator == nil {
		err = l.n.startParts(ctx)
	}
	if err != nil {
		l.failed(ctx, err)
		return
	}
	l.post(ctx, func(c *member.Life) { c.Settled(epoch) })
}

func (l *life) catchUp(ctx context.Context, epoch uint64) {
	if err := l.n.replicator.CaughtUp(ctx, l.n.cfg.CaughtUpLag); err != nil {
		l.failed(ctx, fmt.Errorf("catch up: %w", err))
		return
	}
	l.post(ctx, func(c *member.Life) { c.CaughtUp(epoch) })
}

// say writes the node's state into the registry. Whoever leaves does not wait for ever: if it cannot be told, the node is
// found silent, and treated as dead.
func (l *life) say(ctx context.Context, epoch uint64, s api.State) {
	bound := ctx
	if s != api.Live {
		var cancel context.CancelFunc
		bound, cancel = context.WithTimeout(ctx, leaveTimeout)
		defer cancel()
	}
	topology, err := l.registry.SetState(bound, epoch, s)
	switch {
	case err == nil, ctx.Err() != nil:
	case api.IsName(err, api.Fenced), api.IsName(err, api.NotFound):
		l.n.log.Warn("the registry refuses this epoch", "epoch", epoch, "state", s, "error", err)
		l.post(ctx, func(c *member.Life) { c.Refused(epoch) })
		return
	case s == api.Live:
		l.failed(ctx, err)
		return
	default:
		l.n.log.Warn("leaving without having said so", "state", s, "error", err)
	}
	l.post(ctx, func(c *member.Life) { c.Said(epoch, s, topology) })
}

// ask reads the topology, unless it is being read.
func (l *life) ask(ctx context.Context) {
	select {
	case l.asking <- struct{}{}:
	default:
		return
	}
	l.working.Go(func() {
		defer func() { <-l.asking }()
		attempt, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		t, err := l.n.registrySeq.Topology(attempt)
		if err != nil {
			l.n.log.Debug("topology not read", "error", err)
			return
		}
		l.post(ctx, func(c *member.Life) { c.Read(t) })
	})
}

// abandon ends what still runs when the core has ended.
func (l *life) abandon() {
	l.stage.cancel()
	if l.part != nil {
		l.part.stop()
	}
}

// primaryPart is the primary service while it runs.
type primaryPart struct {
	epoch   uint64
	service *primary.Service
	cancel  context.CancelFunc // drains
	metrics *scope
}

func (p *primaryPart) stop() {
	p.service.Fence()
	p.cancel()
}

// startPrimary starts the primary service. Its segments go on where this epoch's have stopped.
func (l *life) startPrimary(ctx context.Context, epoch uint64) {
	if l.last.epoch != epoch {
		l.last = sequences{epoch: epoch, next: 1}
	}
	p, err := l.n.newPrimary(epoch, l.last.next)
	if err != nil {
		l.core.PrimaryEnded(err, false)
		return
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	l.part = p
	l.n.log.Info("takes writes as a primary", "epoch", epoch)
	ended := make(chan struct{})
	l.working.Go(func() {
		select {
		case <-p.service.Ready():
			l.post(ctx, func(c *member.Life) { c.PrimaryServes() })
		case <-ended:
		}
	})
	l.working.Go(func() {
		err := p.service.Run(run)
		close(ended)
		cancel()
		l.post(ctx, func(c *member.Life) { l.primaryEnded(c, err) })
	})
}

func (l *life) primaryEnded(c *member.Life, err error) {
	p := l.part
	l.part, l.last.next = nil, p.service.NextSequence()
	l.n.member.ReportLoad(nil)
	p.metrics.close()
	fenced := errors.Is(err, primary.ErrFenced)
	l.n.log.Info("takes no more writes", "epoch", p.epoch, "fenced", fenced)
	if errors.Is(err, primary.ErrDrainOver) {
		c.PrimaryGaveUp()
		return
	}
	c.PrimaryEnded(err, fenced)
}
