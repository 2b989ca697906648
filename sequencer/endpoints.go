package sequencer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

type endpoint struct {
	name, subject string
	handle        bus.Handler
}

func (s *Service) endpoints() []endpoint {
	sub := s.deps.Subjects
	all := []endpoint{
		{"schema", sub.Schema(), s.handleSchema},
		{"tables", sub.Tables(), handleRead(s, Tables)},
		{"heads", sub.Heads(), handleRead(s, func(r kv.Reader, _ struct{}) (api.HeadsAnswer, error) {
			return s.core.Heads(r)
		})},
		{"topology", sub.TopologyGet(), handleRead(s, func(r kv.Reader, _ struct{}) (api.Topology, error) {
			return Topology(r)
		})},
		{"segment", sub.SegmentState(), handleRead(s,
			func(r kv.Reader, q api.SegmentStateRequest) (api.SegmentStateAnswer, error) {
				return SegmentState(r, q.Segment)
			})},
		{"pending", sub.Pending(), handleRead(s, Pending)},
		{"confirm", sub.Confirm(), s.handleConfirm},
		{"void", sub.Void(), s.handleVoid},
		{"node", sub.RegisterNode(), handleUpdate(s, s.core.RegisterNode,
			func(a *api.RegisterNodeAnswer) *api.Topology { return &a.Topology })},
		{"state", sub.NodeState(), handleUpdate(s, s.core.SetNodeState,
			func(a *api.NodeStateAnswer) *api.Topology { return &a.Topology })},
		{"fail", sub.FailNode(), handleUpdate(s, s.core.FailNode, changed)},
		{"standin", sub.StandIn(), handleUpdate(s, s.core.StandIn, changed)},
		{"promote", sub.Promote(), handleUpdate(s, s.core.Promote, changed)},
		{"demote", sub.Demote(), handleUpdate(s, s.core.Demote, changed)},
		{"remove", sub.Remove(), handleUpdate(s, s.core.Remove, changed)},
		{"lease", sub.Lease(), handleUpdate(s, BumpLease, nil)},
		{"producer", sub.RegisterProducer(), s.handleProducer},
		{"renew", sub.RenewProducer(), handleUpdate(s,
			func(t kv.Txn, q api.RenewProducerRequest) (struct{}, error) {
				return struct{}{}, s.core.RenewProducer(t, q)
			}, nil)},
	}
	for shard := range s.core.Shards {
		all = append(all, endpoint{fmt.Sprintf("log-%d", shard), sub.Log(shard), s.handleLog(shard)})
	}
	return all
}

func changed(a *api.TopologyAnswer) *api.Topology { return &a.Topology }

// send takes the error of an answer that could not be sent: whoever asked asks again.
func (s *Service) send(err error) {
	if err != nil {
		s.deps.Logger.Warn("answer not sent", "error", err)
	}
}

func (s *Service) refuse(in bus.Incoming, err error) { s.send(in.ReplyError(api.AsError(err))) }

func (s *Service) overloaded(in bus.Incoming) {
	s.metrics.overloaded.Inc()
	s.refuse(in, api.OverloadedError(overloadedMS, "the sequencer's queue is full"))
}

// decode reads a JSON request; an empty payload is the zero request.
func decode[Q any](in bus.Incoming) (q Q, err error) {
	if len(in.Data()) == 0 {
		return q, nil
	}
	if err := json.Unmarshal(in.Data(), &q); err != nil {
		return q, invalid("request on %s: %v", in.Subject(), err)
	}
	return q, nil
}

// readJob is a request that only reads.
type readJob struct {
	in     bus.Incoming
	view   func(kv.Reader) error
	answer func() error
}

func (s *Service) read(ctx context.Context, jobs []*readJob) {
	for _, j := range jobs {
		bound, cancel := context.WithTimeout(ctx, s.cfg.Patience)
		err := s.retry(bound, func() error { return s.deps.Store.View(bound, j.view) })
		cancel()
		if err != nil {
			s.refuse(j.in, err)
			continue
		}
		s.send(j.answer())
	}
}

func handleRead[Q, A any](s *Service, f func(kv.Reader, Q) (A, error)) bus.Handler {
	return func(in bus.Incoming) {
		q, err := decode[Q](in)
		if err != nil {
			s.refuse(in, err)
			return
		}
		enqueueRead(s, in, q, f)
	}
}

func enqueueRead[Q, A any](s *Service, in bus.Incoming, q Q, f func(kv.Reader, Q) (A, error)) {
	var a A
	job := &readJob{in: in,
		view:   func(r kv.Reader) (err error) { a, err = f(r, q); return err },
		answer: func() error { return in.ReplyJSON(a, nil) },
	}
	if !s.reads.add(job, len(in.Data())) {
		s.overloaded(in)
	}
}

// handleSchema: without columns a request only reads.
func (s *Service) handleSchema(in bus.Incoming) {
	q, err := decode[api.SchemaRequest](in)
	switch {
	case err != nil:
		s.refuse(in, err)
	case len(q.Columns) == 0:
		enqueueRead(s, in, q.Table, Schema)
	default:
		enqueueUpdate(s, in, q, s.core.GrowSchema, nil)
	}
}

// handleProducer: the user is what the answer's inbox says, not what the request does.
func (s *Service) handleProducer(in bus.Incoming) {
	q, err := decode[api.RegisterProducerRequest](in)
	if err != nil {
		s.refuse(in, err)
		return
	}
	q.User = in.User()
	enqueueUpdate(s, in, q, s.core.RegisterProducer, nil)
}

func (s *Service) handleLog(shard int) bus.Handler {
	return func(in bus.Incoming) {
		q, err := decode[api.LogRequest](in)
		if err != nil {
			s.refuse(in, err)
			return
		}
		if data, ok := s.tails[shard].read(q); ok {
			s.send(in.Reply(data, nil))
			return
		}
		var data []byte
		job := &readJob{in: in,
			view:   func(r kv.Reader) (err error) { data, err = s.core.ReadLog(r, nil, shard, q); return err },
			answer: func() error { return in.Reply(data, nil) },
		}
		if !s.reads.add(job, len(in.Data())) {
			s.overloaded(in)
		}
	}
}

// updateJob is a request that writes and is no commit. Those that wait share a transaction.
type updateJob struct {
	in       bus.Incoming
	deadline time.Time
	apply    func(kv.Txn) error // an *api.Error has written nothing, and is this job's alone
	answer   func() error
	topology func() *api.Topology // nil if the request does not change it
	announce func()               // called once it is done; may be nil
	err      error
}

func handleUpdate[Q, A any](
	s *Service, f func(kv.Txn, Q) (A, error), topology func(*A) *api.Topology,
) bus.Handler {
	return func(in bus.Incoming) {
		q, err := decode[Q](in)
		if err != nil {
			s.refuse(in, err)
			return
		}
		enqueueUpdate(s, in, q, f, topology)
	}
}

func enqueueUpdate[Q, A any](
	s *Service, in bus.Incoming, q Q, f func(kv.Txn, Q) (A, error), topology func(*A) *api.Topology,
) {
	var a A
	job := &updateJob{in: in, deadline: time.Now().Add(s.cfg.Patience),
		apply:  func(t kv.Txn) (err error) { a, err = f(t, q); return err },
		answer: func() error { return in.ReplyJSON(a, nil) },
	}
	if topology != nil {
		job.topology = func() *api.Topology { return topology(&a) }
	}
	if !s.updates.add(job, writeCost+2*len(in.Data())) {
		s.overloaded(in)
	}
}

// update runs jobs in one transaction; if it cannot be, each half in its own.
func (s *Service) update(ctx context.Context, jobs []*updateJob) {
	bound, cancel := context.WithDeadline(ctx, jobs[0].deadline) // the oldest is the least patient
	err := s.retry(bound, func() error {
		return s.deps.Store.Update(bound, func(t kv.Txn) error {
			for _, j := range jobs {
				if j.err = j.apply(t); j.err != nil && !errors.As(j.err, new(*api.Error)) {
					return j.err
				}
			}
			return nil
		})
	})
	cancel()
	if err != nil && len(jobs) > 1 && !errors.Is(err, kv.ErrFailed) {
		s.update(ctx, jobs[:len(jobs)/2])
		s.update(ctx, jobs[len(jobs)/2:])
		return
	}
	s.failed(err)
	var topology *api.Topology
	for _, j := range jobs {
		switch {
		case err != nil:
			s.deps.Logger.Warn("request not done", "subject", j.in.Subject(), "error", err)
			s.refuse(j.in, storeError(err))
		case j.err != nil:
			s.refuse(j.in, j.err)
		default:
			s.send(j.answer())
			if j.topology != nil {
				topology = j.topology()
			}
			if j.announce != nil {
				j.announce()
			}
		}
	}
	if topology != nil {
		s.publishTopology(topology)
	}
}

// storeError is what a requester is told of a transaction that did not succeed.
func storeError(err error) *api.Error {
	if errors.Is(err, kv.ErrTooLarge) {
		return api.Errorf(api.TooLarge, "%v", err)
	}
	return api.AsError(err)
}
