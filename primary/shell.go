package primary

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// step brings one event to the core and has its effects done. Only answers are left to the end, outside of the lock:
// sending may wait for the network.
func (s *Service) step(event func(c *core, now time.Duration)) {
	var answers []effect
	s.mu.Lock()
	if s.deps.Holders != nil {
		s.core.live = s.deps.Holders.Live()
	}
	event(s.core, s.now())
	s.effects = s.core.take(s.effects)
	disk := len(s.disk)
	for i := range s.effects {
		switch e := &s.effects[i]; e.kind {
		case doAppend, doSeal, doLaunch, doHold:
			s.disk = append(s.disk, *e)
		case doPut:
			f := s.files[e.segment]
			s.spawn(func(ctx context.Context) { s.put(ctx, f) })
		case doConfirm:
			id := s.segmentID(e.segment)
			s.spawn(func(ctx context.Context) { s.confirm(ctx, id) })
		case doDrop:
			delete(s.files, e.segment)
			id, nodes := s.segmentID(e.segment), e.nodes
			s.spawn(func(ctx context.Context) { s.drop(ctx, id, nodes) })
		case doCommit:
			lane, shard, request := e.lane, e.shard, e.request
			s.spawn(func(ctx context.Context) { s.commit(ctx, lane, shard, request) })
		case doAnswer:
			answers = append(answers, *e)
		case doStop:
			s.endedFor = e.err
			close(s.ended)
		}
	}
	clear(s.effects)
	if len(s.disk) > disk {
		s.append()
	}
	if at, ok := s.core.nextTick(); ok && at < s.armed {
		s.armed = at
		s.wake(at)
	}
	s.metrics.admitted.Set(float64(s.core.admitted))
	s.metrics.flying.Set(float64(s.core.levels[api.DurabilityObject].flying + s.core.levels[api.DurabilityWAL].flying))
	s.metrics.backlog.Set(float64(s.core.backlog.segments))
	s.mu.Unlock()
	for i := range answers {
		s.answer(answers[i].group, &answers[i].answer)
	}
}

// signal wakes a goroutine that looks at its work itself; one signal is enough for many reasons.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// never is when a tick comes that nobody waits for.
const never = time.Duration(math.MaxInt64)

// tickLoop brings ticks when the core wants them.
func (s *Service) tickLoop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		now := s.now()
		at, ok := s.core.nextTick()
		if !ok {
			at = never
		}
		s.armed = at
		s.mu.Unlock()
		timer.Reset(max(0, min(at-now, time.Hour)))
		select {
		case <-ctx.Done():
			return
		case <-s.rearm:
		case <-timer.C:
			s.step((*core).tick)
		}
	}
}

// answer sends what the core decided, and lets go of the frame.
func (s *Service) answer(g *group, a *api.GroupAnswer) {
	var err error
	if a.Err != nil {
		s.metrics.refused.WithLabelValues(a.Err.Name.Label()).Inc()
		err = g.from.ReplyError(a.Err)
	} else {
		s.metrics.answerSeconds[g.level].Observe((s.now() - g.arrivedAt).Seconds())
		err = g.from.Reply(api.AppendGroupAnswer(nil, a), nil)
	}
	if err != nil {
		// The sender asks again under the same identity.
		s.log.Warn("answer not sent", "sender", g.sender, "error", err)
	}
	g.from = nil
}

// commit is one attempt of a lane's request.
func (s *Service) commit(ctx context.Context, lane, shard int, r *api.CommitRequest) {
	attempt, cancel := context.WithTimeout(ctx, s.cfg.CommitAttempt)
	defer cancel()
	s.needs.shard.Store(int64(shard))
	began, ended := s.now(), s.attempt(&s.needs.sequencer)
	answers, err := s.deps.Sequencer.Commit(attempt, shard, r)
	ended(absence(err))
	wire := new(api.Error)
	switch {
	case err == nil && len(answers) == len(r.Groups):
		s.metrics.commitSeconds.Observe((s.now() - began).Seconds())
		s.metrics.commitGroups.Observe(float64(len(r.Groups)))
		s.step(func(c *core, now time.Duration) { c.committed(now, lane, answers) })
	case api.IsName(err, api.Fenced):
		s.step(func(c *core, _ time.Duration) { c.stop(ErrFenced) })
	case errors.As(err, &wire) && wire.Name != api.Unavailable && wire.Name != api.Overloaded:
		// It would be refused the same way for ever, and nothing of the shard may overtake it.
		s.step(func(c *core, _ time.Duration) { c.stop(&refusedError{shard: shard, err: wire}) })
	default:
		s.commitUnknown(ctx, lane, shard, err)
	}
}

func (s *Service) commitUnknown(ctx context.Context, lane, shard int, err error) {
	s.metrics.commitRetries.Inc()
	failures := 0
	s.step(func(c *core, now time.Duration) {
		c.commitUnknown(now, lane)
		failures = c.lanes[lane].failures
	})
	if ctx.Err() == nil && failures&(failures-1) == 0 { // the 1st, 2nd, 4th, 8th …
		s.log.Warn("no answer to a commit request, it is sent again", "shard", shard, "attempts", failures, "error", err)
	}
}

// refusedError says that the sequencer understood that it does not understand a request of ours.
type refusedError struct {
	shard int
	err   *api.Error
}

func (e *refusedError) Error() string {
	return "the sequencer refuses a commit request (are all services of one version?): " + e.err.Error()
}

func (e *refusedError) Unwrap() error { return e.err }
