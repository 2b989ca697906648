// Package history holds what writers and nodes saw during a run, and checks it against the design's invariants.
//
// Every check is linear in the size of the history (one of them sorts), so that it can follow whole load tests. The
// checks know nothing of Braid's services: they judge numbers that a harness recorded. They do not prove that the
// harness recorded everything; each says what it needs.
package history

import (
	"fmt"
	"slices"
)

// Outcome is what a writer was told.
type Outcome uint8

const (
	// Acknowledged: the write has a TxID.
	Acknowledged Outcome = iota + 1
	// Unknown: no definite answer came. The write may be stored, once.
	Unknown
	// Conflicted: refused because the expected TxID was not the head. Final: it is never stored.
	Conflicted
)

// Write is one write as its writer saw it. Writes that were refused for another reason than a conflict left nothing
// behind and need not be recorded.
type Write struct {
	TxID    uint64 // if Acknowledged
	Content uint64 // checksum of the rows, in order; several writes may have the same one
	// Expected is the expected TxID if Locked; Current is the head that a conflict told.
	Expected, Current uint64
	// Sent and Answered are nanoseconds of one clock: when the write was sent first, and when its answer came.
	Sent, Answered int64
	Rows           uint32
	Outcome        Outcome
	Locked         bool
	// Opaque says that the content could not be computed (server-side timestamps): only the row count is compared.
	Opaque bool
}

// Table is what all writers did to one table.
type Table struct {
	Name string
	Base uint64 // head before the run; nobody but the run's writers wrote after it
	// Writes in any order.
	Writes []Write
	// Void are the TxIDs that an operator gave up, in any order: nobody has them, and whoever was acknowledged for one has
	// lost it.
	Void []Range
}

// Range is TxIDs from First to Last.
type Range struct{ First, Last uint64 }

// Voided says whether a TxID was given up. They are few.
func (t *Table) Voided(txid uint64) bool {
	return slices.ContainsFunc(t.Void, func(r Range) bool { return r.First <= txid && txid <= r.Last })
}

// Seen is one transaction as a node gives it back.
type Seen struct {
	TxID    uint64
	Content uint64
	Rows    uint32
}

// Node is what one node has of a table above its Base, in the order in which the node gives it back.
type Node struct {
	ID      string
	Applied uint64 // the TxID up to which the node says that it is complete
	Seen    []Seen
}

// Violation is one proof that an invariant does not hold.
type Violation struct {
	Invariant int    `json:"invariant"` // its number in the design, section 2
	Check     string `json:"check"`
	Table     string `json:"table"`
	Node      string `json:"node,omitempty"`
	TxID      uint64 `json:"txid,omitempty"`
	Detail    string `json:"detail"`
}

func (v Violation) String() string {
	where := v.Table
	if v.TxID != 0 {
		where = fmt.Sprintf("%s TxID %d", where, v.TxID)
	}
	if v.Node != "" {
		where += " on " + v.Node
	}
	return fmt.Sprintf("I%d %s: %s: %s", v.Invariant, v.Check, where, v.Detail)
}

// violationsMax bounds the violations that a verdict keeps; all are counted.
const violationsMax = 20

// Verdict is the result of checks. The zero Verdict has found nothing.
type Verdict struct {
	Violations []Violation `json:"violations,omitempty"` // the first 20
	Count      int         `json:"count"`
	// UnknownStored and UnknownLost say what became of the writes without a definite answer, on the first node.
	UnknownStored int `json:"unknown_stored"`
	UnknownLost   int `json:"unknown_lost"`
}

// OK says whether no invariant was violated.
func (v *Verdict) OK() bool { return v.Count == 0 }

// Add notes a violation.
func (v *Verdict) Add(x Violation) {
	v.Count++
	if len(v.Violations) < violationsMax {
		v.Violations = append(v.Violations, x)
	}
}

// Merge adds what another verdict has found.
func (v *Verdict) Merge(o Verdict) {
	for _, x := range o.Violations {
		v.Add(x)
	}
	v.Count += o.Count - len(o.Violations)
	v.UnknownStored += o.UnknownStored
	v.UnknownLost += o.UnknownLost
}

// Check runs every check over one table and the nodes' views of it.
func Check(t Table, nodes []Node) Verdict {
	var v Verdict
	v.Merge(Unique(t))
	v.Merge(Lock(t))
	v.Merge(RealTime(t))
	for i, n := range nodes {
		v.Merge(Dense(t, n))
		once := Once(t, n)
		if i > 0 { // every node tells the same of the unknown writes
			once.UnknownStored, once.UnknownLost = 0, 0
		}
		v.Merge(once)
	}
	v.Merge(SameOrder(t, nodes))
	return v
}
