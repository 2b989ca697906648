package outbox

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-551dd829/braid/internal/sim"
)

// quiet returns a seed from a number on in which nothing goes wrong by itself.
func quiet(from uint64) uint64 {
	for seed := from; ; seed++ {
		if len(sim.NewChaos(sim.New(seed, nil)).Kinds()) == 0 {
			return seed
		}
	}
}

// TestI3_CrashBeforeEveryDiskOperation: the application dies in front of each operation that changes its disk, and
// loses or tears what was not synced. Its next processes deliver every write that was taken once, in order.
func TestI3_CrashBeforeEveryDiskOperation(t *testing.T) {
	seed := quiet(1)
	run := func(t *testing.T, die int) *world {
		w := newWorld(t, seed)
		defer w.e.Close()
		w.losing, w.bad = 0.1, 10
		w.chaos.Force(sim.Torn, 0.7)
		w.start()
		if die >= 0 {
			w.disk.CrashIn(die)
		}
		w.finish()
		w.check()
		return w
	}
	operations := run(t, -1).disk.Ops()
	if operations < 100 {
		t.Fatalf("%d operations: the test crashes too seldom", operations)
	}
	t.Logf("%d operations", operations)
	for n := range operations {
		t.Run(fmt.Sprint(n), func(t *testing.T) { run(t, n) })
	}
}

// TestI3_ManyCrashes: again and again, with a disk that fails and fills up, a network that loses, and a cluster that
// forgets the producer.
func TestI3_ManyCrashes(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 60
	}
	var crashes, forgotten, full int
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			defer w.e.Close()
			w.losing = []float64{0, 0.05, 0.3}[w.e.Rand.IntN(3)]
			w.bad = []int{0, 7, 20}[w.e.Rand.IntN(3)]
			w.tables = 1 + w.e.Rand.IntN(4)
			w.writes = 20 + w.e.Rand.IntN(100)
			w.cfg.FileBytesMax = 200 + w.e.Rand.Int64N(1000)
			w.start()
			for range w.e.Rand.IntN(12) {
				w.e.Run(w.e.Now()+w.e.Between(0, 200e6), func() bool { return false })
				switch w.e.Rand.IntN(5) {
				case 0:
					w.p.End()
					crashes++
				case 1:
					w.forget()
					forgotten++
				default:
					w.disk.CrashIn(w.e.Rand.IntN(20))
				}
			}
			w.chaos.End()
			w.finish()
			w.check()
			crashes += w.starts - 1
			full += w.chaos.Fired[sim.DiskFull]
			for _, err := range w.errs {
				if !strings.Contains(err.Error(), "injected") && !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("a process ended with %v", err)
				}
			}
		})
	}
	t.Logf("%d crashes, %d times forgotten, %d times full", crashes, forgotten, full)
	if crashes == 0 || forgotten == 0 || full == 0 {
		t.Error("a fault never happened: nothing is shown")
	}
}
