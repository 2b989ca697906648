package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/producer"
)

// A gateway that is stopped, or cut off from NATS, still gets its share of the requests to the cluster's address, and
// nobody can tell its silence from slowness. So of a write that has had no answer for a while a copy is sent, under its
// identity, to whichever gateway NATS picks, and the first answer to any of them counts. Where the whole cluster is
// slow copies only make it slower; hence
//   - the while is what TCP takes for a lost packet (RFC 6298): as long as answers have taken lately, and four times
//     their deviation, but patienceMin at least; it grows with each copy;
//   - and there is a budget, as in "The Tail at Scale" (Dean and Barroso, 2013): of a small share of the answered
//     writes a copy may be sent. What is over it waits for the attempt's timeout.
const (
	patienceMin    = 500 * time.Millisecond
	patienceGrowth = 1.5
	copyShare      = 0.02 // of the answered writes
	copiesMax      = 32   // that may be saved up
)

// patience is what a client's writes through gateways share. It is safe for concurrent use.
type patience struct {
	mu        sync.Mutex
	saved     float64 // copies that may be sent
	smoothed  time.Duration
	deviation time.Duration
}

func newPatience() *patience { return &patience{saved: copiesMax} }

// now is how long a write waits for an answer that is sent now.
func (p *patience) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(patienceMin, p.smoothed+4*p.deviation)
}

// answered takes how long an answer took.
func (p *patience) answered(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved = min(p.saved+copyShare, copiesMax)
	if p.smoothed == 0 {
		p.smoothed, p.deviation = took, took/2
		return
	}
	p.deviation += ((took - p.smoothed).Abs() - p.deviation) / 4
	p.smoothed += (took - p.smoothed) / 8
}

// spend says whether one more copy may be sent.
func (p *patience) spend() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.saved < 1 {
		return false
	}
	p.saved--
	return true
}

// impatiently makes one attempt at a write through a gateway: request, and copies of it while its answer is late. The
// first answer that is definite counts; the attempt has failed when all of them have. When it returns, none is made any
// more: the rows are the caller's again.
func impatiently[T any](ctx context.Context, c *Client, request func(context.Context) (T, error)) (T, error) {
	ctx, end := context.WithCancel(ctx)
	r := &race[T]{c: c, request: request, end: end, wait: c.patience.now(), open: 1}
	r.mu.Lock()
	r.late = time.AfterFunc(r.wait, func() { r.another(ctx) })
	r.mu.Unlock()
	r.run(ctx)
	<-ctx.Done()
	r.late.Stop()
	r.copies.Wait()
	return r.answer, r.err
}

// race is one attempt: a request and its copies.
type race[T any] struct {
	c       *Client
	request func(context.Context) (T, error)
	end     func() // of all of them: called when answer and err are what came of it
	copies  sync.WaitGroup

	mu     sync.Mutex
	late   *time.Timer
	wait   time.Duration // what late is set to
	open   int
	over   bool
	answer T
	err    error
}

// run makes one request of the race.
func (r *race[T]) run(ctx context.Context) {
	began := time.Now()
	answer, err := r.request(ctx)
	verdict, _ := judge(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	switch {
	case r.over:
		return
	case verdict == producer.Final:
		r.c.patience.answered(time.Since(began))
		r.answer, r.err, r.over = answer, err, true
	case r.err == nil || verdict == producer.Unclear: // the other may have had its effect
		r.err = err
	}
	if r.over = r.over || r.open == 0; r.over {
		r.end()
	}
}

// another sends a copy, if the budget allows it.
func (r *race[T]) another(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	silence := r.wait
	r.wait = time.Duration(patienceGrowth * float64(r.wait))
	r.late.Reset(r.wait)
	if r.c.patience.spend() {
		r.open++
		r.copies.Go(func() {
			r.c.again(fmt.Errorf("%w: no answer for %s", bus.ErrUnknown, silence))
			r.run(ctx)
		})
	}
}
