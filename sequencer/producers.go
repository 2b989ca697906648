package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// RegisterProducer registers a producer under a new epoch, which fences its earlier ones. Known says whether its
// records were still there, those since the epoch that it had last if it tells that one. The answer to a registration
// that is repeated is its first one. A producer belongs to the first NATS user that is known to have registered it, until
// it expires. Refused: Invalid, and Forbidden if it is another user's.
func (c Core) RegisterProducer(
	t kv.Txn, r api.RegisterProducerRequest,
) (api.RegisterProducerAnswer, error) {
	if err := api.CheckProducer(r.ID); err != nil {
		return api.RegisterProducerAnswer{}, invalid("%v", err)
	}
	if r.Attempt == "" {
		return api.RegisterProducerAnswer{}, invalid("producer %s: attempt must be given", r.ID)
	}
	p, err := getProducer(t, r.ID)
	if err != nil {
		return api.RegisterProducerAnswer{}, err
	}
	if p != nil && p.owner != "" && p.owner != r.User {
		return api.RegisterProducerAnswer{}, api.Errorf(api.Forbidden, "producer %s belongs to another NATS user: "+
			"take another id", r.ID)
	}
	if p == nil || p.attempt != r.Attempt {
		now, err := Ticks(t)
		if err != nil {
			return api.RegisterProducerAnswer{}, err
		}
		if p, err = c.nextEpoch(t, p, r); err != nil {
			return api.RegisterProducerAnswer{}, err
		}
		c.putProducer(t, r.ID, p, now)
	}
	known := p.known && (r.Last == 0 || p.incarnation <= r.Last)
	return api.RegisterProducerAnswer{Epoch: p.epoch, Known: known, RenewSeconds: c.renewSeconds()}, nil
}

func (c Core) nextEpoch(t kv.Txn, old *producer, r api.RegisterProducerRequest) (*producer, error) {
	epoch, err := increment(t, kindEpoch)
	if err != nil {
		return nil, err
	}
	p := &producer{epoch: epoch, incarnation: epoch, attempt: r.Attempt, owner: r.User}
	if old != nil {
		p.incarnation, p.known, p.expires = old.incarnation, true, old.expires
	}
	return p, nil
}

// putProducer stores a registration as renewed now, and moves it in the index of idle ones.
func (c Core) putProducer(t kv.Txn, id string, p *producer, now uint64) {
	expires := now + c.ProducerIdle
	if p.expires != expires {
		if p.expires != 0 {
			t.Clear(appendIdleKey(nil, p.expires, id))
		}
		t.Set(appendIdleKey(nil, expires, id), newValue())
	}
	p.renewed, p.expires = now, expires
	t.Set(appendName(nil, kindProducer, id), p.encode())
}

// RenewProducer keeps a living producer from expiring. Refused: Fenced by a newer epoch, Expired if it is not
// registered.
func (c Core) RenewProducer(t kv.Txn, r api.RenewProducerRequest) error {
	p, err := getProducer(t, r.ID)
	if err != nil {
		return err
	}
	if v := p.verdict(r.Epoch); v != 0 {
		return api.Outcome{Verdict: v}.Error("")
	}
	now, err := Ticks(t)
	if err == nil && c.renewal(p, now) {
		c.putProducer(t, r.ID, p, now)
	}
	return err
}

// verdict is on whoever claims to be the producer's process of this epoch; 0 is the registered one. p is nil for a
// producer that is not registered.
func (p *producer) verdict(epoch uint64) api.Verdict {
	switch {
	case p == nil || epoch > p.epoch: // a registration that the store has forgotten
		return api.RefusedExpired
	case epoch < p.epoch:
		return api.RefusedFenced
	}
	return 0
}

// renewal says whether it is worth a write that the producer was heard of now: a renewal more or less within a
// twentieth of the idle time makes no difference.
func (c Core) renewal(p *producer, now uint64) bool { return now > p.renewed+c.ProducerIdle/20 }

// renewSeconds is how often producers are asked to renew: often enough to miss several.
func (c Core) renewSeconds() int { return int(min(max(c.ProducerIdle/10, 1), 3600)) }
