package gateway

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// take is the way in, which never blocks: the request is queued for a worker, or refused at once.
func (s *Service) take(r *request, source int) {
	s.metrics.requestsBy[r.format][source].Inc()
	s.metrics.bytesBy[r.format].Add(float64(len(r.data)))
	if err := s.admissible(r); err != nil {
		s.metrics.outcome(err)
		r.answerer.refused(err)
		return
	}
	r.held = int64(len(r.data)) + requestOverhead
	if !s.held.take(r.held) {
		err := s.noRoom()
		s.metrics.outcome(err)
		r.answerer.refused(err)
		return
	}
	s.queue <- r // as many places as requests can be held
}

// requestOverhead is what a request takes beside its payload, about: thousands of tiny ones must
// count too.
const requestOverhead = 1024

func (s *Service) admissible(r *request) *api.Error {
	switch {
	case len(r.data) > s.cfg.RequestBytesMax:
		return api.Errorf(api.TooLarge, "the payload has %d bytes, at most %d are allowed", len(r.data),
			s.cfg.RequestBytesMax)
	}
	return nil
}

// noRoom says why a request could not be taken.
func (s *Service) noRoom() *api.Error {
	if s.held.isClosed() {
		return api.Errorf(api.Unavailable, "this gateway takes no writes now: it is starting or shutting down")
	}
	return s.overloaded()
}

func (s *Service) overloaded() *api.Error {
	return api.OverloadedError(retryAfterMS, "the gateway has too many requests without an answer")
}

// refuse ends a request that is held, as a whole.
func (s *Service) refuse(r *request, err *api.Error) {
	if err.Table == "" && r.table != "" {
		err = err.InTable(r.table)
	}
	s.metrics.outcome(err)
	s.finish(r, func() { r.answerer.refused(err) })
}

func (s *Service) finish(r *request, answer func()) {
	answer()
	s.held.drop(r.held)
}

// drop ends a write before it got into a group.
func (s *Service) drop(w *write, err *api.Error) {
	w.release()
	s.settle(w.request, w.slot, 0, 0, err)
}

// settle gives a write its outcome.
func (s *Service) settle(r *request, slot int, txid uint64, rows uint32, err *api.Error) {
	res := &r.results[slot]
	if err != nil {
		if err.Table == "" {
			err = err.InTable(res.Table)
		}
		res.Error = err
	} else {
		res.TxID, res.Rows = txid, int(rows)
		s.metrics.rowsBy[r.format].Add(float64(rows))
	}
	s.metrics.outcome(err)
	since(s.metrics.writeSeconds, r.arrived)
	s.outcome(r)
}

// outcome counts one off the request's open writes; the last one answers it.
func (s *Service) outcome(r *request) {
	if r.open.Add(-1) == 0 {
		s.finish(r, r.answer)
	}
}

// merge puts a write with the others of its table, and lets go what leaves now.
func (s *Service) merge(ctx context.Context, w *write) {
	s.merging.mu.Lock()
	leave := s.merging.core.add(s.env.now(), w)
	next, waiting := s.merging.core.next()
	s.merging.mu.Unlock()
	if waiting {
		s.env.alarm(next)
	}
	s.launch(ctx, leave)
}

// landed says that a group of key is through.
func (s *Service) landed(ctx context.Context, key mergeKey) {
	s.merging.mu.Lock()
	leave := s.merging.core.landed(key)
	s.merging.mu.Unlock()
	s.launch(ctx, leave)
}

func (s *Service) launch(ctx context.Context, groups []*group) {
	for _, g := range groups {
		s.env.start(func() {
			s.carry(ctx, g)
			s.landed(ctx, g.key)
		})
	}
}

// mergeTimer lets groups go whose interval is over, until ctx ends.
func (s *Service) mergeTimer(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-s.merging.alarms:
			timer.Reset(time.Until(next))
		case <-timer.C:
			if next, waiting := s.due(ctx); waiting {
				timer.Reset(time.Until(next))
			}
		}
	}
}

// due lets groups go whose interval is over, and says when it is next to be called.
func (s *Service) due(ctx context.Context) (next time.Time, waiting bool) {
	s.merging.mu.Lock()
	leave := s.merging.core.due(s.env.now())
	next, waiting = s.merging.core.next()
	s.merging.mu.Unlock()
	s.launch(ctx, leave)
	return next, waiting
}
