package loadtest

import (
	"math"
	"slices"
	"time"
)

// Chaos is what was done to the cluster during the run, and what came of it. Times are of the harness's one clock.
type Chaos struct {
	Plan string `json:"plan"`
	// NoticeMS is the latency over which a writer counts as having noticed a fault.
	NoticeMS float64        `json:"notice_ms"`
	Faults   []Fault        `json:"faults"`
	ByKind   []FaultSummary `json:"by_kind"`
}

// Fault is one fault and its consequences. A time that is missing did not come: nobody was promoted, say.
type Fault struct {
	Kind   string  `json:"kind"`
	Target string  `json:"target"`
	AtS    float64 `json:"at_s"`
	LastsS float64 `json:"lasts_s"`
	// AllWriters is the time until every writer had an acknowledgement again.
	AllWriters *float64 `json:"all_writers_acknowledged_ms,omitempty"`
	// Gap is the longest time without any acknowledgement until the next fault.
	Gap float64 `json:"longest_gap_ms"`
	// Slowest is the longest that a write took that was open during the fault, SlowestBack one after it.
	Slowest     float64 `json:"slowest_write_ms"`
	SlowestBack float64 `json:"slowest_write_afterwards_ms"`
	// Noticed is how many writers had a write during the fault that took longer than Chaos.NoticeMS.
	Noticed int `json:"writers_that_noticed"`
	// Dead, Promoted: from the fault until the topology said so. Back: from the fault's end until its victim had its
	// role back, was live, and nobody stood in for it.
	Dead     *float64 `json:"declared_dead_ms,omitempty"`
	Promoted *float64 `json:"promoted_ms,omitempty"`
	StandIn  string   `json:"stand_in,omitempty"`
	Back     *float64 `json:"reinstated_ms,omitempty"`

	struck, undone time.Duration
}

// FaultSummary sums up all faults of a kind, in milliseconds.
type FaultSummary struct {
	Kind       string `json:"kind"`
	Faults     int    `json:"faults"`
	AllWriters Spread `json:"all_writers_acknowledged"`
	Gap        Spread `json:"longest_gap"`
	Noticed    Spread `json:"writers_that_noticed"`
	Promoted   Spread `json:"promoted"`
	Back       Spread `json:"reinstated"`
}

// Spread is of as many values as there were.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// RoleChange is a node as the topology had it from a moment on.
type RoleChange struct {
	AtS         float64 `json:"at_s"`
	Node        string  `json:"node"`
	Role        string  `json:"role"`
	State       string  `json:"state"`
	Epoch       uint64  `json:"epoch"`
	StandsInFor string  `json:"stands_in_for,omitempty"`

	at time.Duration
}

// acked is one acknowledged write, by the time since the run's start.
type acked struct {
	sent, answered time.Duration
}

// acksMax bounds what a run with chaos keeps of its writes: 16 bytes each.
const acksMax = 20_000_000

// judgeFaults fills in what came of each fault. acks are each writer's, in the order in which they were answered;
// roles in the order in which they were heard.
func judgeFaults(faults []Fault, acks [][]acked, roles []RoleChange, end, notice time.Duration) {
	for i := range faults {
		next, roleEnd := end, time.Duration(math.MaxInt64) // a victim may be back after the writers have ended
		if i+1 < len(faults) {
			next, roleEnd = min(faults[i+1].struck, end), faults[i+1].struck
		}
		f := &faults[i]
		f.AtS, f.LastsS = f.struck.Seconds(), (f.undone - f.struck).Seconds()
		f.judgeAcks(acks, next, notice)
		f.judgeRoles(roles, roleEnd)
	}
}

func (f *Fault) judgeAcks(acks [][]acked, next, notice time.Duration) {
	var slowest, back, all time.Duration
	everybody := true
	var answers []time.Duration // of all writers, until next
	for _, of := range acks {
		first, _ := slices.BinarySearchFunc(of, f.struck, func(a acked, t time.Duration) int {
			return int(min(max(a.answered-t, -1), 1))
		})
		if first == len(of) {
			everybody = false
		} else {
			all = max(all, of[first].answered-f.struck)
		}
		noticed := false
		for _, a := range of[first:] {
			if a.sent >= next {
				break
			}
			took := a.answered - a.sent
			if a.sent <= f.undone {
				slowest = max(slowest, took)
				noticed = noticed || took > notice
			} else {
				back = max(back, took)
			}
			if a.answered <= next {
				answers = append(answers, a.answered)
			}
		}
		if noticed {
			f.Noticed++
		}
	}
	if everybody {
		f.AllWriters = msOf(all)
	}
	f.Slowest, f.SlowestBack = *msOf(slowest), *msOf(back)
	f.Gap = *msOf(longestGap(answers, f.struck, next))
}

// longestGap is the longest time between two of times, of which there are any number, from begin to end.
func longestGap(times []time.Duration, begin, end time.Duration) (longest time.Duration) {
	slices.Sort(times)
	last := begin
	for _, t := range times {
		longest = max(longest, t-last)
		last = t
	}
	return max(longest, end-last)
}

// judgeRoles finds what became of the victim, which may be no node at all, until the next fault.
func (f *Fault) judgeRoles(roles []RoleChange, until time.Duration) {
	nodes := map[string]RoleChange{} // as they were at each moment
	var before RoleChange            // the victim when it was struck
	left := false                    // it has been something else since
	for _, c := range roles {
		if c.at >= until {
			return
		}
		nodes[c.Node] = c
		if c.at < f.struck {
			before = nodes[f.Target]
			continue
		}
		if c.Node == f.Target {
			left = left || c.State != before.State || c.Epoch != before.Epoch
			if c.State == "dead" && f.Dead == nil {
				f.Dead = msOf(c.at - f.struck)
			}
		}
		if c.StandsInFor == f.Target && f.Promoted == nil {
			f.Promoted, f.StandIn = msOf(c.at-f.struck), c.Node
		}
		if left && f.Back == nil && c.at >= f.undone && reinstated(nodes, before) {
			f.Back = msOf(c.at - f.undone)
		}
	}
}

// reinstated says whether a node is again what it was, and nobody stands in for it.
func reinstated(nodes map[string]RoleChange, before RoleChange) bool {
	now := nodes[before.Node]
	for _, n := range nodes {
		if n.StandsInFor == before.Node {
			return false
		}
	}
	return now.Role == before.Role && now.State == before.State
}

func msOf(d time.Duration) *float64 {
	v := float64(d.Microseconds()) / 1000
	return &v
}

// sumUp sums up the faults of each kind, in the order in which the kinds came first.
func sumUp(faults []Fault) (sums []FaultSummary) {
	for _, kind := range kindsOf(faults) {
		s := FaultSummary{Kind: kind}
		var all, gap, noticed, promoted, back []float64
		for _, f := range faults {
			if f.Kind != kind {
				continue
			}
			s.Faults++
			gap, noticed = append(gap, f.Gap), append(noticed, float64(f.Noticed))
			all, promoted, back = known(all, f.AllWriters), known(promoted, f.Promoted), known(back, f.Back)
		}
		s.AllWriters, s.Gap, s.Noticed = spreadOf(all), spreadOf(gap), spreadOf(noticed)
		s.Promoted, s.Back = spreadOf(promoted), spreadOf(back)
		sums = append(sums, s)
	}
	return sums
}

func kindsOf(faults []Fault) (kinds []string) {
	for _, f := range faults {
		if !slices.Contains(kinds, f.Kind) {
			kinds = append(kinds, f.Kind)
		}
	}
	return kinds
}

func known(values []float64, v *float64) []float64 {
	if v == nil {
		return values
	}
	return append(values, *v)
}

// spreadOf takes the smallest value that so many percent do not exceed: of twenty, p99 is the largest.
func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	at := func(percent int) float64 { return values[(len(values)*percent+99)/100-1] }
	return Spread{Count: len(values), P50: at(50), P99: at(99), Max: values[len(values)-1]}
}
