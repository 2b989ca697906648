package replicator

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

func segmentAilment(n uint64) ailment {
	return ailment{segment: api.SegmentID{Node: "p1", Epoch: 1, Sequence: n}}
}

func TestWardTriesAgainLessAndLessOften(t *testing.T) {
	w := ward{retryMax: time.Second, patients: map[ailment]*patient{}}
	now := time.Unix(100, 0)
	a := segmentAilment(1)
	if !w.admit(now, a, "cpu", errNotYet) || w.admit(now, a, "mem", errNotYet) {
		t.Fatal("an ailment is new once")
	}
	var pauses []time.Duration
	for i := range 7 {
		got, due, ok := w.next()
		if !ok || got != a {
			t.Fatalf("next is %v, %v", got, ok)
		}
		pauses = append(pauses, due.Sub(now))
		now = due
		if n := w.failed(now, a, errNotYet); n != i+1 {
			t.Fatalf("attempt %d is counted as %d", i+1, n)
		}
	}
	for i, want := range []time.Duration{0, 100, 200, 400, 800, 1000, 1000} {
		if pauses[i] != want*time.Millisecond {
			t.Fatalf("pauses %v", pauses)
		}
	}
	w.dismiss(a)
	if _, _, ok := w.next(); ok {
		t.Fatal("it is still there")
	}
}

// TestI7_AWardIsBounded: past the bound nothing is admitted, and what is known still is.
func TestI7_AWardIsBounded(t *testing.T) {
	w := ward{retryMax: time.Second, patients: map[ailment]*patient{}}
	for i := range uint64(patientsMax + 10) {
		if got := w.admit(time.Unix(1, 0), segmentAilment(i), "cpu", errNotYet); got != (i < patientsMax) {
			t.Fatalf("patient %d: %v", i, got)
		}
	}
	why := errors.New("still")
	w.admit(time.Unix(2, 0), segmentAilment(3), "mem", why)
	if all := w.tables(); len(w.patients) != patientsMax || all["mem"] != why {
		t.Fatalf("%d patients, tables %v", len(w.patients), all)
	}
}

// TestADamagedObjectAloneHoldsUpNoTable: the node has its own copy.
func TestADamagedObjectAloneHoldsUpNoTable(t *testing.T) {
	w := ward{retryMax: time.Second, patients: map[ailment]*patient{}}
	object := segmentAilment(1)
	object.object = true
	w.admit(time.Unix(1, 0), object, "cpu", errNotYet)
	w.admit(time.Unix(1, 0), ailment{table: "disk"}, "disk", errNotYet)
	if got, want := w.tables(), map[string]error{"disk": errNotYet}; !maps.Equal(got, want) {
		t.Fatalf("tables %v", got)
	}
	if a, _, _ := w.next(); a != object {
		t.Fatalf("of two that are due, the first is %v", a)
	}
}

func TestBits(t *testing.T) {
	var b bits
	for _, n := range []uint64{1, 64, 0, 200, 63} {
		if !b.add(n) || b.add(n) {
			t.Fatalf("%d is new once", n)
		}
	}
	if len(b) != 4 {
		t.Fatalf("%d words", len(b))
	}
}
