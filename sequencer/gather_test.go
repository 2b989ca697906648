package sequencer

import (
	"context"
	"slices"
	"sync"
	"testing"
)

func TestQueueTakesInOrderAndWithinBounds(t *testing.T) {
	q := queue[string]{itemsMax: 4, costMax: 100}
	steps := []struct {
		push  string
		cost  int
		fits  bool
		count int // if not 0: take instead
		bytes int
		want  []string
	}{
		{push: "huge", cost: 500, fits: true}, // one always fits
		{push: "a", cost: 1, fits: false},
		{count: 9, bytes: 50, want: []string{"huge"}}, // and is never split
		{count: 9, bytes: 50, want: nil},
		{push: "a", cost: 30, fits: true},
		{push: "b", cost: 30, fits: true},
		{push: "c", cost: 30, fits: true},
		{push: "d", cost: 30, fits: false},
		{push: "e", cost: 5, fits: true},
		{push: "f", cost: 1, fits: false},
		{count: 9, bytes: 60, want: []string{"a", "b"}},
		{push: "g", cost: 1, fits: true},
		{count: 2, bytes: 60, want: []string{"c", "e"}},
		{count: 2, bytes: 60, want: []string{"g"}},
	}
	for i, s := range steps {
		if s.count > 0 {
			if got := q.take(s.count, s.bytes); !slices.Equal(got, s.want) {
				t.Errorf("step %d: took %q, want %q", i, got, s.want)
			}
		} else if fits := q.push(s.push, s.cost); fits != s.fits {
			t.Errorf("step %d: push %s says %v", i, s.push, fits)
		}
	}
	if q.cost != 0 {
		t.Errorf("an empty queue costs %d", q.cost)
	}
}

// TestLaneGathersWhileItWorks: what arrives during a transaction goes into the next one together, and close lets the
// lane finish.
func TestLaneGathersWhileItWorks(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var batches [][]int
	l := newLane(queue[int]{itemsMax: 100, costMax: 100}, 10, 100, func(_ context.Context, batch []int) {
		if batches = append(batches, batch); len(batches) == 1 {
			close(started)
			<-release
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(context.Background()) })
	l.add(1, 1)
	<-started
	for i := 2; i <= 12; i++ {
		l.add(i, 1)
	}
	l.close()
	if l.add(13, 1) {
		t.Error("a closed lane takes more")
	}
	close(release)
	wg.Wait()
	want := [][]int{{1}, {2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {12}}
	if !slices.EqualFunc(batches, want, slices.Equal) {
		t.Errorf("batches %v, want %v", batches, want)
	}
}
