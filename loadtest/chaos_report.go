package loadtest

import (
	"cmp"
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
	// All sums up the faults of all kinds, where there are several.
	All *FaultSummary `json:"all_kinds,omitempty"`
}

// Fault is one fault and its consequences. A time that is missing did not come: nobody was promoted, say.
type Fault struct {
	Kind   string  `json:"kind"`
	Target string  `json:"target"`
	AtS    float64 `json:"at_s"`
	LastsS float64 `json:"lasts_s"`
	// AllWriters is the time until every writer had an acknowledgement again.
	AllWriters *float64 `json:"all_writers_acknowledged_ms,omitempty"`
	// OnIt are the writers that had chosen the victim as their primary, Others those that had chosen another one. They
	// are there with Via "primary" only: otherwise gateways choose for each write anew.
	OnIt   *Writers `json:"writers_on_it,omitempty"`
	Others *Writers `json:"other_writers,omitempty"`
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

// Writers is what some of the writers noticed of a fault.
type Writers struct {
	Writers int `json:"writers"`
	// Acknowledged is the time until each of them had an acknowledgement again.
	Acknowledged *float64 `json:"acknowledged_ms,omitempty"`
	Slowest      float64  `json:"slowest_write_ms"`
	Noticed      int      `json:"noticed"`
}

// FaultSummary sums up all faults of a kind, in milliseconds.
type FaultSummary struct {
	Kind       string `json:"kind"`
	Faults     int    `json:"faults"`
	AllWriters Spread `json:"all_writers_acknowledged"`
	// OnIt and Others are as of a fault, OthersSlowest the slowest writes of the others.
	OnIt          Spread `json:"writers_on_it_acknowledged"`
	Others        Spread `json:"other_writers_acknowledged"`
	OthersSlowest Spread `json:"other_writers_slowest_write"`
	Gap           Spread `json:"longest_gap"`
	Noticed       Spread `json:"writers_that_noticed"`
	Promoted      Spread `json:"promoted"`
	Back          Spread `json:"reinstated"`
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

// written is what was acknowledged to one writer, in the order of the answers.
type written struct {
	primary string // that it has chosen, "" for none
	acks    []acked
}

// judgeFaults fills in what came of each fault; roles are in the order in which they were heard.
func judgeFaults(faults []Fault, all []written, roles []RoleChange, end, notice time.Duration) {
	for i := range faults {
		next, roleEnd := end, time.Duration(math.MaxInt64) // a victim may be back after the writers have ended
		if i+1 < len(faults) {
			next, roleEnd = min(faults[i+1].struck, end), faults[i+1].struck
		}
		f := &faults[i]
		f.AtS, f.LastsS = f.struck.Seconds(), (f.undone - f.struck).Seconds()
		f.judgeWriters(all, next, notice)
		f.judgeRoles(roles, roleEnd)
	}
}

func (f *Fault) judgeWriters(all []written, next, notice time.Duration) {
	everybody := f.noticedBy(all, next, notice)
	f.AllWriters, f.Slowest, f.Noticed = everybody.Acknowledged, everybody.Slowest, everybody.Noticed
	onIt := func(w written) bool { return w.primary == f.Target }
	if slices.ContainsFunc(all, onIt) {
		f.OnIt = f.noticedBy(slices.DeleteFunc(slices.Clone(all), func(w written) bool { return !onIt(w) }), next, notice)
		f.Others = f.noticedBy(slices.DeleteFunc(slices.Clone(all), onIt), next, notice)
	}
	var back time.Duration
	var answers []time.Duration // of all writers, until next
	for _, w := range all {
		for _, a := range w.since(f.struck) {
			if a.sent >= next {
				break
			}
			if a.sent > f.undone {
				back = max(back, a.answered-a.sent)
			}
			if a.answered <= next {
				answers = append(answers, a.answered)
			}
		}
	}
	f.SlowestBack, f.Gap = *msOf(back), *msOf(longestGap(answers, f.struck, next))
}

// noticedBy is what some writers noticed of the fault before the next one.
func (f *Fault) noticedBy(some []written, next, notice time.Duration) *Writers {
	out := &Writers{Writers: len(some)}
	var slowest, last time.Duration
	everybody := len(some) > 0
	for _, w := range some {
		since := w.since(f.struck)
		if len(since) == 0 {
			everybody = false
		} else {
			last = max(last, since[0].answered-f.struck)
		}
		noticed := false
		for _, a := range since {
			if a.sent >= next || a.sent > f.undone {
				break
			}
			took := a.answered - a.sent
			slowest = max(slowest, took)
			noticed = noticed || took > notice
		}
		if noticed {
			out.Noticed++
		}
	}
	if everybody {
		out.Acknowledged = msOf(last)
	}
	out.Slowest = *msOf(slowest)
	return out
}

// since are the acknowledgements that came at a moment or after it.
func (w written) since(moment time.Duration) []acked {
	first, _ := slices.BinarySearchFunc(w.acks, moment, func(a acked, t time.Duration) int {
		return cmp.Compare(a.answered, t)
	})
	return w.acks[first:]
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

// sumUp sums up the faults of each kind, in the order in which the kinds came first, and of all if there are several.
func sumUp(faults []Fault) (sums []FaultSummary, all *FaultSummary) {
	kinds := kindsOf(faults)
	for _, kind := range kinds {
		sums = append(sums, summaryOf(kind, slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool {
			return f.Kind != kind
		})))
	}
	if len(kinds) > 1 {
		s := summaryOf("fault", faults)
		all = &s
	}
	return sums, all
}

func summaryOf(kind string, faults []Fault) FaultSummary {
	s := FaultSummary{Kind: kind, Faults: len(faults)}
	var all, onIt, others, slowest, gap, noticed, promoted, back []float64
	for _, f := range faults {
		gap, noticed = append(gap, f.Gap), append(noticed, float64(f.Noticed))
		all, promoted, back = known(all, f.AllWriters), known(promoted, f.Promoted), known(back, f.Back)
		if f.OnIt != nil {
			onIt, others = known(onIt, f.OnIt.Acknowledged), known(others, f.Others.Acknowledged)
			slowest = append(slowest, f.Others.Slowest)
		}
	}
	s.AllWriters, s.OnIt, s.Others, s.OthersSlowest = spreadOf(all), spreadOf(onIt), spreadOf(others), spreadOf(slowest)
	s.Gap, s.Noticed, s.Promoted, s.Back = spreadOf(gap), spreadOf(noticed), spreadOf(promoted), spreadOf(back)
	return s
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
