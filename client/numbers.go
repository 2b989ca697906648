package client

// numbers gives a producer's writes their sequences, and knows what is settled. Pure: its caller locks and waits.
//
// Sequences rise over all tables, so that a table without open writes needs no memory: whatever it numbered before
// lies below its next sequence. The cluster asks for nothing but rising numbers in a table.
type numbers struct {
	last   uint64
	tables map[string][]open // writes from the oldest open one on, in order; never empty
}

type open struct {
	sequence uint64
	done     bool
}

// take numbers a write of table: every write of the table up to settled has its answer, or nobody waits for it. It
// refuses if windowMax writes wait already from the oldest open one on, for the cluster keeps no more answers.
func (n *numbers) take(table string, windowMax int) (sequence, settled uint64, ok bool) {
	window := n.tables[table]
	if len(window) >= windowMax {
		return 0, 0, false
	}
	n.last++
	window = append(window, open{sequence: n.last})
	if n.tables == nil {
		n.tables = make(map[string][]open)
	}
	n.tables[table] = window
	return n.last, window[0].sequence - 1, true
}

// done says that nobody waits for the answer to this write any more. It reports whether the window has moved.
func (n *numbers) done(table string, sequence uint64) (moved bool) {
	window := n.tables[table]
	for i := range window {
		if window[i].sequence == sequence {
			window[i].done = true
			break
		}
	}
	for len(window) > 0 && window[0].done {
		window, moved = window[1:], true
	}
	if len(window) == 0 {
		delete(n.tables, table)
	} else {
		n.tables[table] = window
	}
	return moved
}
