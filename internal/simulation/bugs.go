package simulation

import (
	"fmt"

	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/sim"
)

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
	FenceByClock        Bug = "fence checked by the clock instead of the transaction"
	EpochRestarts       Bug = "epoch restarting at 1"
	PromoteUnpublished  Bug = "promotion without publication"
	NewIdentity         Bug = "identity lost on re-route"
	NeverStepBack       Bug = "a stand-in that never steps back"
	UnfinishedDrain     Bug = "a stand-in goes on under its epoch when it could not finish its drain"
)

// Planted says of a bug which kinds of faults bring it to light, and by what it is caught.
type Planted struct {
	Bug    Bug
	Faults []sim.Fault // made to exist, at a high rate
	By     string      // I and the number of an invariant, or the name of a check that belongs to none
}

// Caught says whether a violation is the one that the bug must lead to.
func (p Planted) Caught(v history.Violation) bool {
	return v.Invariant > 0 && p.By == fmt.Sprintf("I%d", v.Invariant) || v.Invariant == 0 && p.By == v.Check
}

// Bugs is the table of docs/simulation.md.
var Bugs = []Planted{
	{AckBeforeCommit, []sim.Fault{sim.CrashNow, sim.Quick}, "I2"},
	{CommitBeforeDurable, nil, "I2"},
	{SkipSync, []sim.Fault{sim.ObjectPower}, "I9"},
	{ReuseEpoch, []sim.Fault{sim.CrashNow}, "I6"},
	{NoFencing, []sim.Fault{sim.CrashNow, sim.Delay, sim.Quick}, "I6"},
	{ForgetIdentity, []sim.Fault{sim.Lose, sim.Double}, "I3"},
	{ForgetRefusal, []sim.Fault{sim.Lose, sim.Double}, "I5"},
	{SettleEarly, []sim.Fault{sim.Lose, sim.Delay}, "I3"},
	{ReuseSequence, []sim.Fault{sim.CrashClient}, "I1"},
	{ApplyOutOfOrder, nil, "I4"},
	{IgnoreMask, nil, "I4"},
	{ReuseTxIDs, []sim.Fault{sim.StoreConflict, sim.StoreSlow}, "I1"},
	{UnknownIsFailure, []sim.Fault{sim.StoreDone, sim.Lose}, "I9"},
	{GoOnAfterSync, []sim.Fault{sim.SyncFails}, "I2"},
	{RecoverBehind, []sim.Fault{sim.CrashNow}, "I2"},
	{RecoverBeyond, []sim.Fault{sim.CrashNow}, "I4"},
	{WrongDuplicate, []sim.Fault{sim.Lose, sim.Double}, "I3"},
	{OutboxSettlesEarly, []sim.Fault{sim.Lose}, "I3"},
	{EpochNotRaised, []sim.Fault{sim.CrashClient}, "I3"},
	{SequenceReused, []sim.Fault{sim.CrashClient}, "I3"},
	{OutboxSkipsSync, []sim.Fault{sim.CrashClient}, "I2"},
	{DropUnnamed, []sim.Fault{sim.StoreFreeze, sim.ObjectLate}, "I2"},
	{DropWhileLive, []sim.Fault{sim.StoreFreeze, sim.ObjectAway}, "I2"},
	{ConfirmFirst, nil, "I9"},
	{ApplyPending, nil, "I2"},
	{FenceByClock, []sim.Fault{sim.Cut, sim.CutOneWay, sim.Delay}, "I6"},
	{EpochRestarts, []sim.Fault{sim.CrashNow, sim.Pause}, "I6"},
	{PromoteUnpublished, nil, "published"},
	{NewIdentity, []sim.Fault{sim.Lose, sim.CrashNow}, "I3"},
	{NeverStepBack, nil, "I2"},
	{UnfinishedDrain, []sim.Fault{sim.CrashNow, sim.ObjectStall, sim.ObjectAway}, "I2"},
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
