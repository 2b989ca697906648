package client

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// attendInterval is how often attempts are looked at that are under way, probeTimeout how long a primary has to say that
// it is there.
const (
	attendInterval = 50 * time.Millisecond
	probeTimeout   = 300 * time.Millisecond
)

// attend bounds an attempt by the time for which an answer can be expected: when its primary has fallen silent, was
// declared dead or replaced, or cannot take writes while another one can, ctx ends, and the same bytes go elsewhere under
// the same identity. The attempt's own time, which is for answers that take long, would be over much later. done must be
// called.
func (p *primaries) attend(ctx context.Context, primary string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	open := p.open.BeginAt(p.view, primary, time.Now(), cancel)
	return ctx, func() {
		p.mu.Lock()
		p.open.End(open)
		p.mu.Unlock()
		cancel()
	}
}

// sweep ends the attempts that will not be answered, and returns the primaries that are to be asked whether they are
// there, because their answers are late.
func (p *primaries) sweep(now time.Time) (ask []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open.GiveUp(p.view, now)
	return p.open.Ask(p.view, now)
}

// tried takes what asking a primary something says of it: that it lives, or that nobody listens there. Then everything
// that is under way there goes elsewhere at once.
func (p *primaries) tried(primary string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch refusal := new(api.Error); {
	case errors.Is(err, bus.ErrNoResponders):
		p.view.NoResponders(primary)
		p.open.GiveUp(p.view, time.Now())
	case err == nil || errors.As(err, &refusal):
		p.view.Answered(primary, time.Now())
	}
}

// attend is primaries.attend, looked after from the first attempt on.
func (c *Client) attend(ctx context.Context, primary string) (context.Context, func()) {
	c.attending.Do(func() { c.spawn(c.sweepAttempts) })
	return c.primaries.attend(ctx, primary)
}

// sweepAttempts looks at the attempts at primaries until the client closes.
func (c *Client) sweepAttempts() {
	every := time.NewTicker(attendInterval)
	defer every.Stop()
	for {
		select {
		case <-c.closed:
			return
		case now := <-every.C:
			for _, id := range c.primaries.sweep(now) {
				c.spawn(func() { c.probe(id) })
			}
		}
	}
}

// probe asks a primary whether it is there, by a message without a group.
func (c *Client) probe(primary string) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	_, err := bus.Request(ctx, c.nc, c.subjects.PrimaryWrite(primary), nil, nil)
	c.primaries.tried(primary, err)
}
