package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// verdict is what one failed attempt means for the request.
type verdict int

const (
	final    verdict = iota // the answer is definite
	harmless                // nothing happened: again
	unclear                 // it may have happened: again, under the same identity only
)

// judge says what err means and how long the cluster asks to wait.
func judge(err error) (verdict, time.Duration) {
	e := new(api.Error)
	switch {
	case errors.As(err, &e):
		wait := time.Duration(e.RetryAfterMS) * time.Millisecond
		switch e.Name {
		case api.Overloaded:
			return harmless, wait
		case api.Unavailable:
			return unclear, wait
		}
		return final, 0
	case errors.Is(err, bus.ErrNoResponders):
		return harmless, 0
	case errors.Is(err, bus.ErrUnknown):
		return unclear, 0
	}
	return final, 0
}

// Backoff of attempts that fail at once, as they do while a service restarts.
const (
	backoffMin = 2 * time.Millisecond
	backoffMax = 500 * time.Millisecond
)

// backoff is the pause after the given number of failed attempts, from 1; jitter is in [0, 1).
func backoff(attempt int, asked time.Duration, jitter float64) time.Duration {
	pause := backoffMax
	if attempt < 10 {
		pause = min(backoffMin<<attempt, backoffMax)
	}
	pause = max(pause, asked)
	return pause/2 + time.Duration(jitter*float64(pause))
}

// retry makes attempts until one succeeds, one fails for good, ctx ends or the client closes. Each attempt is bounded
// by the attempt timeout. The error is the one of the last attempt, as public can classify it; if any attempt may
// have had its effect without a definite answer, errors.Is finds bus.ErrUnknown in it.
func (c *Client) retry(ctx context.Context, attempt func(context.Context) error) error {
	return c.retrying(ctx, attempt, final)
}

// retrying is retry that gives up at verdicts that are not safe: with stopAt unclear, an attempt that may have had
// its effect is the last one.
func (c *Client) retrying(ctx context.Context, attempt func(context.Context) error, stopAt verdict) error {
	mayHaveHappened := false
	for n := 1; ; n++ {
		one, cancel := context.WithTimeout(ctx, c.opts.attemptTimeout)
		err := attempt(one)
		cancel()
		if err == nil {
			return nil
		}
		v, asked := judge(err)
		if v == final {
			return err
		}
		mayHaveHappened = mayHaveHappened || v == unclear
		if v == unclear && stopAt == unclear || !c.pause(ctx, backoff(n, asked, rand.Float64())) {
			if mayHaveHappened && !errors.Is(err, bus.ErrUnknown) {
				err = fmt.Errorf("%w: %w", bus.ErrUnknown, err)
			}
			return err
		}
		if c.opts.onRetry != nil {
			c.opts.onRetry(public(err))
		}
	}
}

// pause waits, and reports whether it is worth going on.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.closed:
	}
	return false
}
