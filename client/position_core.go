package client

import "fmt"

// position is how far a reader of a table is, row by row. It is what makes a reading exact: whatever node the next rows
// come from, they must be the next ones. Nodes hold the same rows in the same order (I4), so that a place on one is the
// same place on each of them.
type position struct {
	next  uint64 // the TxID whose rows come next, or are coming
	given int    // rows of it that were given out

	complete uint64 // the answer at hand has everything up to here
	seen     int    // rows of next that the answer has brought
	passed   gap    // TxIDs without rows that the answer has passed over, first is 0 if there are none
}

// gap is a range of TxIDs.
type gap struct{ first, last uint64 }

// positionError says that an answer is not what a node that holds the table's rows would give.
type positionError struct {
	txid uint64
	what string
}

func (e *positionError) Error() string { return fmt.Sprintf("TxID %d: %s", e.txid, e.what) }

func wrong(txid uint64, format string, args ...any) error {
	return &positionError{txid, fmt.Sprintf(format, args...)}
}

// begin takes an answer that was asked for from next on, and is complete up to a TxID.
func (p *position) begin(complete uint64) {
	p.complete, p.seen, p.passed = complete, 0, gap{}
}

// row takes the next row of the answer, which may be the last of its transaction. It says whether the row is to be given
// out; otherwise it was already. If passed has become something, the row counts only once those TxIDs are known to have
// no rows.
func (p *position) row(txid uint64, last bool) (give bool, err error) {
	switch {
	case txid < p.next:
		return false, wrong(txid, "its rows have come already, those of %d were to come", p.next)
	case txid > p.complete:
		return false, wrong(txid, "the answer said that it ends with %d", p.complete)
	case txid > p.next:
		if err := p.pass(txid - 1); err != nil {
			return false, err
		}
	}
	p.seen++
	if give = p.seen > p.given; give {
		p.given = p.seen
	}
	if !last {
		return give, nil
	}
	if p.seen < p.given {
		return false, p.tooFew()
	}
	p.next, p.given, p.seen = txid+1, 0, 0
	return give, nil
}

// end takes the answer's proper end.
func (p *position) end() error {
	if p.seen > 0 {
		return wrong(p.next, "the answer ends in the middle of it")
	}
	if p.complete >= p.next {
		return p.pass(p.complete)
	}
	return nil
}

// pass notes that the answer has no rows of next and what follows up to a TxID, and goes on behind them.
func (p *position) pass(to uint64) error {
	if p.given > 0 {
		return p.tooFew()
	}
	if p.seen > 0 {
		return wrong(p.next, "the next transaction begins in the middle of it")
	}
	p.passed = gap{p.next, to}
	p.next = to + 1
	return nil
}

func (p *position) tooFew() error {
	return wrong(p.next, "%d rows, another answer had %d and more", p.seen, p.given)
}

// takePassed returns the TxIDs that were passed over since the last call.
func (p *position) takePassed() (g gap, ok bool) {
	g, p.passed = p.passed, gap{}
	return g, g.first != 0
}

// takeBack undoes passing a gap over: it is read again.
func (p *position) takeBack(g gap) { p.next, p.given, p.seen = g.first, 0, 0 }
