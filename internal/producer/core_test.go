package producer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

func registered(t *testing.T) *Core {
	t.Helper()
	c := New("p")
	c.Registered(api.RegisterProducerAnswer{Epoch: 7}, false)
	return c
}

func identity(t *testing.T, c *Core, table string, sequence, settled uint64) {
	t.Helper()
	want := api.ProducerSeq{Producer: "p", Epoch: c.Epoch(), Sequence: sequence, Settled: settled}
	if id, ok := c.Identity(table, sequence); !ok || id != want {
		t.Fatalf("identity %+v, %t, want %+v", id, ok, want)
	}
}

func TestNumbersRiseAndSettle(t *testing.T) {
	c := registered(t)
	take := func(table string, sequence, settled uint64) {
		t.Helper()
		if got := c.Take(table); got != sequence {
			t.Fatalf("took %d, want %d", got, sequence)
		}
		identity(t, c, table, sequence, settled)
	}
	take("a", 1, 0)
	take("b", 1, 0)
	take("a", 2, 0)
	take("a", 3, 0)
	if c.Done("a", 2) || c.Done("a", 3) {
		t.Fatal("settled moved past an open write")
	}
	take("a", 4, 0)
	if !c.Done("a", 1) {
		t.Fatal("settled did not move")
	}
	identity(t, c, "a", 4, 3)
	c.Done("a", 4)
	c.Done("b", 1)
	if c.Open() != 0 {
		t.Fatalf("%d tables without open writes are kept", c.Open())
	}
	take("a", 5, 4)
	take("b", 5, 4)
}

// TestI7_NumbersStayNearSettled: however much is written to other tables while a write is open, the next one of its
// table is within the window above settled. The cluster refuses what is further away.
func TestI7_NumbersStayNearSettled(t *testing.T) {
	c := registered(t)
	c.Take("slow")
	for range 5000 {
		c.Done("busy", c.Take("busy"))
	}
	if got := c.Take("slow"); got != 2 {
		t.Fatalf("took %d", got)
	}
	c.Done("slow", 2)
	c.Done("slow", 1)
	if got := c.Take("slow"); got != 5001 {
		t.Fatalf("took %d: it may be one that another window gave", got)
	}
	identity(t, c, "slow", 5001, 5000)
}

func TestI7_NothingIsSentTooFarAboveSettled(t *testing.T) {
	c := registered(t)
	for range WindowMax {
		if !c.Room("a") {
			t.Fatal("no room in the window")
		}
		c.Take("a")
	}
	if c.Room("a") {
		t.Fatal("room past the window")
	}
	c.Take("a")
	if _, ok := c.Identity("a", WindowMax+1); ok {
		t.Fatal("may be sent past the window")
	}
	if _, ok := c.Identity("a", WindowMax); !ok {
		t.Fatal("may not be sent within the window")
	}
	c.Done("a", 2)
	if _, ok := c.Identity("a", WindowMax+1); ok {
		t.Fatal("settled has not moved")
	}
	c.Done("a", 1)
	identity(t, c, "a", WindowMax+1, 2)
}

// TestI3_SettledIsWhatIsDone compares the core with a list of all numbers, over random orders of taking and ending.
func TestI3_SettledIsWhatIsDone(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, floor := registered(t), uint64(0)
		done, settled := map[uint64]bool{}, uint64(0)
		var open []uint64
		for range 5000 {
			if len(open) == 0 && r.IntN(10) == 0 { // another table's numbers lift those of the next window
				for range r.IntN(3) {
					c.Done("other", c.Take("other"))
					floor++
				}
			}
			if len(open) == 0 {
				settled = max(settled, floor)
			}
			if r.IntN(2) == 0 && c.Room("a") {
				s := c.Take("a")
				if done[s] || slices.Contains(open, s) {
					t.Fatalf("seed %d: %d was given twice", seed, s)
				}
				open = append(open, s)
			} else if len(open) > 0 {
				i := r.IntN(min(len(open), 1+r.IntN(1200)))
				done[open[i]] = true
				c.Done("a", open[i])
				open = slices.Delete(open, i, i+1)
				for done[settled+1] {
					settled++
				}
				floor = max(floor, settled)
			}
			for _, s := range open {
				id, _ := c.Identity("a", s)
				if id.Settled != settled {
					t.Fatalf("seed %d: settled %d with %d open, want %d", seed, id.Settled, open, settled)
				}
			}
		}
	}
}

func TestI3_RestoredNumbersGoOn(t *testing.T) {
	c := New("p")
	err := c.Restore(90, []Kept{{Table: "a", Last: 9, Open: []uint64{5, 7}}, {Table: "b", Last: 2, Open: []uint64{2}}})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Registered(api.RegisterProducerAnswer{Epoch: 8, Known: true}, true) {
		t.Fatal("what is known is not sent again")
	}
	identity(t, c, "a", 5, 4)
	identity(t, c, "a", 7, 4)
	if got := c.Take("a"); got != 10 {
		t.Fatalf("took %d of table a", got)
	}
	if got := c.Take("new"); got != 91 {
		t.Fatalf("took %d of a new table", got)
	}
	c.Done("a", 5)
	identity(t, c, "a", 7, 6)
	c.Done("a", 7)
	identity(t, c, "a", 10, 9)
	if c.Done("b", 2); c.Take("b") != 91 {
		t.Fatal("a table's next window begins below what was taken")
	}
}

func TestRestoreRefusesWhatCannotBe(t *testing.T) {
	for _, k := range []Kept{{Table: "a", Last: 3}, {Table: "a", Last: 3, Open: []uint64{4}}, {Table: "a", Open: []uint64{0}}} {
		if err := New("p").Restore(9, []Kept{k}); err == nil {
			t.Errorf("%+v is restored", k)
		}
	}
	c := New("p")
	c.Take("a")
	if err := c.Restore(1, nil); err == nil {
		t.Error("restored after it has begun")
	}
}

// TestI3_AnIDWithoutALogNeverRepeatsItsNumbers: the cluster would give a new write an old one's answer.
func TestI3_AnIDWithoutALogNeverRepeatsItsNumbers(t *testing.T) {
	first := New("p")
	first.Registered(api.RegisterProducerAnswer{Epoch: 3}, false)
	last := uint64(0)
	for range 1000 {
		last = first.Take("a")
	}
	second := New("p")
	second.Registered(api.RegisterProducerAnswer{Epoch: 4, Known: true}, false)
	next := second.Take("a")
	if next <= last {
		t.Fatalf("%d was given before", next)
	}
	identity(t, second, "a", next, next-1)
}

func TestWhatWasSentBeforeTheRecordsWereGoneIsNotRepeatable(t *testing.T) {
	c := New("p")
	if err := c.Restore(1, []Kept{{Table: "a", Last: 1, Open: []uint64{1}}}); err != nil {
		t.Fatal(err)
	}
	if c.Registered(api.RegisterProducerAnswer{Epoch: 9}, true) || c.Repeatable(8) || !c.Repeatable(9) {
		t.Fatal("the cluster has forgotten what was sent under epoch 8")
	}
	if !c.Registered(api.RegisterProducerAnswer{Epoch: 12, Known: true}, true) || c.Repeatable(8) || !c.Repeatable(9) {
		t.Fatal("what was sent under epoch 9 is known")
	}
}

func TestFlight(t *testing.T) {
	var f Flight
	if _, again := f.Failed(Harmless, 0, 0); !again || f.Maybe() {
		t.Fatal("nothing has happened")
	}
	if pause, again := f.Failed(Unclear, 300*time.Millisecond, 0.5); !again || !f.Maybe() || pause != 300*time.Millisecond {
		t.Fatalf("again %t after %s", again, pause)
	}
	once := Flight{Once: true}
	if _, again := once.Failed(Harmless, 0, 0); !again {
		t.Fatal("what had no effect is not sent again")
	}
	if _, again := once.Failed(Unclear, 0, 0); again {
		t.Fatal("without an identity it is sent again")
	}
}

func TestBackoff(t *testing.T) {
	if d := Backoff(1, 0, 0); d < time.Millisecond || d > 5*time.Millisecond {
		t.Errorf("first pause %s", d)
	}
	if d := Backoff(1000, 0, 0.999); d > time.Second {
		t.Errorf("last pause %s", d)
	}
}
