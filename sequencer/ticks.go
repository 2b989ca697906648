package sequencer

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Ticks reads the tick counter: about the seconds in which a sequencer has lived. Windows and idle times are counted
// in it, so that no clocks are compared and nothing expires while nobody bumps it.
func Ticks(r kv.Reader) (uint64, error) { return getNumber(r, appendNumbers(nil, kindTick)) }

// LeaseView is a lease as it stands in the store. The zero value is one that nobody has had.
type LeaseView struct {
	Holder  string
	Counter uint64
}

// ticksLease is held by the instance that bumps the tick counter and clears what has expired.
const ticksLease = "ticks"

func getLease(r kv.Reader, name string) (LeaseView, error) {
	raw, err := r.Get(appendName(nil, kindLease, name))
	if raw == nil || err != nil {
		return LeaseView{}, err
	}
	v := openValue(raw)
	l := LeaseView{Counter: v.number(), Holder: v.text()}
	return l, v.end("lease " + name)
}

// Lease is one instance's view of a lease: a counter that its holder bumps. It is a state machine without a clock:
// time is passed in, this instance's own, from any origin.
type Lease struct {
	Self string
	TTL  time.Duration // how long a counter must stand still before another takes the lease
	seen LeaseView
	at   time.Duration // when seen was first seen; meaningful once looked is set
	look bool
}

// May says, of a lease seen at now, whether this instance may bump it: it holds it, nobody does, or its holder has not
// bumped it for TTL of this instance's time.
func (l *Lease) May(now time.Duration, v LeaseView) bool {
	if !l.look || v != l.seen {
		l.look, l.seen, l.at = true, v, now
	}
	return v.Holder == l.Self || v.Holder == "" || now-l.at >= l.TTL
}

// Tick bumps the tick counter and the lease that goes with it, unless the lease has changed since it was seen. It
// returns whether it did, and the lease as it is now.
func Tick(t kv.Txn, self string, seen LeaseView) (bool, LeaseView, error) {
	now, err := getLease(t, ticksLease)
	if err != nil || now != seen {
		return false, now, err
	}
	now = LeaseView{Holder: self, Counter: now.Counter + 1}
	t.Set(appendName(nil, kindLease, ticksLease), appendText(newValue(now.Counter), now.Holder))
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

// recordState reads how a commit record stands now.
func recordState(r kv.Reader, shard int, index uint64) (api.RecordState, error) {
	record, err := getRecord(r, shard, index)
	return record.State, err
}
