package sequencer

import (
	"context"
	"strconv"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// TestI3_RecordsThatWereGoneStayGone: a process registers after its producer has expired, and dies before it has the
// answer. The next one must not be told that what was sent before is still known: it would send it again, and have it
// stored twice. (Seed 2004 of the simulation.)
func TestI3_RecordsThatWereGoneStayGone(t *testing.T) {
	store := memory.New(memory.Options{})
	core := Core{Shards: 1, KeyWindow: 10, ProducerIdle: 2}
	update := func(f func(kv.Txn) error) {
		t.Helper()
		if err := store.Update(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}
	register := func(attempt string, last uint64) (a api.RegisterProducerAnswer) {
		t.Helper()
		update(func(x kv.Txn) (err error) {
			a, err = core.RegisterProducer(x, api.RegisterProducerRequest{ID: "c1", Attempt: attempt, Last: last})
			return err
		})
		return a
	}
	first := register("1", 0)
	if a := register("2", first.Epoch); !a.Known {
		t.Error("nothing has expired, and the records are not known")
	}
	var seen api.Lease
	for range 5 {
		update(func(x kv.Txn) (err error) { _, seen, err = Tick(x, "s1", seen); return err })
		update(func(x kv.Txn) error { _, err := core.Sweep(x, 100); return err })
	}
	if a := register("3", first.Epoch); a.Known {
		t.Error("the records have expired, and are said to be known")
	}
	lost := register("4", first.Epoch) // the answer to attempt 3 was never read
	if lost.Known {
		t.Error("known again, because a process that has died registered in between")
	}
	if a := register("5", lost.Epoch); !a.Known {
		t.Error("the records since the last epoch are there, and are not known")
	}
}

// TestProducerOfVersion1IsRead: what an earlier version of Braid wrote of a producer. Never change these bytes.
func TestProducerOfVersion1IsRead(t *testing.T) {
	store := memory.New(memory.Options{})
	err := store.Update(context.Background(), func(x kv.Txn) error {
		x.Set(appendName(nil, kindProducer, "c1"), []byte{1, 9, 3, 1, 0x80, 1, 0x90, 1, 1, 'a'})
		p, err := getProducer(x, "c1")
		if want := (producer{epoch: 9, incarnation: 3, known: true, renewed: 128, expires: 144, attempt: "a"}); err == nil && *p != want {
			t.Errorf("read as %+v, want %+v", *p, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestProducersBelongToUsers: an id is its first user's, who need not have been known from the beginning, until it
// expires; a refusal changes nothing.
func TestProducersBelongToUsers(t *testing.T) {
	store := memory.New(memory.Options{})
	core := Core{Shards: 1, KeyWindow: 10, ProducerIdle: 2}
	update := func(f func(kv.Txn) error) {
		t.Helper()
		if err := store.Update(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	}
	attempts := 0
	register := func(user string) (epoch uint64, err error) {
		attempts++
		update(func(x kv.Txn) error {
			var a api.RegisterProducerAnswer
			a, err = core.RegisterProducer(x, api.RegisterProducerRequest{ID: "c1", Attempt: strconv.Itoa(attempts), User: user})
			epoch = a.Epoch
			return nil
		})
		return epoch, err
	}
	for _, step := range []struct {
		user    string
		refused bool
	}{{"", false}, {"", false}, {"alice", false}, {"bob", true}, {"", true}, {"alice", false}} {
		before := attempts
		epoch, err := register(step.user)
		if step.refused != api.IsName(err, api.Forbidden) || !step.refused && err != nil {
			t.Errorf("registration %d, by %q: %v", before, step.user, err)
		}
		if err == nil {
			update(func(x kv.Txn) error { return core.RenewProducer(x, api.RenewProducerRequest{ID: "c1", Epoch: epoch}) })
		}
	}
	var seen api.Lease
	for range 5 {
		update(func(x kv.Txn) (err error) { _, seen, err = Tick(x, "s1", seen); return err })
		update(func(x kv.Txn) error { _, err := core.Sweep(x, 100); return err })
	}
	if _, err := register("bob"); err != nil {
		t.Errorf("the producer has expired, and is still alice's: %v", err)
	}
}
