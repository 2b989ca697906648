package linear

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	acked    = history.Acknowledged
	unknown  = history.Unknown
	conflict = history.Conflicted
	patience = time.Minute
)

func call(client int, called, returned int64, o history.Outcome) Call {
	return Call{Client: client, Called: called, Returned: returned, Outcome: o}
}

// goodLock is a history with everything in it: writes that overlap, a conflict, a read, and two locked writes of
// unknown outcome for the same head, of which one was stored long after its caller gave up.
func goodLock() []LockOp {
	return []LockOp{
		{Call: call(0, 0, 10, acked), Kind: Append, TxID: 1},
		{Call: call(1, 5, 12, acked), Kind: LockedWrite, Expected: 1, TxID: 2},
		{Call: call(2, 6, 13, conflict), Kind: LockedWrite, Expected: 1, TxID: 2},
		{Call: call(3, 14, 15, acked), Kind: ReadHead, TxID: 2},
		{Call: call(4, 16, 17, unknown), Kind: LockedWrite, Expected: 2},
		{Call: call(5, 16, 18, unknown), Kind: LockedWrite, Expected: 2},
		{Call: call(3, 20, 21, acked), Kind: ReadHead, TxID: 2},
		{Call: call(3, 30, 31, acked), Kind: ReadHead, TxID: 3},
		{Call: call(0, 32, 33, acked), Kind: LockedWrite, Expected: 3, TxID: 4},
	}
}

func TestI5_LockAcceptsWhatACorrectClusterAnswers(t *testing.T) {
	if err := Lock(0, goodLock(), patience); err != nil {
		t.Fatal(err)
	}
	first := LockOp{Call: call(0, 1, 2, acked), Kind: LockedWrite, Expected: 7, TxID: 8}
	if err := Lock(7, []LockOp{first}, patience); err != nil {
		t.Fatalf("a table with a past: %v", err)
	}
}

// TestI5_LockDecidesWhatWasReadBack: with what became of them, sixty writes without an answer are no long search, and
// a mistake among them is found.
func TestI5_LockDecidesWhatWasReadBack(t *testing.T) {
	var ops []LockOp
	for i := range int64(60) {
		head := uint64(i)
		ops = append(ops,
			LockOp{Call: call(int(i%7), 10*i, Open, acked), Kind: LockedWrite, Expected: head, TxID: head + 1},
			LockOp{Call: call(7, 10*i+5, 10*i+6, acked), Kind: ReadHead, TxID: head})
	}
	if err := Lock(0, ops, patience); err != nil {
		t.Fatal(err)
	}
	ops[80].TxID++
	if err := Lock(0, ops, patience); !errors.Is(err, ErrNotLinearizable) {
		t.Fatalf("not caught: %v", err)
	}
}

// TestI5_LockCatches plants one mistake of a cluster at a time into the good history.
func TestI5_LockCatches(t *testing.T) {
	for name, plant := range map[string]func([]LockOp) []LockOp{
		"a lost update: two locked writes with one expected TxID": func(ops []LockOp) []LockOp {
			ops[2].Outcome, ops[2].TxID = acked, 2
			return ops
		},
		"a lost update with another TxID": func(ops []LockOp) []LockOp {
			ops[2].Outcome, ops[2].TxID = acked, 3
			return ops
		},
		"a duplicated TxID": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(1, 34, 35, acked), Kind: Append, TxID: 4})
		},
		"a stale conflict: the head it tells was passed before": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(1, 34, 35, conflict), Kind: LockedWrite, Expected: 3, TxID: 2})
		},
		"a conflict with the head that was expected": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(1, 34, 35, conflict), Kind: LockedWrite, Expected: 4, TxID: 4})
		},
		"a conflict that committed after all": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(1, 34, 35, conflict), Kind: LockedWrite, Expected: 3, TxID: 4},
				LockOp{Call: call(3, 36, 37, acked), Kind: ReadHead, TxID: 5})
		},
		"an acknowledged write that is gone": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(3, 36, 37, acked), Kind: ReadHead, TxID: 3})
		},
		"a gap": func(ops []LockOp) []LockOp {
			return append(ops, LockOp{Call: call(3, 36, 37, acked), Kind: Append, TxID: 6})
		},
		"a stale read": func(ops []LockOp) []LockOp {
			ops[3].TxID = 1
			return ops
		},
		"both of two unknown writes that expected one TxID": func(ops []LockOp) []LockOp {
			return append(ops[:8], LockOp{Call: call(3, 32, 33, acked), Kind: ReadHead, TxID: 4})
		},
		"an unknown write that took effect before it was sent": func(ops []LockOp) []LockOp {
			ops[3].TxID = 3
			return ops
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Lock(0, plant(goodLock()), patience); !errors.Is(err, ErrNotLinearizable) {
				t.Fatalf("not caught: %v", err)
			}
		})
	}
}

func goodRegistry() []RegistryOp {
	return []RegistryOp{
		{Call: call(0, 0, 5, acked), Producer: "a", Epoch: 3},
		{Call: call(1, 1, 6, acked), Producer: "b", Epoch: 4},
		{Call: call(0, 7, 8, acked), Producer: "a", Epoch: 3, Renew: true},
		{Call: call(1, 9, 10, unknown), Producer: "a"},
		{Call: call(0, 11, 12, conflict), Producer: "a", Epoch: 3, Renew: true},
		{Call: call(2, 13, 15, acked), Producer: "a", Epoch: 9},
		{Call: call(0, 16, 17, conflict), Producer: "a", Epoch: 3, Renew: true},
		{Call: call(2, 16, 18, acked), Producer: "a", Epoch: 9, Renew: true},
		{Call: call(1, 19, 20, acked), Producer: "b", Epoch: 4, Renew: true},
	}
}

func TestI6_RegistryAcceptsWhatACorrectClusterAnswers(t *testing.T) {
	if err := Registry(goodRegistry(), patience); err != nil {
		t.Fatal(err)
	}
}

func TestI6_RegistryCatches(t *testing.T) {
	for name, plant := range map[string]func([]RegistryOp) []RegistryOp{
		"an epoch that is given twice": func(ops []RegistryOp) []RegistryOp {
			return append(ops, RegistryOp{Call: call(1, 21, 22, acked), Producer: "b", Epoch: 9})
		},
		"an epoch that is smaller than an earlier one": func(ops []RegistryOp) []RegistryOp {
			return append(ops, RegistryOp{Call: call(1, 21, 22, acked), Producer: "b", Epoch: 8})
		},
		"a registration that does not fence": func(ops []RegistryOp) []RegistryOp {
			ops[6].Outcome = acked
			return ops
		},
		"a fence without a registration": func(ops []RegistryOp) []RegistryOp {
			ops[8].Outcome = conflict
			return ops
		},
		"a fenced epoch that becomes valid again": func(ops []RegistryOp) []RegistryOp {
			return append(ops, RegistryOp{Call: call(0, 21, 22, acked), Producer: "a", Epoch: 3, Renew: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Registry(plant(goodRegistry()), patience); !errors.Is(err, ErrNotLinearizable) {
				t.Fatalf("not caught: %v", err)
			}
		})
	}
}

// TestUndecidedIsAnError: what was not decided, or could not be, is never a pass.
func TestUndecidedIsAnError(t *testing.T) {
	if err := Lock(0, make([]LockOp, OperationsMax+1), patience); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too many operations: %v", err)
	}
	tooMany := []LockOp{{Call: call(ClientsMax, 0, 1, acked), Kind: Append, TxID: 1}}
	if err := Lock(0, tooMany, patience); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("too many clients: %v", err)
	}
	var hard []LockOp // every order of the appends must be tried before the read is found impossible
	for i := range int64(OperationsMax - 1) {
		hard = append(hard, LockOp{Call: call(0, i, 0, unknown), Kind: Append})
	}
	hard = append(hard, LockOp{Call: call(1, 300, 301, acked), Kind: ReadHead, TxID: 1000})
	if err := Lock(0, hard, time.Nanosecond); !errors.Is(err, ErrUndecided) {
		t.Fatalf("no time to search: %v", err)
	}
}
