package hold

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/segment"
)

// strays says when the list of pending records is gone through for those of fenced epochs. Whoever finds such a segment
// in the object store, or in a file of its own, settles it: its primary will not.
type strays struct {
	wanted  bool // something has happened that may have made some
	running bool
	last    time.Duration
	left    int // the last round left some
}

// straysEvery is the pause between two rounds while tables stand at pending records.
const straysEvery = 2 * time.Second

func (k *Keeper) tickStrays(now time.Duration) {
	k.mu.Lock()
	s := &k.strays
	begin := !s.running && (s.wanted || now-s.last >= straysEvery && (s.left > 0 || k.deps.Stands != nil && k.deps.Stands()))
	if begin {
		s.running, s.wanted = true, false
	}
	k.mu.Unlock()
	if !begin {
		return
	}
	k.spawn(func(ctx context.Context) {
		left, err := k.gather(ctx)
		if err != nil && ctx.Err() == nil {
			k.metrics.failed.WithLabelValues("settle").Inc()
			k.log.Warn("pending records of fenced epochs are looked for again", "error", err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		s.running, s.last, s.left = false, k.now(), left
		if err != nil {
			s.left++
		}
	})
}

// gather goes once through the pending records of fenced epochs, and returns how many segments of them remain.
func (k *Keeper) gather(ctx context.Context) (left int, err error) {
	q := api.PendingRequest{Fenced: true, Limit: 1000}
	var last api.SegmentID
	for {
		page, err := k.pending(ctx, q)
		if err != nil {
			return left, err
		}
		for i := range page.Records {
			id := page.Records[i].Segment
			if id == last || k.holds(id) {
				continue // a copy is looked after by itself
			}
			last = id
			answer, err := k.settleStray(ctx, id)
			if ctx.Err() != nil {
				return left, ctx.Err()
			}
			if err != nil {
				k.log.Debug("stray segment", "segment", id.String(), "error", err)
			}
			if !answer.Stored {
				left++
			}
		}
		if q.After = page.Next; q.After == nil {
			return left, nil
		}
	}
}

func (k *Keeper) pending(ctx context.Context, q api.PendingRequest) (api.PendingAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return k.deps.Sequencer.Pending(ctx, q)
}

// holds says whether there is a copy that is looked after, and has it looked at soon.
func (k *Keeper) holds(id api.SegmentID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.core.held[id]
	return h != nil && h.whole
}

// settleStray confirms a segment that is in the object store, or brings it there from this node's own file of it: its
// own segment of an earlier process, or one that it fetched.
func (k *Keeper) settleStray(ctx context.Context, id api.SegmentID) (answer api.HoldSettleAnswer, err error) {
	f, err := k.find(ctx, id, -1)
	if err != nil {
		return answer, err
	}
	own := segment.Path(k.cfg.SegmentsDir, id)
	if _, err := k.examine(own, id); err == nil {
		answer.Held = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		k.log.Error("own segment is damaged", "segment", id.String(), "error", err)
	}
	switch {
	case f.unknown:
		return answer, errors.New("the object store does not answer")
	case !f.stored && (!answer.Held || len(f.Unconfirmed) == 0):
		return answer, nil
	}
	answer.Confirmed, err = k.settle(ctx, id, own, false, f)
	answer.Stored = err == nil
	return answer, err
}

// settleNow answers an operator who wants to know whether a segment can still be had.
func (k *Keeper) settleNow(ctx context.Context, id api.SegmentID, from Replier) {
	k.mu.Lock()
	copied := k.core.held[id] != nil && k.core.held[id].whole
	h, free := k.core.drop(id)
	k.mu.Unlock()
	var answer api.HoldSettleAnswer
	var err error
	switch {
	case free:
		answer, err = k.look(ctx, h, true)
	case copied:
		err = api.OverloadedError(retryAfterMS, "segment %s is being worked on", id)
	default:
		answer, err = k.settleStray(ctx, id)
	}
	if err != nil {
		k.refuse(from, api.AsError(err))
		return
	}
	k.reply(from, answer)
}
