package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/segment"
)

// carry takes a group all the way: identity, encoding, a primary's answer, and each write's
// outcome. A merged group that turns out too large goes as two.
func (s *Service) carry(ctx context.Context, g *group) {
	deadline := g.writes[0].arrived.Add(s.cfg.RequestTimeout)
	bound, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	reg, err := s.producer.current(bound)
	if err != nil {
		s.fail(g, err)
		return
	}
	id, ok := reg.next(g.key.table)
	if !ok {
		s.fail(g, api.OverloadedError(retryAfterMS, "too many groups of the table are without an answer"))
		return
	}
	frame, tooLarge := s.encode(g, id)
	if tooLarge != nil {
		reg.close(g.key.table, id.Sequence)
		s.split(ctx, g, tooLarge)
		return
	}
	for _, w := range g.writes {
		w.release()
	}
	answer, err := s.pursue(bound, deadline, reg, g, frame)
	s.frames.Put(&frame)
	reg.close(g.key.table, id.Sequence)
	if err == nil {
		err = s.ours(bound, reg, g, &answer)
	}
	if err != nil {
		s.fail(g, err)
		return
	}
	for i, w := range g.writes {
		o := answer.Writes[i]
		s.settle(w.request, w.slot, o.TxID, w.meta.Rows, o.Error(g.key.table))
	}
}

// fail gives every write of a group the same error.
func (s *Service) fail(g *group, err *api.Error) {
	for _, w := range g.writes {
		s.drop(w, err)
	}
}

// split carries a group that is over the limit in two halves. A write alone is never split.
func (s *Service) split(ctx context.Context, g *group, tooLarge *api.Error) {
	n := len(g.writes)
	if n == 1 {
		s.drop(g.writes[0], tooLarge)
		return
	}
	s.carry(ctx, &group{key: g.key, writes: g.writes[:n/2]})
	s.carry(ctx, &group{key: g.key, writes: g.writes[n/2:]})
}

// encode makes the group's frame, once. Only as many goroutines as there are processors encode at a
// time.
func (s *Service) encode(g *group, id api.ProducerSeq) ([]byte, *api.Error) {
	s.encoders <- struct{}{}
	defer func() { <-s.encoders }()
	start := time.Now()
	defer since(s.metrics.encodeSecs, start)
	h := api.GroupHeader{
		Table: g.key.table, Durability: g.key.durability, ID: id,
		Writes: make([]api.WriteMeta, len(g.writes)),
	}
	batches := make([]*columnar.Batch, len(g.writes))
	schema := g.writes[0].schema
	for i, w := range g.writes {
		h.Writes[i], batches[i] = w.meta, w.batch
		if w.schema.Len() > schema.Len() {
			schema = w.schema
		}
	}
	schema = columnar.SmallestPrefix(schema, batches)
	h.Fingerprint = schema.Fingerprint(schema.Len())
	buf, ok := s.frames.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	frame, mark := segment.BeginGroup((*buf)[:0], &h)
	frame, err := columnar.Encode(frame, schema, batches)
	if err != nil {
		return nil, api.AsError(err)
	}
	if len(frame) > api.GroupBytesMax {
		s.frames.Put(&frame)
		return nil, api.Errorf(api.TooLarge, "the rows take %d bytes encoded, at most %d are allowed in a write",
			len(frame), api.GroupBytesMax)
	}
	frame = segment.FinishGroup(frame, mark)
	s.metrics.groupBytes.Observe(float64(len(frame)))
	return frame, nil
}

// pursue sends the frame to one primary after another, as its course says, until there is an
// answer. An error is the end for every write of the group.
func (s *Service) pursue(
	ctx context.Context, deadline time.Time, reg *registration, g *group, frame []byte,
) (api.GroupAnswer, *api.Error) {
	s.metrics.groups.Inc()
	s.metrics.groupWrites.Observe(float64(len(g.writes)))
	c := course{cfg: s.course, only: g.key.primary, size: len(frame), deadline: deadline}
	for {
		if errors.Is(ctx.Err(), context.Canceled) {
			return api.GroupAnswer{}, c.doubt(api.Errorf(api.Unavailable, "this gateway is shutting down"))
		}
		st, changed := s.routes.next(&c)
		switch {
		case st.err != nil:
			return api.GroupAnswer{}, st.err
		case st.primary == "":
			s.env.await(ctx, changed, st.wait)
			continue
		case c.attempts > 1 && reg.isLost():
			s.routes.cancel(&c, st.primary)
			return api.GroupAnswer{}, lostRegistration()
		}
		answer, how, refusal := s.attempt(ctx, st, g, frame)
		over, err := s.routes.ended(&c, st.primary, how, refusal)
		if over {
			return answer, err
		}
		s.metrics.retry(how, refusal)
	}
}

// attempt sends the frame to one primary and says how that ended.
func (s *Service) attempt(
	ctx context.Context, st step, g *group, frame []byte,
) (api.GroupAnswer, reply, *api.Error) {
	ctx, cancel := context.WithDeadline(ctx, s.env.now().Add(s.cfg.AttemptTimeout))
	defer cancel()
	open := s.routes.begin(st, cancel)
	defer s.routes.end(open)
	data, err := s.env.request(ctx, st.primary, frame)
	if err != nil {
		if e := new(api.Error); errors.As(err, &e) {
			return api.GroupAnswer{}, replyRefused, e
		}
		if errors.Is(err, bus.ErrNoResponders) {
			return api.GroupAnswer{}, replySilent, nil
		}
		return api.GroupAnswer{}, replyLost, nil
	}
	a, err := api.ParseGroupAnswer(data)
	switch {
	case err != nil, a.Err == nil && len(a.Writes) != len(g.writes):
		s.log.Error("answer of a primary is not understood", "node", st.primary, "writes", len(g.writes),
			"answers", len(a.Writes), "error", err)
		return api.GroupAnswer{}, replyLost, nil
	case a.Err != nil:
		return api.GroupAnswer{}, replyRefused, a.Err
	case a.Pending && g.key.durability == api.DurabilityObject:
		return a, replyPending, nil
	}
	return a, replyAnswer, nil
}

// ours looks for a refusal of the gateway's own identity among the outcomes: it says nothing about
// the writes, whose senders are told that the outcome is unknown. Where every write has an identity
// of its own, the sequencer is asked whose registration is meant.
func (s *Service) ours(
	ctx context.Context, reg *registration, g *group, a *api.GroupAnswer,
) *api.Error {
	bare, refused := false, false
	for i := range a.Writes {
		switch a.Writes[i].Verdict {
		case api.RefusedFenced, api.RefusedExpired, api.RefusedSettled:
			refused = true
			bare = bare || g.writes[i].meta.ID.None()
		default:
			return nil // a refused group has no other verdicts
		}
	}
	if !refused {
		return nil
	}
	if !bare && s.producer.holds(ctx, reg) {
		return nil
	}
	if a.Writes[0].Verdict != api.RefusedSettled {
		s.producer.lose(reg)
	}
	return lostRegistration()
}

func lostRegistration() *api.Error {
	return api.Errorf(api.Unavailable,
		"the gateway lost its registration; whether the write was stored is unknown")
}
