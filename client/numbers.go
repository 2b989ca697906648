package client

// numbers gives a producer's writes their sequences, and knows what is settled. Pure: its caller locks and waits.
//
// In a window, from a table's oldest open write on, sequences have no gaps: the cluster refuses one that is too far
// above settled. A table without open writes needs no memory, for the next window of any table begins above floor.
type numbers struct {
	floor  uint64 // at least every sequence of a window that is gone
	tables map[string]*window
}

// window is a table's writes from the oldest open one on, in order; never empty.
type window struct {
	settled uint64 // below its first write
	done    []bool
}

// take numbers a write of table: every write of the table up to settled has its answer, or nobody waits for it. It
// refuses if windowMax writes wait already from the oldest open one on, for the cluster keeps no more answers.
func (n *numbers) take(table string, windowMax int) (sequence, settled uint64, ok bool) {
	w := n.tables[table]
	if w == nil {
		w = &window{settled: n.floor}
	}
	if len(w.done) >= windowMax {
		return 0, 0, false
	}
	if n.tables == nil {
		n.tables = make(map[string]*window)
	}
	n.tables[table] = w
	w.done = append(w.done, false)
	return w.settled + uint64(len(w.done)), w.settled, true
}

// done says that nobody waits for the answer to this write any more. It reports whether the window has moved.
func (n *numbers) done(table string, sequence uint64) (moved bool) {
	w := n.tables[table]
	w.done[sequence-w.settled-1] = true
	for len(w.done) > 0 && w.done[0] {
		w.done, moved = w.done[1:], true
		w.settled++
	}
	if len(w.done) == 0 {
		n.floor = max(n.floor, w.settled)
		delete(n.tables, table)
	}
	return moved
}
