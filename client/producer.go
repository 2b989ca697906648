package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/producer"
)

// numbers gives writes their identities. It registers a producer when the first write needs it, and another when the
// cluster has forgotten that one.
type numbers struct {
	c      *Client
	stable string // the producer's id; "" takes a fresh one for each registration
	// registering holds one token: a mutex that a context can leave.
	registering chan struct{}

	mu         sync.Mutex     // guards what follows
	core       *producer.Core // nil before the first registration
	registered bool           // the cluster knows core's registration, as far as anybody has heard
	fenced     bool           // another process has taken over, for good
	moved      chan struct{}  // closed when a window moves; nil while nobody waits
}

func newNumbers(c *Client, id string) *numbers {
	n := &numbers{c: c, stable: id, registering: make(chan struct{}, 1)}
	n.registering <- struct{}{}
	return n
}

func (n *numbers) id() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core == nil {
		return n.stable
	}
	return n.core.ID()
}

// identity is what makes a write's attempts the same one. end gives its place back.
type identity struct {
	api.ProducerSeq
	table string
	core  *producer.Core
}

// begin numbers a write, and waits while too many of its table are open.
func (n *numbers) begin(ctx context.Context, table string) (identity, error) {
	for {
		if err := n.register(ctx); err != nil {
			return identity{}, err
		}
		n.mu.Lock()
		if n.registered && n.core.Room(table) {
			id, _ := n.core.Identity(table, n.core.Take(table))
			n.mu.Unlock()
			return identity{id, table, n.core}, nil
		}
		if n.moved == nil {
			n.moved = make(chan struct{})
		}
		moved := n.moved
		n.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return identity{}, fmt.Errorf("%w: %d writes to table %s are open: %w",
				ErrOverloaded, producer.WindowMax, table, context.Cause(ctx))
		}
	}
}

// end says that nobody waits for the write's answer any more: whoever does has it.
func (n *numbers) end(x identity) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if x.core.Done(x.table, x.Sequence) {
		n.wake()
	}
}

// wake is called with mu held.
func (n *numbers) wake() {
	if n.moved != nil {
		close(n.moved)
		n.moved = nil
	}
}

// refused takes note of what a refusal says of the registration, and returns what it means for the write: a process
// that registers again fences what it has sent itself.
func (n *numbers) refused(x identity, err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	current := n.core == x.core && n.core.Epoch() == x.Epoch
	switch {
	case api.IsName(err, api.Expired) && current:
		n.lose()
	case api.IsName(err, api.Fenced) && current && n.stable != "":
		n.fenced, n.registered = true, false
		n.wake()
	case api.IsName(err, api.Fenced) && !current && !n.fenced:
		return api.Errorf(api.Expired, "the producer has registered again, the records of before are gone")
	}
	return err
}

// lose makes later writes register again. It is called with mu held.
func (n *numbers) lose() {
	n.registered = false
	n.wake()
}

// register makes sure that the cluster knows the producer.
func (n *numbers) register(ctx context.Context) error {
	if ok, err := n.ready(); ok || err != nil {
		return err
	}
	select {
	case <-n.registering:
	case <-ctx.Done():
		return fmt.Errorf("%w: register a producer: %w", ErrUnavailable, context.Cause(ctx))
	}
	defer func() { n.registering <- struct{}{} }()
	if ok, err := n.ready(); ok || err != nil {
		return err
	}
	core := n.core
	if core == nil || n.stable == "" {
		id := n.stable
		if id == "" {
			id = "c-" + rand.Text()
		}
		core = producer.New(id)
	}
	answer, err := n.c.registerProducer(ctx, api.RegisterProducerRequest{ID: core.ID(), Attempt: rand.Text()})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	core.Registered(answer, false)
	n.core, n.registered = core, true
	epoch := core.Epoch()
	if !n.c.spawn(func() { n.renew(core, epoch, answer.RenewSeconds) }) {
		return ErrClosed
	}
	return nil
}

func (n *numbers) ready() (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fenced {
		return false, fmt.Errorf("%w: another process has registered producer %s", ErrFenced, n.stable)
	}
	return n.registered, nil
}

func (c *Client) registerProducer(
	ctx context.Context, r api.RegisterProducerRequest,
) (answer api.RegisterProducerAnswer, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		var err error
		answer, err = c.sequencer.RegisterProducer(ctx, r)
		return err
	})
	if err != nil {
		return answer, fmt.Errorf("register producer %s: %w", r.ID, public(err))
	}
	return answer, nil
}

// renew keeps a registration alive until the client closes or the cluster does not know it any more.
func (n *numbers) renew(core *producer.Core, epoch uint64, seconds int) {
	every := time.Duration(seconds) * time.Second
	if every <= 0 {
		every = time.Hour
	}
	err := n.c.renewProducer(api.RenewProducerRequest{ID: core.ID(), Epoch: epoch}, every)
	if err == nil {
		return // closed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core != core || core.Epoch() != epoch {
		return
	}
	n.lose()
	n.fenced = n.stable != "" && api.IsName(err, api.Fenced)
}

// renewProducer renews until the client closes, which is nil, or the cluster refuses as Expired or Fenced. A renewal
// that fails is tried again soon: registrations outlive many renewals.
func (c *Client) renewProducer(r api.RenewProducerRequest, every time.Duration) error {
	for wait := every; ; {
		select {
		case <-c.closed:
			return nil
		case <-time.After(wait):
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.attemptTimeout)
		err := c.sequencer.RenewProducer(ctx, r)
		cancel()
		wait = every
		switch {
		case err == nil:
		case api.IsName(err, api.Expired), api.IsName(err, api.Fenced):
			return err
		default:
			wait = min(every, 10*time.Second)
			c.opts.logger.Warn("producer not renewed", "producer", r.ID, "error", err)
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
