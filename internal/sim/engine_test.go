package sim

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func forever() bool { return false }

// chatter has processes that sleep, kill each other and write to a disk.
func chatter(seed uint64) (trace []string, hash uint64) {
	e := New(seed, func(line string) { trace = append(trace, line) })
	defer e.Close()
	processes := make([]*Process, 4)
	for i := range processes {
		p := e.Start(fmt.Sprint("p", i))
		processes[i] = p
		p.Go(func(context.Context) {
			for n := range 20 {
				p.Sleep(e.Between(0, 10*time.Millisecond))
				e.Trace(p.Name, "step %d", n)
			}
		})
	}
	e.After(50*time.Millisecond, processes[2].End)
	e.After(20*time.Millisecond, func() { processes[1].Pause(30 * time.Millisecond) })
	e.Run(time.Second, forever)
	return trace, e.Hash()
}

func TestSameSeedSameTrace(t *testing.T) {
	a, hash := chatter(7)
	b, again := chatter(7)
	if !slices.Equal(a, b) || hash != again {
		t.Error("two runs of one seed differ")
	}
	if _, other := chatter(8); other == hash {
		t.Error("another seed has the same trace")
	}
}

// TestKilledCoroutineDoesNothing: what is parked when its process dies never goes on, but what it has deferred runs.
func TestKilledCoroutineDoesNothing(t *testing.T) {
	e := New(1, nil)
	defer e.Close()
	p := e.Start("p")
	unwound, went := false, false
	p.Go(func(context.Context) {
		defer func() { unwound = true }()
		p.Sleep(10 * time.Millisecond)
		went = true
	})
	e.After(5*time.Millisecond, p.End)
	e.Run(time.Second, forever)
	if !unwound || went {
		t.Errorf("unwound: %t, went on: %t", unwound, went)
	}
}

// TestCrashBetweenDiskOperations: the process is gone with the operation, and the disk keeps what was synced.
func TestCrashBetweenDiskOperations(t *testing.T) {
	e := New(1, nil)
	defer e.Close()
	d := NewDisk(e, NewChaos(e))
	d.chaos.End()
	p := e.Start("p")
	fsys := d.Attach(p)
	d.CrashIn(4) // create, write, sync, and the sync of the folder pass; the second write does not
	p.Go(func(context.Context) {
		f, err := fsys.Create("a")
		if err != nil {
			t.Error(err)
			return
		}
		for _, do := range []func() error{
			func() error { _, err := f.Write([]byte("one")); return err },
			f.Sync,
			func() error { return fsys.SyncDir(".") },
			func() error { _, err := f.Write([]byte("two")); return err },
		} {
			if err := do(); err != nil {
				t.Error(err)
			}
		}
		t.Error("the process lives on")
	})
	e.Run(time.Second, forever)
	fsys = d.Attach(e.Start("p"))
	if data, err := disk.ReadFile(fsys, "a"); err != nil || string(data) != "one" {
		t.Errorf("%q is left (%v)", data, err)
	}
}

// TestCallLosesPatience: an answer that comes too late is not taken for one.
func TestCallLosesPatience(t *testing.T) {
	e := New(1, nil)
	defer e.Close()
	p := e.Start("p")
	p.Go(func(ctx context.Context) {
		call := NewCall[int](p)
		p.After(20*time.Millisecond, func() { call.Done(1) })
		if _, ok := call.Wait(ctx, 10*time.Millisecond); ok || e.Now() != 10*time.Millisecond {
			t.Errorf("answered at %s: %t", e.Now(), ok)
		}
		if v, ok := call.Wait(ctx, 20*time.Millisecond); !ok || v != 1 || e.Now() != 20*time.Millisecond {
			t.Errorf("at %s the answer is %d, %t", e.Now(), v, ok)
		}
	})
	e.Run(time.Second, forever)
}
