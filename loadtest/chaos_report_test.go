package loadtest

import (
	"strings"
	"testing"
	"time"
)

func at(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// steady are writes that each take 10 ms, one every 100 ms, but for none that would be sent in [from, to), and one
// that is sent at from and answered at to.
func steady(until, from, to float64) (acks []acked) {
	for i := range int(until * 10) {
		sent := at(float64(i) / 10)
		if sent >= at(from) && sent < at(to) {
			if sent == at(from) {
				acks = append(acks, acked{sent, at(to)})
			}
			continue
		}
		acks = append(acks, acked{sent, sent + 10*time.Millisecond})
	}
	return acks
}

func role(seconds float64, node, role, state string, epoch uint64, standsIn string) RoleChange {
	return RoleChange{AtS: seconds, at: at(seconds), Node: node, Role: role, State: state, Epoch: epoch,
		StandsInFor: standsIn}
}

// TestFaultsAreJudged: p1 is killed at 10 s and started again at 14 s; one of two writers waits for 700 ms.
func TestFaultsAreJudged(t *testing.T) {
	roles := []RoleChange{
		role(0, "p1", "primary", "live", 1, ""), role(0, "p2", "primary", "live", 2, ""),
		role(0, "r1", "replica", "live", 3, ""),
		role(11.6, "p1", "primary", "dead", 1, ""), role(11.7, "r1", "primary", "live", 3, "p1"),
		role(14.2, "p1", "primary", "recovering", 4, "p1"),
		role(15, "p1", "primary", "live", 4, ""), role(15.5, "r1", "replica", "live", 3, ""),
	}
	faults := []Fault{
		{Kind: "drain", Target: "p1", struck: at(5), undone: at(6)}, // what comes later is not its doing
		{Kind: "kill", Target: "p1", struck: at(10), undone: at(14)},
		{Kind: "pause", Target: "p2", struck: at(18), undone: at(18.5)},
	}
	all := []written{{"p2", steady(20, 30, 30)}, {"p1", steady(20, 10, 10.7)}}
	judgeFaults(faults, all, roles, at(20), at(0.1))
	if d := faults[0]; d.Dead != nil || d.Promoted != nil || d.Back != nil {
		t.Errorf("a drain before anything happened: %+v", d)
	}
	faults = faults[1:]
	f := faults[0]
	if *f.AllWriters != 700 || f.Slowest != 700 || f.SlowestBack != 10 || f.Noticed != 1 || f.Gap != 100 {
		t.Errorf("writers: all %v, slowest %v, afterwards %v, noticed %v, gap %v", *f.AllWriters, f.Slowest, f.SlowestBack,
			f.Noticed, f.Gap)
	}
	if *f.Dead != 1600 || *f.Promoted != 1700 || f.StandIn != "r1" || *f.Back != 1500 {
		t.Errorf("roles: dead %v, promoted %v, back %v", *f.Dead, *f.Promoted, *f.Back)
	}
	if p := faults[1]; p.Dead != nil || p.Promoted != nil || p.Back != nil || p.Noticed != 0 || *p.AllWriters != 10 {
		t.Errorf("a pause that nobody noticed: %+v", p)
	}
	if *f.OnIt.Acknowledged != 700 || f.OnIt.Writers != 1 || f.OnIt.Noticed != 1 || *f.Others.Acknowledged != 10 ||
		f.Others.Slowest != 10 || f.Others.Noticed != 0 {
		t.Errorf("writers on it %+v, on others %+v", f.OnIt, f.Others)
	}
	sums, both := sumUp(faults)
	if both == nil || both.Faults != 2 || both.AllWriters != (Spread{2, 10, 700, 700}) || both.OnIt.Count != 2 {
		t.Errorf("over both kinds: %+v", both)
	}
	if len(sums) != 2 || sums[0].Faults != 1 || sums[0].AllWriters != (Spread{1, 700, 700, 700}) ||
		sums[1].Promoted.Count != 0 {
		t.Errorf("%+v", sums)
	}
}

// TestAWriterWithoutAnAnswerIsTold: the run ended before it had one.
func TestAWriterWithoutAnAnswerIsTold(t *testing.T) {
	faults := []Fault{{Kind: "kill", Target: "p1", struck: at(10), undone: at(14)}}
	judgeFaults(faults, []written{{"", steady(20, 30, 30)}, {"", steady(9, 30, 30)}}, nil, at(20), at(0.1))
	if faults[0].AllWriters != nil || faults[0].Gap != 100 || faults[0].OnIt != nil {
		t.Fatalf("%+v", faults[0])
	}
}

// TestTheGapReachesToTheEnd: nothing came any more.
func TestTheGapReachesToTheEnd(t *testing.T) {
	if got := longestGap([]time.Duration{at(3), at(2)}, at(1), at(6)); got != at(3) {
		t.Fatal(got)
	}
}

func TestSpread(t *testing.T) {
	values := make([]float64, 0, 200)
	for i := range 200 {
		values = append(values, float64(200-i))
	}
	if got := spreadOf(values); got != (Spread{200, 100, 198, 200}) {
		t.Fatalf("%+v", got)
	}
}

func TestTimeline(t *testing.T) {
	line := timelineOf(2, steady(2, 30, 30), steady(2, 0.5, 1.5))
	got := line.Slices[6]
	want := Slice{AtS: 1.5, Writes: 7, Rows: 35, P50: binEndMS(binOf(10)), P99: 1000, Max: 1000, bins: got.bins}
	if line.EveryS != 0.25 || got != want {
		t.Fatalf("slice %+v, want %+v", got, want)
	}
	if long := newTimeline(nil, time.Hour); len(long.Slices) > slicesMax || long.EveryS != 2 {
		t.Fatalf("%d slices of %v s", len(long.Slices), long.EveryS)
	}
}

func timelineOf(seconds float64, acks ...[]acked) Timeline {
	parts := make([]slicing, len(acks))
	for i, of := range acks {
		for _, a := range of {
			parts[i].add(a.answered, a.answered-a.sent, 5)
		}
	}
	return newTimeline(parts, at(seconds))
}

// TestALongTimelineHasLongerSlices: nothing is lost when slices become longer, whoever's do first.
func TestALongTimelineHasLongerSlices(t *testing.T) {
	var parts [2]slicing
	for s := range 1200 {
		parts[0].add(at(float64(s)), time.Millisecond, 2)
	}
	parts[1].add(at(3), time.Second, 1)
	line := newTimeline(parts[:], at(1200))
	rows := uint64(0)
	for _, s := range line.Slices {
		rows += s.Rows
	}
	if rows != 2401 || line.EveryS != 1 || len(line.Slices) != 1201 {
		t.Errorf("%d rows in %d slices of %v s", rows, len(line.Slices), line.EveryS)
	}
	if got := line.Slices[3]; got.Writes != 2 || got.Max != 1000 || got.P99 != 1000 {
		t.Errorf("both in one slice: %+v", got)
	}
}

func TestBins(t *testing.T) {
	for _, ms := range []float64{0, 0.01, 0.0626, 1, 1.001, 10, 999, 150_000} {
		if bin := binOf(ms); ms > binEndMS(bin) || bin > 0 && ms <= binEndMS(bin-1) {
			t.Errorf("%v ms in bin %d, which ends at %v", ms, bin, binEndMS(bin))
		}
	}
	if last := len(latencyBins{}) - 1; binOf(1e9) != last || binEndMS(last-1) < 180_000 {
		t.Errorf("the last bin begins at %v", binEndMS(last-1))
	}
}

func TestChaosIsPrinted(t *testing.T) {
	faults := []Fault{{Kind: "kill", Target: "p1", struck: at(0.5), undone: at(1)}}
	acks := [][]acked{steady(2, 0.5, 1)}
	judgeFaults(faults, []written{{"p1", acks[0]}}, nil, at(2), at(0.1))
	c := &Chaos{Plan: "kill:500ms", NoticeMS: 100, Faults: faults}
	c.ByKind, c.All = sumUp(faults)
	var out strings.Builder
	p := &printer{w: &out}
	p.chaos(&Report{Chaos: c, Timeline: timelineOf(2, acks...)})
	for _, want := range []string{"▅··█", "k··", "kill p1 for 500 ms: all writers answered after 500 ms", "1 writers waited",
		"the 1 on it answered after 500 ms (slowest write 500 ms)", "of them those on that primary"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
