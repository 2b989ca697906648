package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Unique checks that no two writes were acknowledged with the same TxID, and that none got one that was given before
// the run (I1).
func Unique(t Table) (v Verdict) {
	acked := acknowledged(t)
	for i, w := range acked {
		if w.TxID <= t.Base {
			v.Add(Violation{1, "unique", t.Name, "", w.TxID,
				fmt.Sprintf("acknowledged, but the head was %d already before the run", t.Base)})
		}
		if i > 0 && acked[i-1].TxID == w.TxID {
			v.Add(Violation{1, "unique", t.Name, "", w.TxID, "acknowledged to two writes"})
		}
	}
	return v
}

// acknowledged returns the acknowledged writes by TxID.
func acknowledged(t Table) []*Write {
	acked := make([]*Write, 0, len(t.Writes))
	for i := range t.Writes {
		if t.Writes[i].Outcome == Acknowledged {
			acked = append(acked, &t.Writes[i])
		}
	}
	slices.SortFunc(acked, func(a, b *Write) int { return cmp.Compare(a.TxID, b.TxID) })
	return acked
}

// Dense checks that a node gives back Base+1, Base+2, … up to its applied TxID, each once and in order (I1, I4), without
// those that were given up.
func Dense(t Table, n Node) (v Verdict) {
	next := func(txid uint64) uint64 {
		for t.Voided(txid) {
			txid++
		}
		return txid
	}
	want := next(t.Base + 1)
	for _, s := range n.Seen {
		switch {
		case t.Voided(s.TxID):
			v.Add(Violation{1, "dense", t.Name, n.ID, s.TxID, "is there, though it was given up"})
		case s.TxID > want:
			v.Add(Violation{1, "dense", t.Name, n.ID, want, fmt.Sprintf("missing: TxID %d comes next", s.TxID)})
		case s.TxID < want:
			v.Add(Violation{4, "dense", t.Name, n.ID, s.TxID, fmt.Sprintf("comes after TxID %d", want-1)})
		}
		if s.Rows == 0 {
			v.Add(Violation{1, "dense", t.Name, n.ID, s.TxID, "has no rows"})
		}
		want = next(max(want, s.TxID+1))
	}
	if want != next(n.Applied+1) && n.Applied >= t.Base {
		v.Add(Violation{1, "dense", t.Name, n.ID, n.Applied,
			fmt.Sprintf("the node says that it is complete to here, but gives back rows to TxID %d", want-1)})
	}
	return v
}

// Once checks a node's transactions against the writers' records: every acknowledged write is there under its TxID
// with its rows (I2), and every other transaction is one write of unknown outcome, none of them twice, and none that
// was refused (I3, I5). One that was given up is not there.
func Once(t Table, n Node) (v Verdict) {
	at := placeByTxID(t, n)
	owned := make([]bool, len(n.Seen))
	for i := range t.Writes {
		w := &t.Writes[i]
		if w.Outcome != Acknowledged || w.TxID <= t.Base || t.Voided(w.TxID) {
			continue
		}
		p, ok := at(w.TxID)
		if !ok {
			v.Add(Violation{2, "durable", t.Name, n.ID, w.TxID, "acknowledged, but not there"})
			continue
		}
		owned[p] = true
		if s := n.Seen[p]; !same(w, s) {
			v.Add(Violation{2, "durable", t.Name, n.ID, w.TxID, fmt.Sprintf(
				"acknowledged with %d rows of content %016x, there are %d rows of content %016x",
				w.Rows, w.Content, s.Rows, s.Content)})
		}
	}
	v.Merge(unowned(t, n, owned))
	return v
}

// placeByTxID returns a function that finds a TxID in n.Seen. It costs nothing while the node's view is dense.
func placeByTxID(t Table, n Node) func(uint64) (int, bool) {
	var moved map[uint64]int // of those that are not where a dense view has them
	for i, s := range n.Seen {
		if s.TxID != t.Base+1+uint64(i) {
			if moved == nil {
				moved = make(map[uint64]int)
			}
			moved[s.TxID] = i
		}
	}
	return func(txid uint64) (int, bool) {
		if i := txid - t.Base - 1; i < uint64(len(n.Seen)) && n.Seen[i].TxID == txid {
			return int(i), true
		}
		i, ok := moved[txid]
		return i, ok
	}
}

func same(w *Write, s Seen) bool {
	return w.Rows == s.Rows && (w.Opaque || w.Content == s.Content)
}

type rows struct {
	content uint64
	rows    uint32
}

// unowned explains the transactions that nobody has an acknowledgement for.
func unowned(t Table, n Node, owned []bool) (v Verdict) {
	unknown, refused := make(map[rows]int), make(map[rows]bool)
	for i := range t.Writes {
		w := &t.Writes[i]
		key := rows{w.Content, w.Rows}
		if w.Opaque {
			key.content = 0
		}
		switch w.Outcome {
		case Unknown:
			unknown[key]++
			v.UnknownLost++
		case Conflicted:
			refused[key] = true
		}
	}
	for i, s := range n.Seen {
		if owned[i] {
			continue
		}
		key, opaque := rows{s.Content, s.Rows}, rows{0, s.Rows}
		switch {
		case unknown[key] > 0:
			unknown[key]--
		case unknown[opaque] > 0:
			unknown[opaque]--
		case refused[key]:
			v.Add(Violation{5, "final refusal", t.Name, n.ID, s.TxID, "holds the rows of a write that was refused"})
			continue
		default:
			v.Add(Violation{3, "once", t.Name, n.ID, s.TxID,
				"nobody was acknowledged for it, and no write of unknown outcome has its rows"})
			continue
		}
		v.UnknownStored++
		v.UnknownLost--
	}
	return v
}

// SameOrder checks that nodes agree: the same rows under the same TxIDs, as far as both have applied (I4).
func SameOrder(t Table, nodes []Node) (v Verdict) {
	if len(nodes) == 0 {
		return v
	}
	first := nodes[0]
	for _, n := range nodes[1:] {
		for i := range min(len(n.Seen), len(first.Seen)) {
			a, b := first.Seen[i], n.Seen[i]
			if a != b {
				v.Add(Violation{4, "same order", t.Name, n.ID, b.TxID, fmt.Sprintf(
					"%d rows of content %016x; %s has TxID %d, %d rows, %016x",
					b.Rows, b.Content, first.ID, a.TxID, a.Rows, a.Content)})
				break // all that follows is shifted
			}
		}
	}
	return v
}

// Lock checks the optimistic lock as the writers saw it: who was acknowledged got the TxID after the expected one,
// and nobody was refused with the head that he expected (I5).
func Lock(t Table) (v Verdict) {
	for i := range t.Writes {
		w := &t.Writes[i]
		switch {
		case !w.Locked:
		case w.Outcome == Acknowledged && w.TxID != w.Expected+1:
			v.Add(Violation{5, "lock", t.Name, "", w.TxID,
				fmt.Sprintf("acknowledged to a write that expected TxID %d", w.Expected)})
		case w.Outcome == Conflicted && w.Current == w.Expected:
			v.Add(Violation{5, "lock", t.Name, "", w.Current, "refused a write that expected just this head"})
		}
	}
	return v
}

// RealTime checks that TxIDs follow time: a write that was sent after another was acknowledged has the larger TxID,
// and a conflict's head is not older than what was acknowledged before the write was sent (I4, I5). It needs all
// times to be of one clock.
func RealTime(t Table) (v Verdict) {
	acked := acknowledged(t)
	// From the last TxID down: the earliest answer of any later TxID.
	earliest, of := int64(math.MaxInt64), uint64(0)
	for i := len(acked) - 1; i >= 0; i-- {
		w := acked[i]
		if w.Sent > earliest {
			v.Add(Violation{4, "real time", t.Name, "", w.TxID,
				fmt.Sprintf("sent after TxID %d was acknowledged", of)})
		}
		if w.Answered < earliest {
			earliest, of = w.Answered, w.TxID
		}
	}
	v.Merge(staleConflicts(t, acked))
	return v
}

// staleConflicts finds refusals that told a head older than one acknowledged before the refused write was sent.
func staleConflicts(t Table, acked []*Write) (v Verdict) {
	var refused []*Write
	for i := range t.Writes {
		if t.Writes[i].Outcome == Conflicted {
			refused = append(refused, &t.Writes[i])
		}
	}
	slices.SortFunc(refused, func(a, b *Write) int { return cmp.Compare(a.Sent, b.Sent) })
	byAnswer := slices.Clone(acked)
	slices.SortFunc(byAnswer, func(a, b *Write) int { return cmp.Compare(a.Answered, b.Answered) })
	head, i := t.Base, 0
	for _, w := range refused {
		for ; i < len(byAnswer) && byAnswer[i].Answered < w.Sent; i++ {
			head = max(head, byAnswer[i].TxID)
		}
		if w.Current < head {
			v.Add(Violation{5, "real time", t.Name, "", w.Current, fmt.Sprintf(
				"told as the head by a conflict, though TxID %d was acknowledged before the write was sent", head)})
		}
	}
	return v
}
