package client

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// gate bounds bytes: those that wait for an answer at one address, or those of all open writes. Callers pass in the order in which they came.
type gate struct {
	mu      sync.Mutex
	used    int64
	limit   int64
	most    int64     // limit at its largest
	waiting list.List // of *waiter
}

type waiter struct {
	bytes int64
	let   chan struct{} // closed once the bytes are counted
}

func newGate(most int64) *gate { return &gate{limit: most, most: most} }

// fits: something always fits into an empty gate, or a write larger than the share would wait forever.
func (g *gate) fits(bytes int64) bool { return g.used == 0 || g.used+bytes <= g.limit }

// enter counts bytes as unanswered, and waits for room.
func (g *gate) enter(ctx context.Context, bytes int64) error {
	g.mu.Lock()
	if g.waiting.Len() == 0 && g.fits(bytes) {
		g.used += bytes
		g.mu.Unlock()
		return nil
	}
	w := &waiter{bytes, make(chan struct{})}
	element := g.waiting.PushBack(w)
	g.mu.Unlock()
	select {
	case <-w.let:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.let: // let in just now: hand it on
		g.used -= bytes
	default:
		g.waiting.Remove(element)
	}
	g.letIn()
	return fmt.Errorf("%w: %d bytes are unanswered: %w", ErrOverloaded, g.used, context.Cause(ctx))
}

// leave counts bytes as answered.
func (g *gate) leave(bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used -= bytes
	g.letIn()
}

// share sets the bound from what the other side would admit now, on top of what it has admitted.
func (g *gate) share(free int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = min(g.most, g.used+max(0, free))
	g.letIn()
}

func (g *gate) letIn() {
	for e := g.waiting.Front(); e != nil; e = g.waiting.Front() {
		w := e.Value.(*waiter)
		if !g.fits(w.bytes) {
			return
		}
		g.used += w.bytes
		g.waiting.Remove(e)
		close(w.let)
	}
}

// taken is what is counted now, in bytes.
func (g *gate) taken() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}

// fill is the used part of the largest bound, 0 to 1 and over.
func (g *gate) fill() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(g.used) / float64(g.most)
}
