package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Run delivers what is on the disk and what is added until ctx ends, and returns when everything that it has started
// has ended. nil means that it was asked to stop; otherwise the error is ErrFenced, ErrBroken, ErrCorrupt or ErrClosed,
// and Add returns it, too.
func (b *Box) Run(ctx context.Context) error {
	b.start(b.flush)
	if b.deps.Report != nil {
		b.start(b.report)
	} else if n := b.State().Refused; n > 0 {
		b.deps.Logger.Warn("writes that could not be delivered wait for the application to take them back",
			"folder", b.cfg.Dir, "writes", n)
	}
	for ctx.Err() == nil && b.ended() == nil {
		if renew, ok := b.register(ctx); ok && b.registered(ctx, renew) {
			b.pause(ctx) // a cluster that forgets at once must not be asked without end
		}
	}
	b.end(ErrClosed)
	b.mu.Lock()
	for b.tasks > 0 {
		b.waitLocked(context.WithoutCancel(ctx), forever)
	}
	err := b.err
	b.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (b *Box) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// start runs a task that ends soon after the Box has.
func (b *Box) start(task func(context.Context)) {
	b.mu.Lock()
	b.tasks++
	b.mu.Unlock()
	b.deps.Go(func(ctx context.Context) {
		task(ctx)
		b.mu.Lock()
		b.tasks--
		b.changedLocked()
		b.mu.Unlock()
	})
}

// register begins a registration and writes its epoch down, before anything is sent under it. It says how often to
// renew, and tries until ctx or the Box ends.
func (b *Box) register(ctx context.Context) (renew time.Duration, ok bool) {
	s := b.State()
	request := api.RegisterProducerRequest{ID: s.Producer, Attempt: b.deps.NewID(), Last: s.Epoch}
	answer, err := b.deps.Register(ctx, request)
	for err != nil {
		if ctx.Err() != nil || b.ended() != nil {
			return 0, false
		}
		b.deps.Logger.Warn("producer not registered, it is tried again", "producer", s.Producer, "error", err)
		b.pause(ctx)
		answer, err = b.deps.Register(ctx, request)
	}
	if answer.Epoch >= 1<<32 {
		b.end(fmt.Errorf("producer %s: epoch %d is too large to number writes under it", s.Producer, answer.Epoch))
		return 0, false
	}
	b.mu.Lock()
	sent := b.c.numbered()
	b.mu.Unlock()
	if err := b.put(ctx, epochRecord{Epoch: answer.Epoch, Known: answer.Known}); err != nil {
		return 0, false
	}
	if !answer.Known {
		outcomes := make([]Outcome, len(sent))
		for i := range outcomes {
			outcomes[i].Refusal = &forgotten
		}
		b.tell(sent, outcomes)
	}
	return max(time.Duration(answer.RenewSeconds)*time.Second, time.Second), true
}

// pause waits before something is tried again.
func (b *Box) pause(ctx context.Context) {
	until := b.deps.Now().Add(b.cfg.Pause)
	b.mu.Lock()
	for b.err == nil && ctx.Err() == nil && b.deps.Now().Before(until) {
		b.waitLocked(ctx, until.Sub(b.deps.Now()))
	}
	b.mu.Unlock()
}

// registered has tables delivered until the registration is gone, the Box has ended, or ctx; and then waits for those
// that are under way.
func (b *Box) registered(ctx context.Context, renew time.Duration) (lost bool) {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	gone := false // guarded by b.mu
	lose := func(err error) {
		switch {
		case api.IsName(err, api.Fenced):
			b.end(fmt.Errorf("%w: %w", ErrFenced, err))
		default:
			b.deps.Logger.Warn("the registration is gone", "error", err)
		}
		b.mu.Lock()
		gone = true
		b.changedLocked()
		b.mu.Unlock()
		stop()
	}
	next := b.deps.Now().Add(renew)
	b.mu.Lock()
	for b.err == nil && !gone && ctx.Err() == nil && !b.c.spent() {
		if now := b.deps.Now(); !now.Before(next) {
			next = now.Add(renew)
			b.mu.Unlock()
			b.start(func(context.Context) { b.renew(sending, lose) })
			b.mu.Lock()
			continue
		}
		if table, ok := b.nextLocked(); ok {
			b.mu.Unlock()
			b.start(func(context.Context) { b.deliver(sending, table, lose) })
			b.mu.Lock()
			continue
		}
		b.waitLocked(ctx, next.Sub(b.deps.Now()))
	}
	b.mu.Unlock()
	stop()
	b.mu.Lock()
	for b.running > 0 {
		b.waitLocked(context.WithoutCancel(ctx), forever)
	}
	lost = gone
	b.mu.Unlock()
	return lost
}

// nextLocked claims a table to deliver.
func (b *Box) nextLocked() (table string, ok bool) {
	for b.running < b.cfg.Tables && len(b.ready) > 0 {
		table, b.ready = b.ready[0], b.ready[1:]
		q := b.c.tables[table]
		if q == nil {
			continue
		}
		if q.ready = false; q.busy {
			continue // it is moved; whoever does calls releaseLocked
		}
		q.busy = true
		b.running++
		return table, true
	}
	return "", false
}

// releaseLocked gives a table free.
func (b *Box) releaseLocked(table string) {
	if q := b.c.tables[table]; q != nil {
		q.busy = false
		b.c.drop(table)
		b.readyLocked(table)
	}
}

func (b *Box) renew(ctx context.Context, lose func(error)) {
	s := b.State()
	err := b.deps.Renew(ctx, api.RenewProducerRequest{ID: s.Producer, Epoch: s.Epoch})
	switch {
	case err == nil || ctx.Err() != nil:
	case api.IsName(err, api.Expired) || api.IsName(err, api.Fenced):
		lose(err)
	default: // registrations outlive many renewals
		b.deps.Logger.Warn("producer not renewed", "producer", s.Producer, "error", err)
	}
}
