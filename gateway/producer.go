package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
)

// Bounds of the gateway as a producer: unsettled sequences of a table stay below what the store
// keeps answers for (api.AnswersMax), and numbers are remembered for so many tables.
const (
	unsettledMax      = 1000
	numberedTablesMax = 16384
)

// Times of talking to the registry.
const (
	registryAttempt = 3 * time.Second
	registryPause   = 100 * time.Millisecond
	renewDefault    = time.Minute
)

// registration is one life of the gateway as a producer. It is safe for concurrent use.
type registration struct {
	id    string
	epoch uint64
	renew time.Duration
	lost  chan struct{} // closed once the registration is fenced or expired

	mu   sync.Mutex
	core *numbering
}

func (r *registration) next(table string) (api.ProducerSeq, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.next(table)
}

func (r *registration) close(table string, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.close(table, sequence)
}

func (r *registration) isLost() bool {
	select {
	case <-r.lost:
		return true
	default:
		return false
	}
}

// producer keeps the gateway registered: under a fresh id at each start, and under another fresh
// one whenever the registry says that the last is gone.
type producer struct {
	env     *surroundings
	seq     Sequencer
	log     *slog.Logger
	counter prometheus.Counter

	mu  sync.Mutex
	reg *registration
	// arrived is closed and replaced when there is a registration again.
	arrived chan struct{}
}

func newProducer(env *surroundings, seq Sequencer, log *slog.Logger, counter prometheus.Counter) *producer {
	return &producer{env: env, seq: seq, log: log, counter: counter, arrived: make(chan struct{})}
}

// current returns the registration, waiting for one until ctx ends.
func (p *producer) current(ctx context.Context) (*registration, *api.Error) {
	for {
		p.mu.Lock()
		reg, arrived := p.reg, p.arrived
		p.mu.Unlock()
		if reg != nil && !reg.isLost() {
			return reg, nil
		}
		p.env.await(ctx, arrived, p.env.now().Add(time.Hour))
		if ctx.Err() != nil {
			return nil, api.Errorf(api.Unavailable, "the gateway cannot register with the sequencer")
		}
	}
}

// registered says whether there is a registration now.
func (p *producer) registered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reg != nil && !p.reg.isLost()
}

// lose ends a registration.
func (p *producer) lose(reg *registration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !reg.isLost() {
		close(reg.lost)
		p.log.Warn("registration is gone, registering anew", "producer", reg.id, "epoch", reg.epoch)
	}
}

// holds asks the sequencer whether a registration still holds. Not knowing is no.
func (p *producer) holds(ctx context.Context, reg *registration) bool {
	return !reg.isLost() && p.renewOnce(ctx, reg) == nil
}

// run registers, renews, and registers again, until ctx ends.
func (p *producer) run(ctx context.Context) {
	for ctx.Err() == nil {
		reg := p.register(ctx)
		if reg == nil {
			return
		}
		p.counter.Inc()
		p.mu.Lock()
		p.reg = reg
		close(p.arrived)
		p.arrived = make(chan struct{})
		p.mu.Unlock()
		p.log.Info("registered as a producer", "producer", reg.id, "epoch", reg.epoch)
		p.keep(ctx, reg)
	}
}

// register tries one fresh id until there is an answer; nil once ctx has ended. A refusal (an id
// that is taken) leads to another id.
func (p *producer) register(ctx context.Context) *registration {
	request := api.RegisterProducerRequest{ID: p.env.newID(), Attempt: p.env.newID()}
	for tries := 1; ; tries++ {
		attempt, cancel := context.WithDeadline(ctx, p.env.now().Add(registryAttempt))
		a, err := p.seq.RegisterProducer(attempt, request)
		cancel()
		if err == nil {
			renew := time.Duration(a.RenewSeconds) * time.Second
			if renew <= 0 {
				renew = renewDefault
			}
			return &registration{
				id: request.ID, epoch: a.Epoch, renew: renew, lost: make(chan struct{}),
				core: newNumbering(request.ID, a.Epoch, unsettledMax, numberedTablesMax),
			}
		}
		if ctx.Err() == nil && tries&(tries-1) == 0 { // the 1st, 2nd, 4th, 8th …
			p.log.Warn("register as a producer, trying again", "producer", request.ID, "error", err)
		}
		if gone(err) {
			request.ID, request.Attempt = p.env.newID(), p.env.newID()
		}
		if !p.env.pause(ctx, registryPause) {
			return nil
		}
	}
}

// keep renews a registration until it is lost or ctx ends.
func (p *producer) keep(ctx context.Context, reg *registration) {
	for {
		p.env.await(ctx, reg.lost, p.env.now().Add(reg.renew))
		if ctx.Err() != nil || reg.isLost() {
			return
		}
		if err := p.renewOnce(ctx, reg); err != nil && ctx.Err() == nil {
			p.log.Warn("renew the registration", "producer", reg.id, "epoch", reg.epoch, "error", err)
		}
	}
}

// renewOnce renews; a refusal ends the registration.
func (p *producer) renewOnce(ctx context.Context, reg *registration) error {
	ctx, cancel := context.WithDeadline(ctx, p.env.now().Add(registryAttempt))
	defer cancel()
	err := p.seq.RenewProducer(ctx, api.RenewProducerRequest{ID: reg.id, Epoch: reg.epoch})
	if gone(err) {
		p.lose(reg)
	}
	return err
}

// gone says whether the registry refused, as opposed to not answering.
func gone(err error) bool {
	e := new(api.Error)
	return errors.As(err, &e) && (e.Name == api.Fenced || e.Name == api.Expired)
}
