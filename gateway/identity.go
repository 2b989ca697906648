package gateway

import (
	"container/list"

	"github.com/seed-551dd829/braid/internal/api"
)

// numbering gives the groups of one registration of the gateway their identities, and knows per
// table up to where every group has its answer or nobody waits for one any more. It is a pure core;
// the caller serialises.
type numbering struct {
	producer  string
	epoch     uint64
	openMax   int // unsettled sequences of a table: the store keeps an answer for each
	tablesMax int

	tables map[string]*sequences
	idle   list.List // of *sequences without an open sequence, longest idle first
	// floor is at least every sequence of a table that was forgotten: numbering goes on above it,
	// so that no sequence is ever used twice.
	floor uint64
}

type sequences struct {
	table   string
	last    uint64              // given
	settled uint64              // every sequence up to it is closed
	closed  map[uint64]struct{} // closed sequences above settled
	place   *list.Element       // in idle, nil while a sequence is open
}

func newNumbering(producer string, epoch uint64, openMax, tablesMax int) *numbering {
	return &numbering{
		producer: producer, epoch: epoch, openMax: openMax, tablesMax: tablesMax,
		tables: make(map[string]*sequences),
	}
}

// next gives a group its identity. ok is false if too many of the table are unsettled; the writer
// is told to slow down.
func (n *numbering) next(table string) (id api.ProducerSeq, ok bool) {
	s := n.sequences(table)
	if s == nil || s.last-s.settled >= uint64(n.openMax) {
		return api.ProducerSeq{}, false
	}
	s.last++
	return api.ProducerSeq{Producer: n.producer, Epoch: n.epoch, Sequence: s.last, Settled: s.settled}, true
}

// sequences returns the table's numbers, no longer idle; nil if every remembered table is busy.
func (n *numbering) sequences(table string) *sequences {
	if s, ok := n.tables[table]; ok {
		if s.place != nil {
			n.idle.Remove(s.place)
			s.place = nil
		}
		return s
	}
	if len(n.tables) >= n.tablesMax && !n.forget() {
		return nil
	}
	s := &sequences{table: table, last: n.floor, settled: n.floor, closed: make(map[uint64]struct{})}
	n.tables[table] = s
	return s
}

// forget drops the table that has been idle for longest.
func (n *numbering) forget() bool {
	oldest := n.idle.Front()
	if oldest == nil {
		return false
	}
	s := n.idle.Remove(oldest).(*sequences)
	n.floor = max(n.floor, s.last)
	delete(n.tables, s.table)
	return true
}

// close says that a sequence has its answer, or that nobody waits for it any more. After it the
// gateway never sends the sequence again: a late copy that is still on its way may be refused.
func (n *numbering) close(table string, sequence uint64) {
	s := n.tables[table]
	s.closed[sequence] = struct{}{}
	for {
		if _, ok := s.closed[s.settled+1]; !ok {
			break
		}
		s.settled++
		delete(s.closed, s.settled)
	}
	if s.settled == s.last {
		s.place = n.idle.PushBack(s)
	}
}
