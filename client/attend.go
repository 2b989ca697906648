package client

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/topology"
)

// attendInterval is how often attempts are looked at that are under way, probeTimeout how long a primary has to say that
// it is there.
const (
	attendInterval = 50 * time.Millisecond
	probeTimeout   = 300 * time.Millisecond
)

// attended is an attempt under way at one process of a primary.
type attended struct {
	primary string
	epoch   uint64
	begun   time.Time
	unheard time.Time // when it began, if the topology alone named the primary; zero: it had been heard
	cancel  func()
}

// attend bounds an attempt by the time for which an answer can be expected: when its primary has fallen silent, was
// declared dead or replaced, or cannot take writes while another one can, ctx ends, and the same bytes go elsewhere under
// the same identity. The attempt's own time, which is for answers that take long, would be over much later. done must be
// called.
func (p *primaries) attend(ctx context.Context, primary string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a := &attended{primary: primary, begun: now, cancel: cancel}
	if c, heard := p.view.Candidate(primary, now); heard {
		a.epoch = c.Epoch
	} else {
		n, _ := p.view.Node(primary)
		a.epoch, a.unheard = n.Epoch, now
	}
	p.attempts[a] = struct{}{}
	return ctx, func() {
		p.mu.Lock()
		delete(p.attempts, a)
		p.mu.Unlock()
		cancel()
	}
}

// sweep ends the attempts that will not be answered, and returns the primaries that are to be asked whether they are
// there, because their answers are late.
func (p *primaries) sweep(now time.Time) (ask []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveUp(now)
	for a := range p.attempts {
		if p.view.Ask(a.primary, a.begun, now) {
			ask = append(ask, a.primary)
		}
	}
	return ask
}

// tried takes what asking a primary something says of it: that it lives, or that nobody listens there. Then everything
// that is under way there goes elsewhere at once.
func (p *primaries) tried(primary string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch refusal := new(api.Error); {
	case errors.Is(err, bus.ErrNoResponders):
		p.view.NoResponders(primary)
		p.giveUp(time.Now())
	case err == nil || errors.As(err, &refusal):
		p.view.Answered(primary, time.Now())
	}
}

// giveUp ends the attempts that will not be answered. It is called with mu held.
func (p *primaries) giveUp(now time.Time) {
	outdone := make(map[string]bool) // thousands of attempts, a few primaries
	for a := range p.attempts {
		if _, seen := outdone[a.primary]; !seen {
			outdone[a.primary] = p.view.Outdone(a.primary, now) != ""
		}
		if outdone[a.primary] || !p.view.Answers(a.primary, a.epoch, now) && !p.early(a, now) {
			a.cancel()
		}
	}
}

// early says that it means nothing yet that an attempt's primary is not heard: it was not when the attempt began, as
// after Connect, and there has been no time for it, or no other primary is heard either. It is called with mu held.
func (p *primaries) early(a *attended, now time.Time) bool {
	return !a.unheard.IsZero() && (now.Sub(a.unheard) < topology.HeartbeatMax || len(p.view.Candidates(now)) == 0)
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
