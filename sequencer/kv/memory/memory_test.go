package memory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/kvtest"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

func TestSuite(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store { return memory.New(memory.Options{}) })
}

// TestSuiteWithConflicts: injected conflicts and delays change nothing but how often functions run.
func TestSuiteWithConflicts(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store {
		return memory.New(memory.Options{
			Inject: func(n uint64) memory.Fault {
				f := memory.Fault{Conflict: n%3 == 1}
				if n%5 == 0 {
					f.Delay = time.Microsecond
				}
				return f
			},
		})
	})
}

func TestUnknownDidAndDidNotHappen(t *testing.T) {
	for _, happened := range []bool{true, false} {
		s := memory.New(memory.Options{Inject: func(n uint64) memory.Fault {
			if happened {
				return memory.Fault{Unknown: memory.UnknownDone}
			}
			return memory.Fault{Unknown: memory.UnknownNotDone}
		}})
		ctx := context.Background()
		err := s.Update(ctx, func(x kv.Txn) error { x.Set([]byte("a"), []byte("1")); return nil })
		if !errors.Is(err, kv.ErrUnknown) {
			t.Errorf("Update returned %v", err)
		}
		err = s.View(ctx, func(r kv.Reader) error {
			if v, err := r.Get([]byte("a")); err != nil || (v != nil) != happened {
				t.Errorf("happened %v: a is %q, %v", happened, v, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestContextEndsADelay(t *testing.T) {
	s := memory.New(memory.Options{Inject: func(uint64) memory.Fault { return memory.Fault{Delay: time.Hour} }})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := s.Update(ctx, func(x kv.Txn) error { x.Set([]byte("a"), []byte("1")); return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update returned %v", err)
	}
}

// TestInterleavedConflict: a transaction whose read another one overwrites runs again; one that read something else
// does not.
func TestInterleavedConflict(t *testing.T) {
	s := memory.New(memory.Options{})
	ctx := context.Background()
	set := func(key string) error {
		return s.Update(ctx, func(x kv.Txn) error { x.Set([]byte(key), []byte("other")); return nil })
	}
	for read, want := range map[string]int{"a": 2, "b": 1} {
		runs := 0
		err := s.Update(ctx, func(x kv.Txn) error {
			if runs++; runs == 1 {
				defer func() {
					if err := set("a"); err != nil {
						t.Error(err)
					}
				}()
			}
			_, err := x.Get([]byte(read))
			x.Set([]byte("c"), []byte("mine"))
			return err
		})
		if err != nil || runs != want {
			t.Errorf("read %s: %d runs, want %d (%v)", read, runs, want, err)
		}
	}
}

// TestTooOldRunsAgain: a read that is refused ends the attempt, whatever the function makes of it, and nothing that it
// wrote counts.
func TestTooOldRunsAgain(t *testing.T) {
	s := memory.New(memory.Options{Inject: func(n uint64) memory.Fault { return memory.Fault{TooOld: int(2 * (n % 2))} }})
	for _, swallow := range []bool{false, true} {
		runs, failed := 0, 0
		err := s.Update(context.Background(), func(x kv.Txn) error {
			if runs++; runs == 1 {
				x.Set([]byte("first"), nil)
			}
			for range 3 {
				if _, err := x.Get([]byte("first")); err != nil {
					if failed++; !swallow {
						return err
					}
				}
			}
			return nil
		})
		if err != nil || runs != 2 || failed == 0 {
			t.Errorf("swallow %v: %d runs, %d reads refused, %v", swallow, runs, failed, err)
		}
	}
	if err := s.View(context.Background(), func(r kv.Reader) error {
		v, err := r.Get([]byte("first"))
		if v != nil {
			t.Error("what an attempt wrote that was too old is there")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
