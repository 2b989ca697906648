package simulation

import "github.com/seed-551dd829/braid/internal/sim"

// Bug is a planted mistake. Each is put in through what a machine is given (disk, object store, sequencer, messages)
// or in the simulation's own shells; the services' code has none of them.
type Bug string

// The planted bugs.
const (
	AckBeforeCommit     Bug = "acknowledge before commit"
	CommitBeforeDurable Bug = "commit before durable"
	SkipSync            Bug = "skip a sync"
	ReuseEpoch          Bug = "reuse an epoch"
	NoFencing           Bug = "register without fencing"
	ForgetIdentity      Bug = "identity not looked up"
	ForgetRefusal       Bug = "refusals of an identity forgotten"
	SettleEarly         Bug = "settled advanced too early"
	ReuseSequence       Bug = "a sequence reused after a crash"
	ApplyOutOfOrder     Bug = "apply out of order"
	IgnoreMask          Bug = "ignore the mask of accepted writes"
	ReuseTxIDs          Bug = "TxIDs of a batch reused when the store pushes back"
	UnknownIsFailure    Bug = "unknown outcome taken for failure, and the bytes deleted"
	GoOnAfterSync       Bug = "I/O goes on after a failed sync"
	RecoverBehind       Bug = "recovery starts behind the committed end"
	RecoverBeyond       Bug = "recovery starts beyond the committed end"
	WrongDuplicate      Bug = "a duplicate answered with another's TxID"
	OutboxSettlesEarly  Bug = "an outbox's settled advanced too early"
	EpochNotRaised      Bug = "an outbox goes on under its old epoch"
	SequenceReused      Bug = "an outbox's sequences begin anew after a crash"
	OutboxSkipsSync     Bug = "an outbox's sync skipped"
	DropUnnamed         Bug = "a segment dropped that no record names yet"
	DropWhileLive       Bug = "a holder deletes while the epoch lives"
	ConfirmFirst        Bug = "confirm before upload"
	ApplyPending        Bug = "a pending record applied"
)

// Planted says of a bug which kinds of faults bring it to light, and which invariant catches it.
type Planted struct {
	Bug       Bug
	Faults    []sim.Fault // made to exist, at a high rate
	Invariant int
}

// Bugs is the table of docs/simulation.md.
var Bugs = []Planted{
	{AckBeforeCommit, []sim.Fault{sim.CrashNow, sim.Quick}, 2},
	{CommitBeforeDurable, nil, 2},
	{SkipSync, []sim.Fault{sim.ObjectPower}, 9},
	{ReuseEpoch, []sim.Fault{sim.CrashNow}, 6},
	{NoFencing, []sim.Fault{sim.CrashNow, sim.Delay, sim.Quick}, 6},
	{ForgetIdentity, []sim.Fault{sim.Lose, sim.Double}, 3},
	{ForgetRefusal, []sim.Fault{sim.Lose, sim.Double}, 5},
	{SettleEarly, []sim.Fault{sim.Lose, sim.Delay}, 3},
	{ReuseSequence, []sim.Fault{sim.CrashClient}, 1},
	{ApplyOutOfOrder, nil, 4},
	{IgnoreMask, nil, 4},
	{ReuseTxIDs, []sim.Fault{sim.StoreConflict, sim.StoreSlow}, 1},
	{UnknownIsFailure, []sim.Fault{sim.StoreDone, sim.Lose}, 9},
	{GoOnAfterSync, []sim.Fault{sim.SyncFails}, 2},
	{RecoverBehind, []sim.Fault{sim.CrashNow}, 2},
	{RecoverBeyond, []sim.Fault{sim.CrashNow}, 4},
	{WrongDuplicate, []sim.Fault{sim.Lose, sim.Double}, 3},
	{OutboxSettlesEarly, []sim.Fault{sim.Lose}, 3},
	{EpochNotRaised, []sim.Fault{sim.CrashClient}, 3},
	{SequenceReused, []sim.Fault{sim.CrashClient}, 3},
	{OutboxSkipsSync, []sim.Fault{sim.CrashClient}, 2},
	{DropUnnamed, []sim.Fault{sim.StoreFreeze, sim.ObjectLate}, 2},
	{DropWhileLive, []sim.Fault{sim.StoreFreeze, sim.ObjectAway}, 2},
	{ConfirmFirst, nil, 9},
	{ApplyPending, nil, 2},
}

// force makes the kinds of faults exist that bring the bug to light.
func (b Bug) force(c *sim.Chaos) {
	for _, p := range Bugs {
		for _, f := range p.Faults {
			if p.Bug == b {
				c.Force(f, 0.7)
			}
		}
	}
}
