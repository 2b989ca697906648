package faulty_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/faulty"
	"github.com/seed-551dd829/braid/internal/objstore/objstoretest"
)

func none(faulty.Call) faulty.Fault { return faulty.Fault{} }

// once has fault happen to the first attempt of everything.
func once(f faulty.Fault) func(faulty.Call) faulty.Fault {
	return func(c faulty.Call) faulty.Fault {
		if c.Attempt == 1 {
			return f
		}
		return faulty.Fault{}
	}
}

func TestWithoutFaultsItIsAStore(t *testing.T) {
	objstoretest.Run(t, func(*testing.T) objstore.Store {
		return faulty.New(objstore.NewMemory(), none, faulty.Options{})
	})
}

func TestFaultsOfPut(t *testing.T) {
	for _, test := range []struct {
		kind    faulty.Kind
		fails   bool
		effect  bool
		waiting int
	}{
		{faulty.None, false, true, 0},
		{faulty.Before, true, false, 0},
		{faulty.After, true, true, 0},
		{faulty.Late, true, false, 1},
		{faulty.Short, true, true, 0},
	} {
		t.Run(test.kind.String(), func(t *testing.T) {
			mem := objstore.NewMemory()
			s := faulty.New(mem, once(faulty.Fault{Kind: test.kind}), faulty.Options{})
			err := s.Put(t.Context(), "k", objstore.Bytes([]byte("data")))
			if test.fails != errors.Is(err, faulty.Err) || !test.fails && err != nil {
				t.Fatalf("put: %v", err)
			}
			if test.effect {
				objstoretest.Holds(t, mem, "k", "data")
			} else {
				objstoretest.Absent(t, mem, "k")
			}
			if n := s.Waiting(); n != test.waiting {
				t.Fatalf("%d late puts wait", n)
			}
			if err := s.Put(t.Context(), "k", objstore.Bytes([]byte("data"))); err != nil {
				t.Fatalf("second attempt: %v", err)
			}
			for range test.waiting {
				if key, err := s.Land(t.Context()); key != "k" || err != nil {
					t.Fatalf("landing behind the second attempt: %q, %v", key, err)
				}
			}
			objstoretest.Holds(t, mem, "k", "data")
		})
	}
}

func TestI9_ALatePutNeverReplaces(t *testing.T) {
	mem := objstore.NewMemory()
	s := faulty.New(mem, once(faulty.Fault{Kind: faulty.Late}), faulty.Options{})
	buffer := []byte("late")
	if err := s.Put(t.Context(), "k", objstore.Bytes(buffer)); !errors.Is(err, faulty.Err) {
		t.Fatal(err)
	}
	copy(buffer, "xxxx") // the caller has its buffer back
	if err := s.Put(t.Context(), "k", objstore.Bytes([]byte("early"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Land(t.Context()); !errors.Is(err, objstore.ErrDifferent) {
		t.Fatalf("landing: %v", err)
	}
	objstoretest.Holds(t, mem, "k", "early")
	if key, err := s.Land(t.Context()); key != "" || err != nil {
		t.Fatalf("nothing waits, yet %q landed: %v", key, err)
	}
}

func TestAShortBodyIsAnError(t *testing.T) {
	s := faulty.New(objstore.NewMemory(), func(c faulty.Call) faulty.Fault {
		if c.Op == faulty.Get && c.Attempt == 1 {
			return faulty.Fault{Kind: faulty.Short, Bytes: 3}
		}
		return faulty.Fault{}
	}, faulty.Options{})
	if err := s.Put(t.Context(), "k", objstore.Bytes([]byte("a body"))); err != nil {
		t.Fatal(err)
	}
	r, size, err := s.Get(t.Context(), "k")
	if err != nil || size != 6 {
		t.Fatal(size, err)
	}
	if data, err := io.ReadAll(r); err != io.ErrUnexpectedEOF || string(data) != "a b" {
		t.Fatalf("%q, %v", data, err)
	}
	objstoretest.Holds(t, s, "k", "a body")
}

func TestListsBreakOffWithAnError(t *testing.T) {
	s := faulty.New(objstore.NewMemory(), func(c faulty.Call) faulty.Fault {
		if c.Op == faulty.List {
			return faulty.Fault{Kind: faulty.After, Bytes: 1}
		}
		return faulty.Fault{}
	}, faulty.Options{})
	for _, key := range []string{"a", "b", "c"} {
		if err := s.Put(t.Context(), key, objstore.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
	n, last := 0, error(nil)
	for _, err := range s.List(t.Context(), "") {
		if last = err; err == nil {
			n++
		}
	}
	if n != 1 || !errors.Is(last, faulty.Err) {
		t.Fatalf("%d objects, then %v", n, last)
	}
	s.Heal()
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatalf("after healing: %v", err)
		}
	}
}

func TestSlowAndHangingCallsEndWithTheirContext(t *testing.T) {
	for _, f := range []faulty.Fault{{Kind: faulty.Hang}, {Delay: time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			mem := objstore.NewMemory()
			s := faulty.New(mem, once(f), faulty.Options{})
			begin := time.Now()
			if err := s.Put(ctx, "k", objstore.Bytes(nil)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if took := time.Since(begin); took != time.Second {
				t.Fatalf("took %s", took)
			}
			objstoretest.Absent(t, mem, "k")
		})
	}
}

func TestTheSameSeedGivesTheSameFaults(t *testing.T) {
	rates := faulty.Rates{Before: 0.1, After: 0.1, Late: 0.1, Short: 0.1, Slow: 0.2, DelayMax: time.Second,
		AttemptsMax: 5}
	a, b, c := faulty.Seeded(1, rates), faulty.Seeded(1, rates), faulty.Seeded(2, rates)
	seen, differ := map[faulty.Kind]int{}, 0
	for i := range 1000 {
		call := faulty.Call{Op: faulty.Put, Key: string(rune('a'+i%26)) + string(rune('a'+i/26)), Attempt: 1 + i%4}
		f := a(call)
		if f != b(call) {
			t.Fatalf("%v: %v and %v", call, f, b(call))
		}
		if f != c(call) {
			differ++
		}
		seen[f.Kind]++
		call.Attempt = 5
		if f := a(call); f != (faulty.Fault{}) {
			t.Fatalf("the last attempt has %v", f)
		}
	}
	for _, k := range []faulty.Kind{faulty.Before, faulty.After, faulty.Late, faulty.Short} {
		if n := seen[k]; n < 50 || n > 150 {
			t.Errorf("%s: %d of 1000", k, n)
		}
	}
	if seen[faulty.None] < 500 || differ < 500 {
		t.Errorf("%d calls without a fault, %d differ between seeds", seen[faulty.None], differ)
	}
}
