package outbox

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
)

// report gives the application back what cannot be delivered, one write at a time in the order of the ordinals, until
// it has taken each.
func (b *Box) report(ctx context.Context) {
	var r reading
	for {
		next, ok := b.nextRefused(ctx)
		if !ok {
			break
		}
		w, err := b.j.read(&r, next.at)
		if err != nil {
			b.deps.Logger.Error("the outbox has ended", "folder", b.cfg.Dir, "error", err)
			b.end(err)
			break
		}
		if err := b.deps.Report(ctx, Undelivered{w, next.refusal}); err != nil {
			b.deps.Logger.Warn("the application has not taken a write back, it is asked again",
				"table", w.Table, "error", err)
			b.reported()
			b.pause(ctx)
			continue
		}
		err = b.put(ctx, reportedRecord{[]uint64{next.ordinal}})
		b.reported()
		if err != nil {
			break
		}
	}
	if err := r.close(); err != nil {
		b.deps.Logger.Warn("outbox file not closed", "folder", b.cfg.Dir, "error", err)
	}
}

func (b *Box) nextRefused(ctx context.Context) (next refused, ok bool) {
	b.mu.Lock()
	at := -1
	for b.err == nil && ctx.Err() == nil {
		// One that is watched is told to its watcher first, who may take it.
		at = slices.IndexFunc(b.c.refused, func(r refused) bool {
			return b.watched[r.ordinal] == nil && !b.takenLocked(r.ordinal)
		})
		if at >= 0 {
			break
		}
		b.waitLocked(ctx, forever)
	}
	if ok = at >= 0 && b.err == nil && ctx.Err() == nil; ok {
		next = b.c.refused[at]
		b.reporting = next.ordinal
	}
	b.mu.Unlock()
	return next, ok
}

// takenLocked says that a write was taken back, which is on its way to the disk.
func (b *Box) takenLocked(ordinal uint64) bool {
	return slices.ContainsFunc(slices.Concat(b.control, b.writing), func(i *item) bool {
		r, ok := i.r.(reportedRecord)
		return ok && slices.Contains(r.Ordinals, ordinal)
	})
}

func (b *Box) reported() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reporting = 0
}

// Err is the refusal as an error of the wire, in the chain of which errors.Is finds ErrUnknown if the write may have
// been stored.
func (r *Refusal) Err(table string) error {
	e := api.Errorf(api.Name(r.Name), "%s", r.Message)
	e.Table, e.Line = table, r.Line
	if e.Name == api.Conflict {
		e.Expected, e.Current = &r.Expected, &r.Current
	}
	if r.Unknown {
		return errors.Join(ErrUnknown, e)
	}
	return e
}

// ErrUnknown: the write may have been stored, and nobody can tell.
var ErrUnknown = errors.New("outcome unknown")
