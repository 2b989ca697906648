package loadtest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestOpenLoopCountsFromTheIntendedTime lets a cluster stand still for a second: with one writer and a write every
// 100 ms, the writes that were due meanwhile must be charged for their waiting (no coordinated omission).
func TestOpenLoopCountsFromTheIntendedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(2*time.Second, 100*time.Millisecond, 1000)
		var latencies []time.Duration
		for {
			n, intended, ok := s.next(context.Background())
			if !ok {
				break
			}
			if n == 3 {
				time.Sleep(time.Second) // the cluster stands still
			}
			latencies = append(latencies, time.Since(intended))
		}
		if len(latencies) != 20 {
			t.Fatalf("%d writes in 2 s at 10 a second", len(latencies))
		}
		for n, got := range latencies {
			want := time.Duration(0)
			if n >= 3 && n <= 13 {
				want = time.Second - time.Duration(n-3)*100*time.Millisecond
			}
			if got != want {
				t.Errorf("write %d: latency %s, want %s", n, got, want)
			}
		}
		if s.open.missed != 0 || s.open.peak != 10 {
			t.Errorf("missed %d, peak %d", s.open.missed, s.open.peak)
		}
	})
}

func TestI7_OpenLoopBacklogIsBoundedAndReported(t *testing.T) {
	s := slots{interval: time.Millisecond, backlog: 10}
	if at := s.take(0); at != 0 {
		t.Fatalf("first write at %s", at)
	}
	// A second later 1,000 more are due: ten may wait, the others are given up.
	if at := s.take(time.Second); at != 991*time.Millisecond {
		t.Fatalf("next write at %s", at)
	}
	if s.missed != 990 || s.peak != 10 {
		t.Fatalf("missed %d, peak %d", s.missed, s.peak)
	}
}

func TestOpenLoopKeepsItsRateWithManyWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(time.Second, time.Millisecond, 1000)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for {
					_, intended, ok := s.next(context.Background())
					if !ok {
						return
					}
					if late := time.Since(intended); late != 0 {
						t.Errorf("a write is %s late", late)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if n := s.count.Load(); n != 1000 {
			t.Fatalf("%d writes in a second at 1,000 a second", n)
		}
	})
}

func TestClosedLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(time.Second, 0, 1)
		for range 3 {
			if _, _, ok := s.next(context.Background()); !ok {
				t.Fatal("ended too early")
			}
		}
		time.Sleep(time.Second)
		if _, _, ok := s.next(context.Background()); ok {
			t.Fatal("does not end")
		}
		if s.count.Load() != 3 {
			t.Fatalf("%d writes counted", s.count.Load())
		}
	})
}
