package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// windowMax is below api.AnswersMax, because the cluster may count a repeat that it has not settled yet.
const windowMax = api.AnswersMax - 24

// producer is one registration: an id, its epoch, and the numbers given under it.
type producer struct {
	id    string
	epoch uint64

	mu      sync.Mutex
	numbers numbers
	moved   chan struct{} // closed when a window moves; nil while nobody waits
	// lost says that the cluster does not know the registration any more: new writes need another one.
	lost bool
}

// begin gives a write its identity, and waits while the table's window is full.
func (p *producer) begin(ctx context.Context, table string) (api.ProducerSeq, error) {
	for {
		p.mu.Lock()
		sequence, settled, ok := p.numbers.take(table, windowMax)
		if ok {
			p.mu.Unlock()
			return api.ProducerSeq{Producer: p.id, Epoch: p.epoch, Sequence: sequence, Settled: settled}, nil
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return api.ProducerSeq{}, fmt.Errorf("%w: %d writes to table %s are open: %w",
				ErrOverloaded, windowMax, table, context.Cause(ctx))
		}
	}
}

// end gives the write's place in the window free.
func (p *producer) end(table string, sequence uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.numbers.done(table, sequence) && p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

func (p *producer) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = true
}

func (p *producer) isLost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// identity hands out registrations: one for writes to one table and one for requests of many tables, whose sequences
// hold in every table that they name and so must not be mixed with the others.
type identity struct {
	lock    chan struct{} // holds one token; a mutex that a context can leave
	current *producer
}

func newIdentity() identity {
	i := identity{lock: make(chan struct{}, 1)}
	i.lock <- struct{}{}
	return i
}

// registered returns the client's producer, registering one if there is none or the cluster has forgotten it.
func (c *Client) registered(ctx context.Context, i *identity) (*producer, error) {
	select {
	case <-i.lock:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: register a producer: %w", ErrUnavailable, context.Cause(ctx))
	}
	defer func() { i.lock <- struct{}{} }()
	if i.current != nil && !i.current.isLost() {
		return i.current, nil
	}
	p, err := c.register(ctx)
	if err != nil {
		return nil, err
	}
	i.current = p
	return p, nil
}

func (c *Client) register(ctx context.Context) (*producer, error) {
	request := api.RegisterProducerRequest{ID: "c-" + rand.Text(), Attempt: rand.Text()}
	var answer api.RegisterProducerAnswer
	err := c.retry(ctx, func(ctx context.Context) error {
		var err error
		answer, err = c.sequencer.RegisterProducer(ctx, request)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register a producer: %w", public(err))
	}
	p := &producer{id: request.ID, epoch: answer.Epoch}
	every := time.Duration(answer.RenewSeconds) * time.Second
	if every <= 0 {
		every = time.Hour
	}
	if !c.spawn(func() { c.renew(p, every) }) {
		return nil, ErrClosed
	}
	return p, nil
}

// renew keeps the registration alive until the client closes or the cluster has forgotten it. A renewal that fails
// is tried again soon: registrations outlive many renewals.
func (c *Client) renew(p *producer, every time.Duration) {
	for wait := every; ; {
		select {
		case <-c.closed:
			return
		case <-time.After(wait):
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.attemptTimeout)
		err := c.sequencer.RenewProducer(ctx, api.RenewProducerRequest{ID: p.id, Epoch: p.epoch})
		cancel()
		wait = every
		switch {
		case err == nil:
		case api.IsName(err, api.Expired), api.IsName(err, api.Fenced):
			p.lose()
			return
		default:
			wait = min(every, 10*time.Second)
			c.opts.logger.Warn("producer not renewed", "producer", p.id, "error", err)
		}
	}
}

// asks is the part of the sequencer that the client uses.
type asks interface {
	RegisterProducer(context.Context, api.RegisterProducerRequest) (api.RegisterProducerAnswer, error)
	RenewProducer(context.Context, api.RenewProducerRequest) error
	Schema(context.Context, api.SchemaRequest) (api.SchemaAnswer, error)
	Tables(context.Context, api.TablesRequest) (api.TablesAnswer, error)
	Topology(context.Context) (api.Topology, error)
}

var _ asks = (*bus.Sequencer)(nil)
