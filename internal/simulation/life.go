package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
)

// Times of a node's shell, as internal/cluster has them.
const (
	askInterval   = time.Second
	doubtInterval = 200 * time.Millisecond
	leaveTimeout  = 3 * time.Second
	forever       = time.Hour // longer than any run
	retryPause    = 200 * time.Millisecond
	caughtUpLag   = 20 // records; a cluster has 1,000, but here are not so many
)

// life is the shell around member.Life in one process of a node: it brings it events and does what it decides, as the
// one in internal/cluster does on goroutines.
type life struct {
	n       *node
	p       *sim.Process
	core    *member.Life
	fs      disk.FS
	objects objstore.Store
	seq     asker
	catalog *schemas

	registrations int
	stage         stage // what is done under the epoch now: registering, settling, catching up, saying
	asking        bool
	shown         member.Self // by the last heartbeat
	next          sequence
}

// sequence is where the segments of an epoch go on.
type sequence struct{ epoch, next uint64 }

// stage is a piece of work of which there is one at a time: the next begins when the one before has ended.
type stage struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newLife(n *node) *life {
	seq := asker{n.w, n.p}
	return &life{n: n, p: n.p, core: member.NewLife(n.id), fs: n.disk.Attach(n.p), objects: n.w.objects.For(n.p),
		seq: seq, catalog: &schemas{asker: seq, known: make(map[string]api.Schema)}, stage: stage{cancel: func() {}}}
}

// run lives until the process ends. It reads the topology now and then, since announcements get lost.
func (l *life) run(context.Context) {
	l.act()
	asked := l.n.w.e.Now()
	for {
		l.p.Sleep(doubtInterval)
		if now := l.n.w.e.Now(); l.core.Doubts() || now-asked >= askInterval {
			asked = now
			l.ask()
		}
	}
}

// event brings one to the core, and does what follows from it. It does not park.
func (l *life) event(e func(*member.Life)) {
	e(l.core)
	l.act()
}

func (l *life) act() {
	for actions := l.core.Take(); len(actions) > 0; actions = l.core.Take() {
		for _, a := range actions {
			l.do(a)
		}
	}
	if self, speaking := l.core.Self(); speaking && self != l.shown {
		l.shown = self
		l.n.w.e.Trace(l.n.id, "is %s %s under epoch %d", self.State, self.Role, self.Epoch)
		l.n.beat()
	}
	if ended, err := l.core.Ended(); ended {
		l.n.w.e.Trace(l.n.id, "ends: %v", err)
		l.p.End()
	}
}

func (l *life) do(a member.Action) {
	switch a.Kind {
	case member.DoRegister:
		l.begin(func(ctx context.Context) { l.register(ctx, a.Replaces) })
	case member.DoSettle:
		l.begin(func(ctx context.Context) { l.settle(ctx, a.Epoch) })
	case member.DoCatchUp:
		l.begin(func(ctx context.Context) { l.catchUp(ctx, a.Epoch) })
	case member.DoSay:
		l.begin(func(ctx context.Context) { l.say(ctx, a.Epoch, a.State) })
	case member.DoStartPrimary:
		l.startPrimary(a.Epoch)
	case member.DoDrainPrimary:
		l.n.part.drain(l.n)
	case member.DoStopPrimary:
		l.n.part.m.Fence()
	case member.DoAsk:
		l.ask()
	}
}

// begin ends the stage before, and then does the next one.
func (l *life) begin(f func(context.Context)) {
	before := l.stage.done
	l.stage.cancel()
	ctx, cancel := context.WithCancel(context.Background()) // a coroutine of a process that ends unwinds anyway
	done := make(chan struct{})
	l.stage = stage{cancel, done}
	l.p.Go(func(context.Context) {
		defer close(done)
		if before != nil {
			l.p.Await(context.Background(), before, l.p.Clock().Add(forever))
		}
		f(ctx)
	})
}

// failed is for stages: an error of one that was canceled is none.
func (l *life) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.event(func(c *member.Life) { c.Failed(err) })
	}
}

// heard takes a topology that was published.
func (l *life) heard(t api.Topology) {
	l.n.heardTopology(t)
	l.event(func(c *member.Life) { c.Topology(t) })
}

// persist asks until there is an answer, a refusal, or the end of ctx or of patience.
func (l *life) persist(ctx context.Context, patience time.Duration, ask func() error) error {
	for began := l.n.w.e.Now(); ; {
		err := ask()
		if err == nil || ctx.Err() != nil || member.Refused(err) || l.n.w.e.Now()-began >= patience {
			return err
		}
		l.pause(ctx, retryPause)
	}
}

// pause ends early with ctx.
func (l *life) pause(ctx context.Context, d time.Duration) {
	l.p.Await(ctx, nil, l.p.Clock().Add(d))
}

func (l *life) register(ctx context.Context, replaces uint64) {
	l.registrations++
	r := api.RegisterNodeRequest{ID: l.n.id, Role: l.n.role, Mark: l.n.mark, Replaces: replaces,
		Attempt: fmt.Sprintf("%s-%d-%d", l.n.id, l.n.starts, l.registrations)}
	var a api.RegisterNodeAnswer
	err := l.persist(ctx, forever, func() (err error) {
		a, err = l.n.w.bug.register(l.n, l.seq)(ctx, r)
		return err
	})
	if err != nil {
		if l.n.empty && api.IsName(err, api.Forbidden) {
			l.n.w.changes[Refused]++
		}
		l.failed(ctx, err)
		return
	}
	l.n.epoch = a.Epoch
	if l.n.empty {
		l.n.w.fail(history.Violation{Invariant: 2, Check: "empty disk", Node: l.n.id, Detail: "taken for the one that was lost"})
	}
	if replaces > 0 {
		l.n.w.changes[Survived]++
	}
	l.n.w.owns(l.n.id, r.Attempt, a.Epoch)
	l.n.w.e.Trace(l.n.id, "has epoch %d", a.Epoch)
	l.event(func(c *member.Life) { c.Registered(a) })
}

// settle decides about old segments, and starts what goes on whatever becomes of the epoch, the first time.
func (l *life) settle(ctx context.Context, epoch uint64) {
	_, err := primary.Settle(ctx, primary.SettleConfig{ID: l.n.id, Epoch: epoch, SegmentsDir: segmentsDir},
		primary.SettleDeps{FS: l.fs, Objects: l.objects, Logger: l.n.w.log})
	if err == nil && l.n.replicator == nil {
		err = l.n.startParts(l)
	}
	if err != nil {
		l.failed(ctx, fmt.Errorf("settle: %w", err))
		return
	}
	l.event(func(c *member.Life) { c.Settled(epoch) })
}

func (l *life) catchUp(ctx context.Context, epoch uint64) {
	for l.n.replicator.Lag() >= caughtUpLag && ctx.Err() == nil {
		l.pause(ctx, 20*time.Millisecond)
	}
	if ctx.Err() == nil {
		l.event(func(c *member.Life) { c.CaughtUp(epoch) })
	}
}

// say writes the node's state into the registry. Whoever leaves does not wait for ever.
func (l *life) say(ctx context.Context, epoch uint64, s api.State) {
	patience := leaveTimeout
	if s == api.Live {
		patience = forever
	}
	var a api.NodeStateAnswer
	err := l.persist(ctx, patience, func() (err error) {
		a, err = l.seq.SetNodeState(ctx, api.NodeStateRequest{ID: l.n.id, Epoch: epoch, State: s})
		return err
	})
	switch {
	case ctx.Err() != nil:
	case api.IsName(err, api.Fenced), api.IsName(err, api.NotFound):
		l.event(func(c *member.Life) { c.Refused(epoch) })
	case err != nil && s == api.Live:
		l.failed(ctx, err)
	default:
		l.event(func(c *member.Life) { c.Said(epoch, s, a.Topology) })
	}
}

// ask reads the topology, unless it is being read.
func (l *life) ask() {
	if l.asking {
		return
	}
	l.asking = true
	l.p.Go(func(ctx context.Context) {
		t, err := l.seq.Topology(ctx)
		l.asking = false
		if err == nil {
			l.n.heardTopology(t)
			l.event(func(c *member.Life) { c.Read(t) })
		}
	})
}

// startPrimary starts what takes writes. Its segments go on where this epoch's have stopped.
func (l *life) startPrimary(epoch uint64) {
	if l.next.epoch != epoch {
		l.next = sequence{epoch, 1}
	}
	part, err := l.n.newPrimary(l, epoch, l.next.next)
	if err != nil {
		l.core.PrimaryEnded(err, false)
		return
	}
	l.n.part = part
	l.p.Go(func(context.Context) {
		l.p.Sleep(l.n.w.e.Between(0, 5*time.Millisecond)) // until NATS knows of the subscription
		if l.n.part == part && !part.ended() {
			part.serves = true
			l.event((*member.Life).PrimaryServes)
		}
	})
	l.p.Go(func(context.Context) {
		for !part.ended() {
			l.p.Sleep(20 * time.Millisecond)
		}
		_, err := part.m.Ended()
		l.n.part, l.next.next = nil, part.m.NextSequence()
		fenced := errors.Is(err, primary.ErrFenced)
		l.n.w.e.Trace(l.n.id, "takes no more writes (fenced: %t)", fenced)
		l.event(func(c *member.Life) {
			if err = l.n.w.bug.drained(err); errors.Is(err, primary.ErrDrainOver) {
				c.PrimaryGaveUp()
				return
			}
			c.PrimaryEnded(err, fenced)
		})
	})
	l.p.Go(func(context.Context) {
		for !part.ended() {
			part.m.Probe()
			l.p.Sleep(primary.ProbeInterval)
		}
	})
}
