package loadtest

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var someTargets = []Target{
	{Name: "p1", Role: "primary", Cuttable: true}, {Name: "p2", Role: "primary", Cuttable: true},
	{Name: "r1", Role: "replica", Cuttable: true}, {Name: "g1", Role: "gateway", Cuttable: true},
	{Name: "sequencer", Role: "sequencer"},
}

func TestParseChaos(t *testing.T) {
	for text, want := range map[string]chaosPlan{
		"kill:10s": {entries: []chaosEntry{{"kill", "", 10 * time.Second, 4 * time.Second}}},
		"pause@p2:20s:300ms,drain@gateway:1m": {entries: []chaosEntry{
			{"pause", "p2", 20 * time.Second, 300 * time.Millisecond},
			{"drain", "gateway", time.Minute, 2 * time.Second}}},
		"random:18446744073709551615": {random: true, seed: 1<<64 - 1},
	} {
		if got, err := parseChaos(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"kill": "want KIND", "kil:10s": `"kil" is none of kill, pause`, "kill:10": "missing unit", "kill:0s": "more than 0",
		"kill:10s:-1s": "more than 0", "kill:1s:1s:1s": "want KIND", "random:x": `"x" is no seed`, "kill:1s,": "want KIND",
	} {
		if _, err := parseChaos(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func striking(t *testing.T, text string) *striker {
	t.Helper()
	plan, err := parseChaos(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStriker(plan, someTargets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAScheduleIsKept: victims take turns, and a strike that had to wait leaves out what was due meanwhile.
func TestAScheduleIsKept(t *testing.T) {
	s := striking(t, "kill:10s,pause@g1:25s:1s")
	for i, step := range []struct {
		elapsed float64
		at      float64
		what    string
	}{
		{0, 10, "kill p1"}, {14, 20, "kill p2"}, {24, 25, "pause g1"}, {26, 30, "kill p1"},
		{57, 57, "kill p2"}, // 40 and 50 were due
		{61, 61, "pause g1"}, {62, 62, "kill p1"}, {66, 70, "kill p2"}, {71, 75, "pause g1"},
	} {
		got := s.next(time.Duration(step.elapsed * float64(time.Second)))
		if got.at.Seconds() != step.at || got.kind+" "+got.target != step.what {
			t.Fatalf("strike %d: %s %s at %s, want %s at %v", i, got.kind, got.target, got.at, step.what, step.at)
		}
	}
}

func TestAStrikeNeedsSomebody(t *testing.T) {
	for text, want := range map[string]string{
		"kill@p3:1s": "nobody of that name", "partition-objects:1s": "a folder cannot be cut off",
		"partition@sequencer:1s": "cannot be cut off",
	} {
		plan, err := parseChaos(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newStriker(plan, someTargets); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestSameSeedSameStrikes: and what a process cannot suffer is not drawn for it.
func TestSameSeedSameStrikes(t *testing.T) {
	a, b := striking(t, "random:7"), striking(t, "random:7")
	kinds := map[string]int{}
	for range 1000 {
		x, y := a.next(0), b.next(0)
		if x != y {
			t.Fatalf("%+v and %+v", x, y)
		}
		kinds[x.kind]++
		if x.target == "sequencer" && x.kind == chaosPartition || x.target == "g1" && x.kind == chaosSequencer {
			t.Fatalf("%+v cannot be done", x)
		}
	}
	if len(kinds) != 5 { // all but partition-objects
		t.Fatalf("kinds %v", kinds)
	}
}
