package sequencer

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// commitJob is a commit request that waits for its transaction.
type commitJob struct {
	in      bus.Incoming
	request *Request
	arrived time.Time
}

func (s *Service) handleCommit(shard int) bus.Handler {
	return func(in bus.Incoming) {
		r, err := s.core.ParseRequest(in.Data(), shard)
		if err != nil {
			s.refuse(in, err)
			return
		}
		job := &commitJob{in: in, request: r, arrived: time.Now()}
		if !s.commits[shard].add(job, r.Size+writeCost*r.Writes) {
			s.overloaded(in)
		}
	}
}

// commit decides the requests that have gathered, in one transaction. One whose outcome is unknown is run again
// unchanged (their identities make that harmless) for as long as its requests have patience.
func (s *Service) commit(ctx context.Context, shard int, jobs []*commitJob) {
	start := time.Now()
	for wait := retryFirst; len(jobs) > 0; wait = min(2*wait, retryMax) {
		committed, err := s.transact(ctx, shard, jobs)
		if err == nil {
			s.metrics.commit.Observe(time.Since(start).Seconds())
			s.answer(shard, jobs, committed)
			return
		}
		if !again(err) || ctx.Err() != nil {
			s.giveUp(ctx, shard, jobs, err)
			return
		}
		s.deps.Logger.Warn("commit is tried again", "shard", shard, "requests", len(jobs), "error", err)
		jobs = s.patient(jobs, err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (s *Service) transact(ctx context.Context, shard int, jobs []*commitJob) (committed Committed, err error) {
	requests, groups, writes := make([]*Request, len(jobs)), 0, 0
	for i, j := range jobs {
		requests[i] = j.request
		groups += len(j.request.Groups)
		writes += j.request.Writes
	}
	s.metrics.requests.Observe(float64(len(jobs)))
	s.metrics.groups.Observe(float64(groups))
	s.metrics.writes.Observe(float64(writes))
	runs := 0
	err = s.deps.Store.Update(ctx, func(t kv.Txn) (err error) {
		if runs++; runs > 1 {
			s.metrics.conflicts.Inc()
		}
		committed, err = s.core.Commit(t, shard, requests)
		return err
	})
	if errors.Is(err, kv.ErrUnknown) {
		s.metrics.unknown.Inc()
	}
	return committed, err
}

func (s *Service) answer(shard int, jobs []*commitJob, committed Committed) {
	now := time.Now()
	for i, j := range jobs {
		s.metrics.request.Observe(now.Sub(j.arrived).Seconds())
		if r := &committed.Results[i]; r.Err != nil {
			s.deps.Logger.Warn("commit refused", "node", j.request.Node, "epoch", j.request.Epoch, "error", r.Err)
			s.refuse(j.in, r.Err)
		} else if j.in.Wants() {
			s.send(j.in.Reply(api.AppendCommitAnswer(nil, r.Answers), nil))
		}
	}
	s.metrics.answered(committed.Results)
	if committed.Grew() {
		s.tails[shard].add(committed.Head, committed.records)
		s.publishHead(shard, committed.Head)
	}
}

// giveUp deals with a transaction that another try will not help. If it held several requests, each half is tried
// alone: one that is too large, or whose table's records are damaged, must not harm the others.
func (s *Service) giveUp(ctx context.Context, shard int, jobs []*commitJob, err error) {
	if len(jobs) > 1 && ctx.Err() == nil && !errors.Is(err, kv.ErrFailed) {
		s.commit(ctx, shard, jobs[:len(jobs)/2])
		s.commit(ctx, shard, jobs[len(jobs)/2:])
		return
	}
	s.deps.Logger.Error("commit failed", "shard", shard, "requests", len(jobs), "error", err)
	for _, j := range jobs {
		s.refuse(j.in, storeError(err))
	}
	s.failed(err)
}

// patient answers the requests whose patience has ended, and returns the others.
func (s *Service) patient(jobs []*commitJob, err error) []*commitJob {
	left := jobs[:0]
	for _, j := range jobs {
		if time.Since(j.arrived) < s.cfg.Patience {
			left = append(left, j)
			continue
		}
		s.refuse(j.in, storeError(err))
	}
	return left
}
