package loadtest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// slots gives open-loop writes their intended times: one every interval, whether or not the cluster keeps up. Pure:
// time comes in as the time since the run's start.
type slots struct {
	interval time.Duration
	backlog  uint64 // due writes that may wait; older ones are given up
	next     uint64
	missed   uint64 // given up
	peak     uint64 // the most that waited
}

// take returns the intended time of the next write. It may lie ahead of elapsed: then the caller waits.
func (s *slots) take(elapsed time.Duration) time.Duration {
	due := uint64(elapsed/s.interval) + 1 // those whose time has come
	if due > s.next {
		if waiting := due - s.next; waiting > s.backlog {
			s.missed += waiting - s.backlog
			s.next = due - s.backlog
		}
		s.peak = max(s.peak, due-s.next)
	}
	at := time.Duration(s.next) * s.interval
	s.next++
	return at
}

// schedule hands writes to workers, until the time is over, ctx ends or somebody stops it.
type schedule struct {
	start time.Time
	end   time.Time // zero: no end
	count atomic.Uint64
	over  atomic.Bool

	mu   sync.Mutex
	open *slots // nil: a closed loop
}

// newSchedule starts now. interval is the time between two writes of an open loop, 0 for a closed one.
func newSchedule(duration, interval time.Duration, backlog int) *schedule {
	s := &schedule{start: time.Now()}
	if duration > 0 {
		s.end = s.start.Add(duration)
	}
	if interval > 0 {
		s.open = &slots{interval: interval, backlog: uint64(backlog)}
	}
	return s
}

// next returns the number of the next write and when it is meant to be sent, which is now in a closed loop. It waits
// until then. ok is false when there is no further write.
func (s *schedule) next(ctx context.Context) (n uint64, intended time.Time, ok bool) {
	now := time.Now()
	if s.over.Load() || ctx.Err() != nil || !s.end.IsZero() && !now.Before(s.end) {
		return 0, now, false
	}
	if s.open == nil {
		return s.count.Add(1) - 1, now, true
	}
	s.mu.Lock()
	intended = s.start.Add(s.open.take(now.Sub(s.start)))
	s.mu.Unlock()
	if !s.end.IsZero() && !intended.Before(s.end) {
		return 0, intended, false
	}
	if wait := intended.Sub(now); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, intended, false
		}
		if s.over.Load() {
			return 0, intended, false
		}
	}
	return s.count.Add(1) - 1, intended, true
}

// stop ends the run: there are no rows left.
func (s *schedule) stop() { s.over.Store(true) }
