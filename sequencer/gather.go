package sequencer

import (
	"context"
	"sync"
)

// queue holds what waits for a transaction, oldest first, within bounds. Costs are about bytes. It decides what goes
// into one transaction together, and knows no goroutine.
type queue[T any] struct {
	itemsMax, costMax int
	items             []queued[T]
	cost              int
}

type queued[T any] struct {
	item T
	cost int
}

// push says false if the queue is full. One item always fits into an empty queue.
func (q *queue[T]) push(item T, cost int) bool {
	if len(q.items) > 0 && (len(q.items) >= q.itemsMax || q.cost+cost > q.costMax) {
		return false
	}
	q.items = append(q.items, queued[T]{item, cost})
	q.cost += cost
	return true
}

// take removes what goes together: in order, at most count items and cost, but at least one item if there is one.
func (q *queue[T]) take(count, cost int) []T {
	var taken []T
	for i := range q.items {
		next := &q.items[i]
		if len(taken) == count || len(taken) > 0 && next.cost > cost {
			break
		}
		cost -= next.cost
		q.cost -= next.cost
		taken = append(taken, next.item)
	}
	rest := copy(q.items, q.items[len(taken):])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	return taken
}

// lane hands what waits in a queue to its workers, as much at once as may go together. While a worker is busy, more
// gathers: that is what makes transactions large when there is much to do, and quick when there is little.
type lane[T any] struct {
	count, cost int // of one batch at most
	work        func(context.Context, []T)

	mu     sync.Mutex
	wake   sync.Cond
	queue  queue[T]
	closed bool
}

func newLane[T any](q queue[T], count, cost int, work func(context.Context, []T)) *lane[T] {
	l := &lane[T]{count: count, cost: cost, work: work, queue: q}
	l.wake.L = &l.mu
	return l
}

// add says false if the queue is full or closed.
func (l *lane[T]) add(item T, cost int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || !l.queue.push(item, cost) {
		return false
	}
	l.wake.Signal()
	return true
}

// close takes no more; run returns once what waits is done.
func (l *lane[T]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake.Broadcast()
}

func (l *lane[T]) depth() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue.items)
}

// run is one worker. It ends once the lane is closed and empty.
func (l *lane[T]) run(ctx context.Context) {
	for {
		batch := l.next()
		if batch == nil {
			return
		}
		l.work(ctx, batch)
	}
}

func (l *lane[T]) next() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue.items) == 0 && !l.closed {
		l.wake.Wait()
	}
	return l.queue.take(l.count, l.cost)
}
