package replicator

import (
	"context"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
)

// waits are the reads that wait until a table has grown: whoever follows a table asks once, and not over and over. How
// many wait is bounded, and how long; a table that grows wakes those who wait for it, and nobody else.
type waits struct {
	max  int
	over chan struct{} // closed: nobody waits any more

	mu     sync.Mutex
	count  int
	tables map[string]*growth // those that somebody waits for
	isOver bool
}

// growth is word of one table.
type growth struct {
	waiting int
	grown   chan struct{} // closed and replaced when the table has grown
}

func newWaits(limit int) *waits {
	return &waits{max: limit, over: make(chan struct{}), tables: make(map[string]*growth)}
}

// join counts one who waits for a table, until it leaves. It is api.Overloaded if too many do.
func (w *waits) join(table string) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= w.max {
		return nil, api.OverloadedError(1000, "%d reads wait for rows on this node", w.max)
	}
	w.count++
	g := w.tables[table]
	if g == nil {
		g = &growth{grown: make(chan struct{})}
		w.tables[table] = g
	}
	g.waiting++
	return func() { w.leave(table) }, nil
}

func (w *waits) leave(table string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count--
	if g := w.tables[table]; g.waiting > 1 {
		g.waiting--
	} else {
		delete(w.tables, table)
	}
}

// until returns when done says so, which is asked whenever the table has grown, or when ctx has ended or all waiting is
// over. The caller has joined.
func (w *waits) until(ctx context.Context, table string, done func() bool) {
	for {
		grown := w.word(table) // before the question, or what comes in between would be missed
		if done() {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		case <-w.over:
			return
		}
	}
}

func (w *waits) word(table string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tables[table].grown
}

// wake tells those who wait for the tables of records, which were applied.
func (w *waits) wake(records []api.LogRecord) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return
	}
	for i := range records {
		if g := w.tables[records[i].Table]; g != nil {
			close(g.grown)
			g.grown = make(chan struct{})
		}
	}
}

// end lets everybody go, now and from now on.
func (w *waits) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.isOver {
		w.isOver = true
		close(w.over)
	}
}

// StopWaiting answers all reads that wait for rows with what there is, and lets none wait any more: a node that stops
// does not wait for them.
func (s *Service) StopWaiting() { s.waits.end() }
