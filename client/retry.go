package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/producer"
)

// judge says what the end of an attempt means and how long the cluster asks to wait.
func judge(err error) (producer.Verdict, time.Duration) {
	e := new(api.Error)
	switch {
	case errors.As(err, &e):
		return producer.Judge(e)
	case errors.Is(err, bus.ErrNoResponders):
		return producer.Harmless, 0
	case errors.Is(err, bus.ErrUnknown):
		return producer.Unclear, 0
	}
	return producer.Final, 0
}

// retry makes attempts until one succeeds, one fails for good, ctx ends or the client closes.
func (c *Client) retry(ctx context.Context, attempt func(context.Context) error) error {
	return c.pursue(ctx, new(producer.Flight), attempt)
}

// pursue is retry of a write, which goes on as long as its flight says so. Each attempt is bounded by the attempt
// timeout. The error is the one of the last attempt, as public can classify it; if any attempt may have had its effect
// without a definite answer, errors.Is finds bus.ErrUnknown in it.
func (c *Client) pursue(ctx context.Context, f *producer.Flight, attempt func(context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, c.opts.attemptTimeout)
		err := attempt(one)
		cancel()
		if err == nil {
			return nil
		}
		v, asked := judge(err)
		if v == producer.Final {
			return err
		}
		pause, again := f.Failed(v, asked, rand.Float64())
		if !again || !c.pause(ctx, pause) {
			if f.Maybe() && !errors.Is(err, bus.ErrUnknown) {
				err = fmt.Errorf("%w: %w", bus.ErrUnknown, err)
			}
			return err
		}
		c.again(err)
	}
}

// again counts an attempt that did not end with err, or not yet, and after which another is made.
func (c *Client) again(err error) {
	c.metrics.again()
	if c.opts.onRetry != nil {
		c.opts.onRetry(public(err))
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
