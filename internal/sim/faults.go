package sim

import (
	"maps"
	"slices"
	"time"
)

// Fault is a kind of fault. Which kinds exist in a seed is drawn first, and then how often each fires.
type Fault string

// The kinds of faults.
const (
	Lose          Fault = "message lost"
	Double        Fault = "message doubled"
	Delay         Fault = "message late"
	Reorder       Fault = "messages reordered"
	Cut           Fault = "partition"
	CutOneWay     Fault = "one-way partition"
	Pause         Fault = "process paused"
	CrashNow      Fault = "process killed"
	CrashDisk     Fault = "killed between disk operations"
	CrashAll      Fault = "all services killed at once"
	CrashClient   Fault = "client killed"
	Leave         Fault = "node told to leave"
	Burn          Fault = "disk lost for good"
	Expire        Fault = "registration of a producer expired"
	Torn          Fault = "unsynced bytes torn"
	Quick         Fault = "restart within the same second"
	SyncFails     Fault = "sync failed"
	DiskFull      Fault = "disk full"
	SlowDisk      Fault = "slow sync"
	StoreConflict Fault = "store: conflict"
	StoreTooOld   Fault = "store: transaction too old"
	StoreUndone   Fault = "store: unknown, not done"
	StoreDone     Fault = "store: unknown, done"
	StoreSlow     Fault = "store: slow"
	StoreFreeze   Fault = "store: frozen"
	ObjectBefore  Fault = "object: error before the effect"
	ObjectAfter   Fault = "object: error after the effect"
	ObjectStall   Fault = "object: stalled"
	ObjectShort   Fault = "object: short body"
	ObjectLate    Fault = "object: put long after its caller gave up"
	ObjectAway    Fault = "object: store away"
	ObjectPower   Fault = "object: power cut of a directory store"
)

// Faults lists all kinds.
var Faults = []Fault{Lose, Double, Delay, Reorder, Cut, CutOneWay,
	Pause, CrashNow, CrashDisk, CrashAll, CrashClient, Leave, Burn, Expire, Torn, Quick, SyncFails, DiskFull, SlowDisk,
	StoreConflict, StoreTooOld, StoreUndone, StoreDone, StoreSlow, StoreFreeze,
	ObjectBefore, ObjectAfter, ObjectStall, ObjectShort, ObjectLate, ObjectAway, ObjectPower}

// Chaos decides what goes wrong in a run.
type Chaos struct {
	e     *Engine
	rates map[Fault]float64
	over  bool
	Fired map[Fault]int
}

// NewChaos draws which kinds of faults exist, and their rates, between a hundredth and all of what is most.
func NewChaos(e *Engine) *Chaos {
	c := &Chaos{e: e, rates: make(map[Fault]float64), Fired: make(map[Fault]int)}
	exist := []float64{0, 0.15, 0.4, 0.8}[e.Rand.IntN(4)]
	for _, f := range Faults {
		if e.Rand.Float64() < exist {
			rate := e.Rand.Float64()
			c.rates[f] = rate * rate
		}
	}
	return c
}

// Force makes a kind exist at a rate.
func (c *Chaos) Force(f Fault, rate float64) { c.rates[f] = rate }

// Kinds lists the kinds that exist.
func (c *Chaos) Kinds() []Fault { return slices.Sorted(maps.Keys(c.rates)) }

// Exists says whether a kind exists, and faults are not over.
func (c *Chaos) Exists(f Fault) bool { return !c.over && c.rates[f] > 0 }

// Fire says whether a fault happens now; most is how often it does at the highest rate.
func (c *Chaos) Fire(f Fault, most float64) bool {
	if c.over || !c.e.Chance(c.rates[f]*most) {
		return false
	}
	c.Fired[f]++
	return true
}

// Happened counts a fault that the world has found.
func (c *Chaos) Happened(f Fault) { c.Fired[f]++ }

// Every does something at random times, about once in interval at the highest rate, until faults are over.
func (c *Chaos) Every(f Fault, interval time.Duration, do func() bool) {
	if !c.Exists(f) {
		return
	}
	gap := time.Duration(float64(interval) / (0.1 + c.rates[f]) * (0.2 + c.e.Rand.Float64()))
	c.e.After(gap, func() {
		if c.over {
			return
		}
		if do() {
			c.Fired[f]++
		}
		c.Every(f, interval, do)
	})
}

// End ends all faults.
func (c *Chaos) End() { c.over = true }
