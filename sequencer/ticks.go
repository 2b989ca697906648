package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Ticks reads the tick counter: about the seconds in which a sequencer has lived. Windows and idle times are counted
// in it, so that no clocks are compared and nothing expires while nobody bumps it.
func Ticks(r kv.Reader) (uint64, error) { return getNumber(r, appendNumbers(nil, kindTick)) }

func getLease(r kv.Reader, name string) (api.Lease, error) {
	raw, err := r.Get(appendName(nil, kindLease, name))
	if raw == nil || err != nil {
		return api.Lease{}, err
	}
	v := openValue(raw)
	l := api.Lease{Counter: v.number(), Holder: v.text()}
	return l, v.end("lease " + name)
}

// bumpLease bumps a lease, unless it has changed since it was seen. It returns whether it did, and the lease as it is
// now.
func bumpLease(t kv.Txn, name, holder string, seen api.Lease) (bool, api.Lease, error) {
	now, err := getLease(t, name)
	if err != nil || now != seen {
		return false, now, err
	}
	now = api.Lease{Holder: holder, Counter: now.Counter + 1}
	t.Set(appendName(nil, kindLease, name), appendText(newValue(now.Counter), now.Holder))
	return true, now, nil
}

// BumpLease bumps a lease of the services beside the sequencer, or reads it. Refused: Invalid.
func BumpLease(t kv.Txn, r api.LeaseRequest) (a api.LeaseAnswer, err error) {
	if err := api.CheckLease(r.Name); err != nil {
		return a, invalid("%v", err)
	}
	if r.Holder == "" {
		a.Lease, err = getLease(t, r.Name)
		return a, err
	}
	if err := api.CheckProducer(r.Holder); err != nil {
		return a, invalid("lease %s: holder: %v", r.Name, err)
	}
	a.Bumped, a.Lease, err = bumpLease(t, r.Name, r.Holder, r.Seen)
	return a, err
}

// Tick bumps the tick counter and the lease that goes with it, which is held by the instance that does so and clears
// what has expired, unless the lease has changed since it was seen. It returns whether it did, and the lease as it is
// now.
func Tick(t kv.Txn, self string, seen api.Lease) (bool, api.Lease, error) {
	done, now, err := bumpLease(t, api.TicksLease, self, seen)
	if !done || err != nil {
		return false, now, err
	}
	_, err = increment(t, kindTick)
	return true, now, err
}

// Sweep clears at most limit of the things whose time has passed, and returns how many it cleared; fewer than limit
// means that nothing is left. It may be run by anyone at any time.
func (c Core) Sweep(t kv.Txn, limit int) (int, error) {
	now, err := Ticks(t)
	if err != nil {
		return 0, err
	}
	done := 0
	for _, step := range []func(kv.Txn, uint64, int) (int, error){sweepKeys, sweepProducers, sweepLeftovers} {
		n, err := step(t, now, limit-done)
		if done += n; err != nil || done >= limit {
			return done, err
		}
	}
	return done, nil
}

func sweepKeys(t kv.Txn, now uint64, limit int) (int, error) {
	pairs, err := t.Range([]byte{byte(kindPlainIdle)}, appendNumbers(nil, kindPlainIdle, now+1), limit, false)
	if err != nil {
		return 0, err
	}
	for _, p := range pairs {
		k, err := parseKey(p.Key)
		if err != nil {
			return 0, err
		}
		t.Clear(p.Key)
		t.Clear(appendPlainKey(nil, k.numbers[1], k.name))
	}
	return len(pairs), nil
}

// sweepProducers takes away registrations. In the same instant nobody can reach the answers under their incarnations
// any more; those are cleared in pieces, by sweepLeftovers.
func sweepProducers(t kv.Txn, now uint64, limit int) (int, error) {
	pairs, err := t.Range([]byte{byte(kindIdle)}, appendNumbers(nil, kindIdle, now+1), limit, false)
	if err != nil {
		return 0, err
	}
	for _, pair := range pairs {
		k, err := parseKey(pair.Key)
		if err != nil {
			return 0, err
		}
		p, err := getProducer(t, k.name)
		if err != nil {
			return 0, err
		}
		t.Clear(pair.Key)
		if p != nil {
			t.Clear(appendName(nil, kindProducer, k.name))
			t.Set(appendNumbers(nil, kindLeftover, p.incarnation), newValue())
		}
	}
	return len(pairs), nil
}

func sweepLeftovers(t kv.Txn, _ uint64, limit int) (int, error) {
	marks, err := t.Range([]byte{byte(kindLeftover)}, []byte{byte(kindLeftover) + 1}, limit, false)
	if err != nil {
		return 0, err
	}
	done := 0
	for _, mark := range marks {
		k, err := parseKey(mark.Key)
		if err != nil {
			return done, err
		}
		prefix := appendNumbers(nil, kindAnswer, k.numbers[0])
		answers, err := t.Range(prefix, successor(prefix), limit-done, false)
		if err != nil {
			return done, err
		}
		for _, a := range answers {
			t.Clear(a.Key)
		}
		if done += len(answers); done >= limit {
			return done, nil
		}
		t.Clear(mark.Key)
		done++
	}
	return done, nil
}
