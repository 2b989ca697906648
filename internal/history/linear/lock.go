package linear

import (
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-551dd829/braid/internal/history"
)

// LockKind is what an operation on a table does.
type LockKind uint8

const (
	ReadHead    LockKind = iota + 1 // answers the head
	Append                          // a write without an expected TxID
	LockedWrite                     // a write that expects a TxID
)

// LockOp is one operation on one table, as its caller saw it.
type LockOp struct {
	Call
	Kind     LockKind
	Expected uint64 // of a LockedWrite
	// TxID is the write's if it was acknowledged, the head of a read, and the head that a conflict told.
	TxID uint64
}

// Lock checks a table's optimistic lock: a table is a number, its head, that starts at base. Every write that is
// stored makes it one more, and a locked one is stored only if it expected just that head (I1, I5).
func Lock(base uint64, ops []LockOp, timeout time.Duration) error {
	model := porcupine.NondeterministicModel{
		Init:  func() []any { return []any{base} },
		Step:  func(state, input, _ any) []any { return lockStep(state.(uint64), input.(LockOp)) },
		Equal: func(a, b any) bool { return a == b },
	}
	all := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		all[i] = operation(o.Call, o)
	}
	return check(model.ToModel(), all, timeout)
}

// lockStep returns the heads that are possible after an operation, none if its answer cannot be.
func lockStep(head uint64, o LockOp) []any {
	fits := o.Kind != LockedWrite || o.Expected == head
	switch {
	case o.Outcome == history.Unknown && (o.Kind == ReadHead || !fits):
		return []any{head}
	case o.Outcome == history.Unknown:
		return []any{head, head + 1}
	case o.Kind == ReadHead && o.TxID == head:
		return []any{head}
	case o.Kind == ReadHead:
		return nil
	case o.Outcome == history.Acknowledged && fits && o.TxID == head+1:
		return []any{head + 1}
	case o.Outcome == history.Conflicted && !fits && o.TxID == head:
		return []any{head}
	}
	return nil
}
