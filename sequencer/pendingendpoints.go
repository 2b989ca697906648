package sequencer

import (
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// handleConfirm has replicators read again at once what has changed behind their backs.
func (s *Service) handleConfirm(in bus.Incoming) {
	q, err := decode[api.ConfirmRequest](in)
	if err != nil {
		s.refuse(in, err)
		return
	}
	var done Confirmation
	s.enqueueAnnounced(&updateJob{in: in, deadline: time.Now().Add(s.cfg.Patience),
		apply:  func(t kv.Txn) (err error) { done, err = s.core.Confirm(t, q); return err },
		answer: func() error { return in.ReplyJSON(done.ConfirmAnswer, nil) },
		announce: func() {
			s.metrics.confirmed.Add(float64(done.Confirmed))
			for i, shard := range done.Shards {
				s.publishChange(shard, done.Indexes[i])
			}
		},
	}, confirmBytesMax/4)
}

func (s *Service) handleVoid(in bus.Incoming) {
	q, err := decode[api.VoidRequest](in)
	if err != nil {
		s.refuse(in, err)
		return
	}
	var a api.VoidAnswer
	s.enqueueAnnounced(&updateJob{in: in, deadline: time.Now().Add(s.cfg.Patience),
		apply:  func(t kv.Txn) (err error) { a, err = s.core.Void(t, q); return err },
		answer: func() error { return in.ReplyJSON(a, nil) },
		announce: func() {
			s.deps.Logger.Warn("record voided by an operator", "table", q.Table, "txid", a.First, "last", a.Last,
				"rows", a.Rows)
			s.publishChange(api.Shard(q.Table, s.core.Shards), q.Index)
		},
	}, writeCost)
}

func (s *Service) enqueueAnnounced(job *updateJob, cost int) {
	if !s.updates.add(job, cost) {
		s.overloaded(job.in)
	}
}

// publishChange says that a record of a log is no longer pending. The log's head is not read for it, which would make
// this transaction collide with every commit.
func (s *Service) publishChange(shard int, index uint64) {
	s.publish(s.deps.Subjects.Commits(shard), fmt.Appendf(nil, "0 %d", index))
}
