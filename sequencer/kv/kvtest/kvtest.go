// Package kvtest is the suite that every implementation of kv.Store passes, so that the one in memory, on which the
// sequencer is tested, cannot drift from those that hold data.
package kvtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Run runs the suite. open returns an empty store; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s kv.Store)
	}{
		{"GetSetClear", getSetClear},
		{"Ranges", ranges},
		{"RangesAgainstModel", rangesAgainstModel},
		{"ReadsItsOwnWrites", readsItsOwnWrites},
		{"ErrorUndoes", errorUndoes},
		{"SnapshotStays", snapshotStays},
		{"CountersUnderContention", countersUnderContention},
		{"NoWriteSkew", noWriteSkew},
		{"TooLarge", tooLarge},
		{"Watches", watches},
		{"ContextEnds", contextEnds},
		{"Closed", closed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			test.run(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

var background = context.Background()

func update(t *testing.T, s kv.Store, f func(kv.Txn)) {
	t.Helper()
	if err := s.Update(background, func(x kv.Txn) error { f(x); return nil }); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, r kv.Reader, key string) []byte {
	t.Helper()
	v, err := r.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func view(t *testing.T, s kv.Store, f func(kv.Reader)) {
	t.Helper()
	if err := s.View(background, func(r kv.Reader) error { f(r); return nil }); err != nil {
		t.Fatal(err)
	}
}

func getSetClear(t *testing.T, s kv.Store) {
	update(t, s, func(x kv.Txn) {
		x.Set([]byte("a"), []byte("1"))
		x.Set([]byte("empty"), []byte{})
		x.Set([]byte("gone"), []byte("x"))
	})
	update(t, s, func(x kv.Txn) {
		x.Clear([]byte("gone"))
		x.Clear([]byte("never there"))
	})
	view(t, s, func(r kv.Reader) {
		if v := get(t, r, "a"); string(v) != "1" {
			t.Errorf("a is %q", v)
		}
		if v := get(t, r, "empty"); v == nil || len(v) != 0 {
			t.Errorf("an empty value reads as %v", v)
		}
		if v := get(t, r, "gone"); v != nil {
			t.Errorf("a cleared key reads as %q", v)
		}
	})
}

func keys(pairs []kv.Pair) (out string) {
	for _, p := range pairs {
		out += string(p.Key) + "=" + string(p.Value) + " "
	}
	return out
}

func ranges(t *testing.T, s kv.Store) {
	update(t, s, func(x kv.Txn) {
		for _, k := range []string{"b", "a", "d", "c", "ab"} {
			x.Set([]byte(k), []byte(k))
		}
	})
	tests := []struct {
		begin, end string
		limit      int
		reverse    bool
		want       string
	}{
		{"a", "e", 0, false, "a=a ab=ab b=b c=c d=d "},
		{"a", "c", 0, false, "a=a ab=ab b=b "},
		{"aa", "c\x00", 0, false, "ab=ab b=b c=c "},
		{"a", "e", 2, false, "a=a ab=ab "},
		{"a", "e", 0, true, "d=d c=c b=b ab=ab a=a "},
		{"a", "d", 1, true, "c=c "},
		{"aa", "cc", 9, true, "c=c b=b ab=ab "},
		{"e", "z", 0, false, ""},
		{"e", "z", 0, true, ""},
		{"0", "1", 0, true, ""},
		{"c", "a", 0, false, ""},
		{"c", "c", 0, true, ""},
	}
	view(t, s, func(r kv.Reader) {
		for _, c := range tests {
			pairs, err := r.Range([]byte(c.begin), []byte(c.end), c.limit, c.reverse)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys(pairs); got != c.want {
				t.Errorf("range %q to %q, limit %d, reverse %v: %q, want %q", c.begin, c.end, c.limit, c.reverse, got, c.want)
			}
		}
	})
}

func readsItsOwnWrites(t *testing.T, s kv.Store) {
	update(t, s, func(x kv.Txn) {
		for _, k := range []string{"a", "b", "c", "d"} {
			x.Set([]byte(k), []byte("old"))
		}
	})
	check := func(x kv.Txn) {
		x.Set([]byte("b"), []byte("new"))
		x.Clear([]byte("c"))
		x.Set([]byte("e"), []byte("new"))
		if v := get(t, x, "b"); string(v) != "new" {
			t.Errorf("b is %q inside", v)
		}
		if v := get(t, x, "c"); v != nil {
			t.Errorf("cleared c is %q inside", v)
		}
		pairs, err := x.Range([]byte("a"), []byte("z"), 0, false)
		if got := keys(pairs); err != nil || got != "a=old b=new d=old e=new " {
			t.Errorf("inside: %q, %v", got, err)
		}
		x.ClearRange([]byte("b"), []byte("e"))
		x.Set([]byte("c"), []byte("back"))
		pairs, err = x.Range([]byte("a"), []byte("z"), 2, true)
		if got := keys(pairs); err != nil || got != "e=new c=back " {
			t.Errorf("inside, after ClearRange: %q, %v", got, err)
		}
	}
	update(t, s, check)
	view(t, s, func(r kv.Reader) {
		pairs, err := r.Range([]byte("a"), []byte("z"), 0, false)
		if got := keys(pairs); err != nil || got != "a=old c=back e=new " {
			t.Errorf("after it: %q, %v", got, err)
		}
	})
}

// rangesAgainstModel does random operations on the store and on a map.
func rangesAgainstModel(t *testing.T, s kv.Store) {
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	key := func() string { return fmt.Sprintf("k%02d", rnd.IntN(40)) }
	for range 60 {
		var steps []func(kv.Txn) // drawn before, since a transaction may run more than once
		for range rnd.IntN(12) {
			k, to, v := key(), key(), fmt.Sprint(rnd.IntN(100))
			switch rnd.IntN(8) {
			case 0:
				steps = append(steps, func(x kv.Txn) { x.ClearRange([]byte(k), []byte(to)) })
				for m := range model {
					if k <= m && m < to {
						delete(model, m)
					}
				}
			case 1, 2:
				steps = append(steps, func(x kv.Txn) { x.Clear([]byte(k)) })
				delete(model, k)
			default:
				steps = append(steps, func(x kv.Txn) { x.Set([]byte(k), []byte(v)) })
				model[k] = v
			}
		}
		update(t, s, func(x kv.Txn) {
			for _, step := range steps {
				step(x)
			}
		})
		begin, end, limit, reverse := key(), key(), rnd.IntN(5), rnd.IntN(2) == 0
		want := ""
		for i, n := 0, 0; i < 40 && (limit == 0 || n < limit); i++ {
			k := fmt.Sprintf("k%02d", i)
			if reverse {
				k = fmt.Sprintf("k%02d", 39-i)
			}
			if v, ok := model[k]; ok && begin <= k && k < end {
				want += k + "=" + v + " "
				n++
			}
		}
		view(t, s, func(r kv.Reader) {
			pairs, err := r.Range([]byte(begin), []byte(end), limit, reverse)
			if got := keys(pairs); err != nil || got != want {
				t.Fatalf("range %s to %s, limit %d, reverse %v: %q, want %q (%v)", begin, end, limit, reverse, got, want, err)
			}
		})
	}
}

func errorUndoes(t *testing.T, s kv.Store) {
	mine := errors.New("mine")
	err := s.Update(background, func(x kv.Txn) error {
		x.Set([]byte("a"), []byte("1"))
		return mine
	})
	if !errors.Is(err, mine) {
		t.Errorf("Update returned %v", err)
	}
	if err := s.View(background, func(kv.Reader) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("View returned %v", err)
	}
	view(t, s, func(r kv.Reader) {
		if v := get(t, r, "a"); v != nil {
			t.Errorf("a failed transaction left %q", v)
		}
	})
}

// snapshotStays: from its first read on a View goes on reading one state while others write, and does not hold them up.
func snapshotStays(t *testing.T, s kv.Store) {
	update(t, s, func(x kv.Txn) { x.Set([]byte("a"), []byte("1")) })
	view(t, s, func(r kv.Reader) {
		get(t, r, "first")
		update(t, s, func(x kv.Txn) { x.Set([]byte("a"), []byte("2")); x.Set([]byte("b"), []byte("2")) })
		if v := get(t, r, "a"); string(v) != "1" {
			t.Errorf("a snapshot changed to %q", v)
		}
		if v := get(t, r, "b"); v != nil {
			t.Errorf("a snapshot grew %q", v)
		}
		view(t, s, func(r kv.Reader) {
			if v := get(t, r, "a"); string(v) != "2" {
				t.Errorf("a later View reads %q", v)
			}
		})
	})
}

func number(v []byte) uint64 {
	if v == nil {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func countersUnderContention(t *testing.T, s kv.Store) {
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				err := s.Update(background, func(x kv.Txn) error {
					for _, k := range []string{"shared", fmt.Sprintf("own%d", w), fmt.Sprintf("pair%d", i%2)} {
						v, err := x.Get([]byte(k))
						if err != nil {
							return err
						}
						x.Set([]byte(k), binary.BigEndian.AppendUint64(nil, number(v)+1))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r kv.Reader) {
		if n := number(get(t, r, "shared")); n != workers*rounds {
			t.Errorf("%d increments counted, %d were made", n, workers*rounds)
		}
		if n := number(get(t, r, "pair0")) + number(get(t, r, "pair1")); n != workers*rounds {
			t.Errorf("pairs count %d", n)
		}
	})
}

// noWriteSkew: two transactions that each read what the other writes do not both see the state before.
func noWriteSkew(t *testing.T, s kv.Store) {
	for round := range 40 {
		update(t, s, func(x kv.Txn) { x.ClearRange([]byte("duty"), []byte("dutz")) })
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Go(func() {
				err := s.Update(background, func(x kv.Txn) error {
					pairs, err := x.Range([]byte("duty"), []byte("dutz"), 1, w == 1)
					if err == nil && len(pairs) == 0 {
						x.Set(fmt.Appendf(nil, "duty%d", w), []byte("on"))
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		view(t, s, func(r kv.Reader) {
			pairs, err := r.Range([]byte("duty"), []byte("dutz"), 0, false)
			if err != nil || len(pairs) != 1 {
				t.Fatalf("round %d: %d on duty, want 1 (%v)", round, len(pairs), err)
			}
		})
	}
}

func tooLarge(t *testing.T, s kv.Store) {
	fits := bytes.Repeat([]byte("x"), kv.ValueBytesMax)
	update(t, s, func(x kv.Txn) { x.Set([]byte("fits"), fits) })
	refused := map[string]func(x kv.Txn){
		"value": func(x kv.Txn) { x.Set([]byte("big"), append(fits[:len(fits):len(fits)], 'x')) },
		"key":   func(x kv.Txn) { x.Set(bytes.Repeat([]byte("k"), kv.KeyBytesMax+1), nil) },
		"transaction": func(x kv.Txn) {
			for i := range kv.TransactionBytesMax/kv.ValueBytesMax + 1 {
				x.Set(fmt.Appendf(nil, "many%d", i), fits)
			}
		},
	}
	for name, f := range refused {
		err := s.Update(background, func(x kv.Txn) error {
			x.Set([]byte("small"), []byte("1"))
			f(x)
			return nil
		})
		if !errors.Is(err, kv.ErrTooLarge) || errors.Is(err, kv.ErrUnknown) {
			t.Errorf("%s: Update returned %v", name, err)
		}
	}
	view(t, s, func(r kv.Reader) {
		pairs, err := r.Range([]byte("a"), []byte("z"), 0, false)
		if err != nil || len(pairs) != 1 || !bytes.Equal(pairs[0].Value, fits) {
			t.Errorf("%d keys are left, want only the one that fits (%v)", len(pairs), err)
		}
	})
}

func isClosed(ch <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ch:
		return true
	case <-timer.C:
		return false
	}
}

func watch(t *testing.T, s kv.Store, ctx context.Context, key string) <-chan struct{} {
	t.Helper()
	ch, err := s.Watch(ctx, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func watches(t *testing.T, s kv.Store) {
	update(t, s, func(x kv.Txn) {
		x.Set([]byte("a"), []byte("0"))
		x.Set([]byte("r5"), []byte("0"))
	})
	ctx, cancel := context.WithCancel(background)
	a, b, ranged := watch(t, s, ctx, "a"), watch(t, s, ctx, "b"), watch(t, s, ctx, "r5")
	again := watch(t, s, background, "a")
	if isClosed(a, 0) {
		t.Error("a watch ended by a write before it")
	}
	update(t, s, func(x kv.Txn) { x.Set([]byte("a"), []byte("1")) })
	if !isClosed(a, 10*time.Second) || !isClosed(again, 10*time.Second) {
		t.Error("a write did not end its watches")
	}
	if isClosed(b, 0) || isClosed(ranged, 0) {
		t.Error("a write ended another key's watch")
	}
	update(t, s, func(x kv.Txn) { x.ClearRange([]byte("r0"), []byte("r9")) })
	if !isClosed(ranged, 10*time.Second) {
		t.Error("clearing a range did not end the watch of a key in it")
	}
	cancel()
	if !isClosed(b, 10*time.Second) {
		t.Error("the context's end did not end its watch")
	}
}

func contextEnds(t *testing.T, s kv.Store) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	ran := func(kv.Txn) error { t.Error("the function ran"); return nil }
	if err := s.Update(ctx, ran); !errors.Is(err, context.Canceled) {
		t.Errorf("Update returned %v", err)
	}
	if err := s.View(ctx, func(kv.Reader) error { return ran(nil) }); !errors.Is(err, context.Canceled) {
		t.Errorf("View returned %v", err)
	}
}

func closed(t *testing.T, s kv.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(background, func(kv.Txn) error { return nil }); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Update returned %v", err)
	}
	if err := s.View(background, func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("View returned %v", err)
	}
	if _, err := s.Watch(background, []byte("a")); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Watch returned %v", err)
	}
}
