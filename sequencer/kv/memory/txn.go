package memory

import (
	"cmp"
	"errors"
	"slices"

	"github.com/seed-551dd829/braid/sequencer/kv"
)

// txn writes into a tree of its own, so that its reads see its writes.
type txn struct {
	root       *node
	optimistic bool // reads are remembered
	reads      []span
	writes     []write
	meter      kv.Meter

	count, oldAt int
	old          bool // a read was refused as too old: nothing of this attempt counts
}

// errTooOld is what a function may not take for an answer: it ends, and runs again on a newer state.
var errTooOld = errors.New("transaction is too old")

// age counts a read, and refuses the one that comes too late, and all after it.
func (t *txn) age() error {
	if t.count++; t.count == t.oldAt {
		t.old = true
	}
	if t.old {
		return errTooOld
	}
	return nil
}

// write is a set if value is not nil, else a clear of the span.
type write struct {
	span
	value []byte
}

func (w write) apply(n *node) *node {
	if w.value != nil {
		return n.set(w.begin, w.value, priority(w.begin))
	}
	return n.clearRange(w.begin, w.end)
}

func (t *txn) read(begin, end string) {
	if t.optimistic && begin < end {
		t.reads = append(t.reads, span{begin, end})
	}
}

func (t *txn) Get(key []byte) ([]byte, error) {
	if err := t.age(); err != nil {
		return nil, err
	}
	if t.optimistic {
		t.read(string(key), string(key)+"\x00")
	}
	return t.root.get(key), nil
}

func (t *txn) Range(begin, end []byte, limit int, reverse bool) ([]kv.Pair, error) {
	if err := t.age(); err != nil {
		return nil, err
	}
	var pairs []kv.Pair
	full := !t.root.walk(begin, end, reverse, func(n *node) bool {
		pairs = append(pairs, kv.Pair{Key: []byte(n.key), Value: n.value})
		return len(pairs) != limit
	})
	if t.optimistic {
		from, to := string(begin), string(end)
		if full { // what lies behind the last pair was not looked at
			last := string(pairs[len(pairs)-1].Key)
			if reverse {
				from = last
			} else {
				to = last + "\x00"
			}
		}
		t.read(from, to)
	}
	return pairs, nil
}

func (t *txn) Set(key, value []byte) {
	if !t.meter.Write(key, value) {
		return
	}
	if value == nil {
		value = []byte{}
	}
	t.write(write{span{string(key), string(key) + "\x00"}, value})
}

func (t *txn) Clear(key []byte) {
	if t.meter.Write(key, nil) {
		t.write(write{span{string(key), string(key) + "\x00"}, nil})
	}
}

func (t *txn) ClearRange(begin, end []byte) {
	if t.meter.Write(begin, nil) && t.meter.Write(end, nil) && string(begin) < string(end) {
		t.write(write{span{string(begin), string(end)}, nil})
	}
}

func (t *txn) write(w write) {
	t.root = w.apply(t.root)
	t.writes = append(t.writes, w)
}

// spans returns what was written, sorted and without overlap.
func (t *txn) spans() []span {
	all := make([]span, len(t.writes))
	for i := range t.writes {
		all[i] = t.writes[i].span
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && s.begin <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}
