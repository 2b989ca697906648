package sequencer

import (
	"context"
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
