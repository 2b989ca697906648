package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/producer"
)

// start takes a write in. finish sends it and returns its answer; it must be called. If the write outlives ctx, only
// the taking in ends with it.
func (c *Client) start(ctx context.Context, w *write, outlives bool) (finish func() (Result, error), err error) {
	var n *numbers
	if w.numbered() {
		n = c.numbers
	}
	sending, id, leave, err := c.admit(ctx, w.size(), n, w.table, outlives)
	if err != nil {
		c.metrics.refused(err)
		return nil, err
	}
	w.identity = id
	return func() (r Result, err error) {
		defer leave()
		began := time.Now()
		r, err = c.deliver(sending, w)
		if err != nil && w.numbered() {
			err = c.numbers.refused(w.identity, err)
		}
		err = c.public(sending, err)
		c.metrics.ended(began, r.Rows, err)
		return r, err
	}, nil
}

// admit makes a write open: its bytes are counted, and it gets a number of n if that is not nil. sending is the context
// to send it under. release ends it: whoever waited for it has its answer.
func (c *Client) admit(
	ctx context.Context, size int64, n *numbers, table string, outlives bool,
) (sending context.Context, id identity, release func(), err error) {
	base := ctx
	if outlives {
		base = context.WithoutCancel(ctx)
	}
	sending, open, err := c.open.enter(base)
	if err != nil {
		return nil, id, nil, err
	}
	ctx, stop := alsoUntil(ctx, sending)
	defer stop()
	if err := c.memory.enter(ctx, size); err != nil {
		c.open.leave(open)
		return nil, id, nil, err
	}
	leave := func() { c.memory.leave(size); c.open.leave(open) }
	if n == nil {
		return sending, id, leave, nil
	}
	if id, err = n.begin(ctx, table); err != nil {
		leave()
		return nil, id, nil, err
	}
	return sending, id, func() { n.end(id); leave() }, nil
}

// alsoUntil returns a context that ends with either.
func alsoUntil(ctx, other context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() { stop(); cancel(nil) }
}

// deliver sends a write along its route until an answer is definite, ctx ends or the client closes. The error is still
// one of the wire: for public, when whoever numbered the write has seen what it says of its registration.
func (c *Client) deliver(ctx context.Context, w *write) (Result, error) {
	if w.opts.key != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, keyedRetry)
		defer cancel()
	}
	attempt := c.throughGateway
	if direct, _ := w.opts.route.split(); direct {
		attempt = c.directly
		if w.group == nil {
			var err error
			if w.group, err = c.Table(w.table).Prepare(ctx, w.payload); err != nil {
				return Result{}, err
			}
		}
	}
	send, done, err := attempt(ctx, w)
	if err != nil {
		return Result{}, err
	}
	defer done()
	var result Result
	flight := producer.Flight{Once: w.opts.anonymous}
	err = c.pursue(ctx, &flight, func(ctx context.Context) (err error) {
		result, err = send(ctx)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return result, nil
}

// public turns the end of a write into an error of this package.
func (c *Client) public(ctx context.Context, err error) error {
	err = public(err)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrClosed) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// send makes one attempt.
type send func(context.Context) (Result, error)

// throughGateway sends to a gateway: all attempts are the same bytes under the same headers.
func (c *Client) throughGateway(ctx context.Context, w *write) (send, func(), error) {
	_, primary := w.opts.route.split()
	header := w.header()
	c.traced(ctx, header)
	size := int64(len(w.payload.Data))
	gate := c.primaries.gate(primary)
	if err := gate.enter(ctx, size); err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (Result, error) {
		subject := c.subjects.IngestTable(w.table)
		if to := c.primaries.through(primary); to != "" {
			subject = c.subjects.PrimaryIngestTable(to, w.table)
		}
		request := func(ctx context.Context) (Result, error) {
			msg, err := bus.Request(ctx, c.nc, subject, header, w.payload.Data)
			if err != nil {
				return Result{}, err
			}
			return parseAnswer(w.table, msg.Data)
		}
		if w.opts.anonymous { // which has no copies
			return request(ctx)
		}
		result, err := impatiently(ctx, c, request)
		if api.IsName(err, api.Unavailable) {
			primary = "" // gateways hear of a death before the topology does
		}
		return result, err
	}, func() { gate.leave(size) }, nil
}

// traced puts the trace context into a message's header, without touching what is there.
func (c *Client) traced(ctx context.Context, h nats.Header) {
	if c.opts.trace == nil {
		return
	}
	c.opts.trace(ctx, func(key, value string) {
		if _, taken := h[key]; !taken {
			h[key] = []string{value}
		}
	})
}

// failed tells of a write that no call waits for.
func (c *Client) failed(e *WriteError) {
	if c.opts.onError != nil {
		c.opts.onError(e)
		return
	}
	c.opts.logger.Error("a write that nobody waited for failed", "table", e.Table, "error", e.Err)
}

// own returns a payload that the caller of WriteAsync cannot change any more.
func (p Payload) own(rows Rows) Payload {
	switch rows.(type) {
	case *Prepared, batched: // encoded for this write, or immutable
	default:
		p.Data = bytes.Clone(p.Data)
	}
	return p
}
