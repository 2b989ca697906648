package hold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// Bounds of one request; the put's is long, because one that is given up may still arrive.
const (
	askTimeout = 5 * time.Second
	putTimeout = 30 * time.Second
)

// Tick looks after what is due, beside the caller.
func (k *Keeper) Tick() {
	k.mu.Lock()
	now := k.now()
	due := k.core.take(now, looksMax-k.looking)
	k.looking += len(due)
	old := k.core.stale(now)
	k.mu.Unlock()
	for _, h := range due {
		k.spawn(func(ctx context.Context) {
			k.look(ctx, h, false)
			k.mu.Lock()
			k.looking--
			k.show()
			k.mu.Unlock()
		})
	}
	if len(old) > 0 {
		k.spawn(func(context.Context) {
			for _, h := range old {
				k.abandon(h)
			}
		})
	}
	k.tickStrays(now)
}

// Topology has the copies of segments looked at whose epoch is over.
func (k *Keeper) Topology(t *api.Topology) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.core.fenced(k.now(), t)
	k.strays.wanted = true
}

// find looks up what has become of a segment. The registry comes first: what it says of a fenced epoch stays true.
func (k *Keeper) find(ctx context.Context, id api.SegmentID, size int64) (f finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if f.SegmentStateAnswer, err = k.deps.Sequencer.SegmentState(ctx, id); err != nil {
		return f, fmt.Errorf("ask for the state of segment %s: %w", id, err)
	}
	info, err := k.deps.Objects.Stat(ctx, id.Key())
	switch {
	case err == nil && (size < 0 || info.Size == size):
		f.stored = true
	case err == nil:
		return f, fmt.Errorf("segment %s has %d bytes here, its object has %d", id, size, info.Size)
	case !errors.Is(err, objstore.ErrNotFound):
		f.unknown = true
		k.log.Debug("object store not reached", "segment", id.String(), "error", err)
	}
	return f, nil
}

// look decides about a copy, which is busy, and does what was decided. It says whether the object store has the segment
// in the end, and how many records this node has confirmed.
func (k *Keeper) look(ctx context.Context, h *held, asked bool) (answer api.HoldSettleAnswer, err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			k.metrics.failed.WithLabelValues("look").Inc()
			k.log.Warn("held segment stays, it is looked at again", "segment", h.id.String(), "error", err)
		}
	}()
	answer.Held = true
	f, err := k.find(ctx, h.id, h.total)
	if err != nil {
		k.stays(h)
		return answer, err
	}
	f.age, f.asked = k.now()-h.since, asked
	switch judge(f) {
	case keep:
		k.stays(h)
		if f.unknown && asked {
			return answer, errors.New("the object store does not answer")
		}
	case discard:
		return answer, k.discard(h, len(f.Voided) > 0)
	case settle:
		answer.Confirmed, err = k.settle(ctx, h.id, k.path(h.id), true, f)
		if err != nil {
			k.stays(h)
			return answer, err
		}
		answer.Stored = true
		return answer, k.release(h)
	}
	return answer, nil
}

func (k *Keeper) stays(h *held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.core.looked(k.now(), h)
}

// settle brings a segment into the object store and confirms its records, in this order. synced says that the file is
// known to be on the disk: then the object store may link it.
func (k *Keeper) settle(
	ctx context.Context, id api.SegmentID, path string, synced bool, f finding,
) (confirmed int, err error) {
	if !f.stored {
		if err := k.upload(ctx, id, path, synced); err != nil {
			return 0, err
		}
		k.metrics.uploaded.Inc()
		k.log.Info("segment of another process put into the object store", "segment", id.String(), "fenced", f.Fenced)
	}
	if len(f.Unconfirmed) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	confirmed, err = k.deps.Sequencer.Confirm(ctx, id)
	k.metrics.confirmed.Add(float64(confirmed))
	if err != nil {
		return confirmed, fmt.Errorf("confirm segment %s: %w", id, err)
	}
	return confirmed, nil
}

// upload puts a file into the object store, if every byte of it is sound.
func (k *Keeper) upload(ctx context.Context, id api.SegmentID, path string, synced bool) (err error) {
	summary, err := k.examine(path, id)
	if err != nil {
		return err
	}
	body := objstore.File(k.deps.FS, path, summary.Length, summary.CRC)
	if !synced {
		f, err := k.deps.FS.Open(path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		body = objstore.Body{Reader: io.NewSectionReader(f, 0, summary.Length), Size: summary.Length, CRC: summary.CRC}
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := k.deps.Objects.Put(ctx, id.Key(), body); err != nil {
		return fmt.Errorf("put segment %s: %w", id, err)
	}
	return nil
}

// release lets a copy go whose segment is in the object store. It becomes the node's own file of the segment, unless
// there is one.
func (k *Keeper) release(h *held) error {
	own := segment.Path(k.cfg.SegmentsDir, h.id)
	err := k.deps.FS.MkdirAll(filepath.Dir(own))
	if err == nil {
		if err = k.deps.FS.Link(k.path(h.id), own); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = k.deps.FS.Remove(k.path(h.id))
	}
	return k.let(h, goneStored, err)
}

// discard takes away a copy that nobody can come to need.
func (k *Keeper) discard(h *held, voided bool) error {
	why := goneUnneeded
	if voided {
		why = goneVoided
		k.log.Warn("held segment has rows that an operator gave up while no holder could be found; it is dropped",
			"segment", h.id.String())
	}
	return k.let(h, why, k.deps.FS.Remove(k.path(h.id)))
}

// let enters that a copy is gone, or that it could not be let go.
func (k *Keeper) let(h *held, why string, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.stays(h)
		return fmt.Errorf("let segment %s go: %w", h.id, err)
	}
	k.mu.Lock()
	k.core.gone(h)
	k.show()
	k.mu.Unlock()
	k.metrics.gone.WithLabelValues(why).Inc()
	return nil
}

// dropped takes a primary's word that a copy may go: it has the answers to all groups of the segment, and none of them
// is pending.
func (k *Keeper) dropped(id api.SegmentID, from Replier) {
	k.mu.Lock()
	h, ok := k.core.drop(id)
	k.mu.Unlock()
	if ok {
		if err := k.release(h); err != nil {
			k.metrics.failed.WithLabelValues("release").Inc()
			k.refuse(from, api.Errorf(api.Unavailable, "%v", err))
			return
		}
	}
	k.reply(from, api.HoldAnswer{})
}
