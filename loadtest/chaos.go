package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Actor hurts a cluster whose services are processes of their own. Its methods return when the thing is done, not
// when the cluster has noticed it. What was done to a process is undone before something else is done to it.
type Actor interface {
	// Targets are the processes that may be hurt.
	Targets() []Target
	// Kill is kill -9. The process stays away until Restart.
	Kill(name string)
	// Drain stops a process as planned and waits until it has ended. It stays away until Restart.
	Drain(ctx context.Context, name string) error
	// Restart starts a process again that was killed or drained.
	Restart(name string)
	Pause(name string)  // SIGSTOP
	Resume(name string) // SIGCONT
	// Partition cuts a process off, or mends the cut.
	Partition(name string, from Neighbour, cut bool) error
	// Ready says whether a process runs and has said that it is ready.
	Ready(name string) bool
	// Err is what processes did that nothing explains, such as ending by themselves.
	Err() error
}

// Target is a process that may be hurt.
type Target struct {
	Name     string
	Role     string // primary, replica, gateway, failover, sequencer, nats
	Cuttable bool   // from NATS
	// Store says that the process can be cut off from the object store.
	Store bool
}

// Neighbour is what a process can be cut off from.
type Neighbour string

// All of them: NATS and the object store through links that are cut, the sequencer by a right that is taken away.
const (
	FromNATS      Neighbour = "NATS"
	FromObjects   Neighbour = "the object store"
	FromSequencer Neighbour = "the sequencer"
)

// The roles that the harness knows by name.
const (
	rolePrimary = "primary"
	roleReplica = "replica"
)

// healPatience is how long a cluster may take to be whole again after the last fault. It is not what is measured:
// machines differ.
const healPatience = 2 * time.Minute

// chaos plays a plan while writers write.
type chaos struct {
	actor   Actor
	striker *striker
	watch   *watcher
	start   time.Time     // of the run
	end     time.Duration // of the run, 0 if it has no time
	faults  []Fault
}

// startChaos plays the configuration's plan until the returned function is called, which then waits until the cluster
// is whole again, and reports what was done and what came of it.
func (h *harness) startChaos(
	ctx context.Context, start time.Time, watch *watcher,
) (end func(*Report, []*worker, time.Duration) error, err error) {
	if h.config.Chaos == "" {
		return func(*Report, []*worker, time.Duration) error { return nil }, nil
	}
	c := &chaos{actor: h.cluster.Actor, start: start, end: h.config.Duration, watch: watch}
	if c.striker, err = newStriker(h.config.chaos, c.actor.Targets()); err != nil {
		return nil, err
	}
	playing, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = c.play(playing) })
	return func(r *Report, workers []*worker, elapsed time.Duration) error {
		cancel()
		wg.Wait()
		err := errors.Join(failed, c.heal(ctx))
		r.Chaos = c.report(h.config, workers, elapsed)
		return errors.Join(err, c.actor.Err())
	}, nil
}

func (c *chaos) report(config *Config, workers []*worker, elapsed time.Duration) *Chaos {
	all := make([]written, len(workers))
	for i, w := range workers {
		all[i] = written{primary: w.primary(), acks: w.acks}
		w.acks = nil
	}
	judgeFaults(c.faults, all, c.watch.changes(), elapsed, config.ChaosNotice)
	r := &Chaos{Plan: config.Chaos, NoticeMS: *msOf(config.ChaosNotice), Faults: c.faults}
	r.ByKind, r.All = sumUp(c.faults)
	return r
}

// play strikes again and again until ctx ends.
func (c *chaos) play(ctx context.Context) error {
	for {
		s := c.striker.next(time.Since(c.start))
		if c.end > 0 && s.at+s.lasts > c.end {
			return nil // the writers would not see how it ends
		}
		if !pause(ctx, s.at-time.Since(c.start)) {
			return nil
		}
		if err := c.strike(ctx, s); err != nil {
			return fmt.Errorf("%s %s: %w", s.kind, s.target, err)
		}
		if c.actor.Err() != nil {
			return nil
		}
	}
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// strike makes one fault, undoes it after its time, and waits until its victim is back.
func (c *chaos) strike(ctx context.Context, s strike) error {
	before := c.watch.now()
	f := Fault{Kind: s.kind, Target: s.target, struck: time.Since(c.start)}
	if err := c.hurt(ctx, s); err != nil {
		return err
	}
	pause(ctx, s.lasts)
	f.undone = time.Since(c.start)
	err := c.undo(s)
	c.faults = append(c.faults, f)
	if err != nil {
		return err
	}
	c.await(ctx, func() error { return c.back(s, before) })
	return nil
}

func (c *chaos) hurt(ctx context.Context, s strike) error {
	switch s.kind {
	case chaosKill:
		c.actor.Kill(s.target)
	case chaosPause:
		c.actor.Pause(s.target)
	case chaosDrain:
		// What is taken away is given back also when the writers have ended.
		return c.actor.Drain(context.WithoutCancel(ctx), s.target)
	case chaosPartition:
		return c.actor.Partition(s.target, FromNATS, true)
	case chaosObjects:
		return c.actor.Partition(s.target, FromObjects, true)
	case chaosSequencer:
		return c.actor.Partition(s.target, FromSequencer, true)
	}
	return nil
}

func (c *chaos) undo(s strike) error {
	switch s.kind {
	case chaosKill, chaosDrain:
		c.actor.Restart(s.target)
	case chaosPause:
		c.actor.Resume(s.target)
	case chaosPartition:
		return c.actor.Partition(s.target, FromNATS, false)
	case chaosObjects:
		return c.actor.Partition(s.target, FromObjects, false)
	case chaosSequencer:
		return c.actor.Partition(s.target, FromSequencer, false)
	}
	return nil
}

// back says why the cluster is not yet as it was before a strike, nil if it is.
func (c *chaos) back(s strike, before api.Topology) error {
	now := c.watch.now()
	old, isNode := before.Node(s.target)
	if n, _ := now.Node(s.target); isNode && n.Epoch == old.Epoch && (s.kind == chaosKill || s.kind == chaosDrain) {
		return fmt.Errorf("%s has not registered again", s.target)
	}
	return c.whole(now)
}

// whole says what is not as it was before the first strike.
func (c *chaos) whole(now api.Topology) error {
	for _, t := range c.actor.Targets() {
		if !c.actor.Ready(t.Name) {
			return fmt.Errorf("%s is not ready", t.Name)
		}
	}
	for _, was := range c.watch.first.Nodes {
		n, ok := now.Node(was.ID)
		if !ok || n.State != was.State || n.Role != was.Role || n.StandsInFor != was.StandsInFor {
			return fmt.Errorf("%s is %s, %s%s", was.ID, n.Role, n.State, standingIn(n.StandsInFor))
		}
	}
	return nil
}

func standingIn(whom string) string {
	if whom == "" {
		return ""
	}
	return ", standing in for " + whom
}

// heal waits until all is as it was.
func (c *chaos) heal(ctx context.Context) error {
	c.await(ctx, func() error { return c.whole(c.watch.now()) })
	if ctx.Err() != nil {
		return nil // which is told by itself
	}
	if err := c.whole(c.watch.now()); err != nil {
		return fmt.Errorf("the cluster is not as it was, %s after the last fault: %w", healPatience, err)
	}
	return nil
}

// await asks until ok, the end of ctx, or of healPatience, which heal tells of, or until something is wrong that no
// waiting mends.
func (c *chaos) await(ctx context.Context, ok func() error) {
	ctx, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for ok() != nil && c.actor.Err() == nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
