package loadtest

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/history"
)

// sampleReport is of a run in which p1 is killed.
func sampleReport() *Report {
	acks := [][]acked{steady(20, 30, 30), steady(20, 10, 10.7)}
	latency := newLatencies()
	for i, of := range acks {
		for _, a := range of {
			latency.record(i, a.answered, a.answered-a.sent, 5)
		}
	}
	roles := []RoleChange{
		role(0, "p1", "primary", "live", 1, ""), role(0, "r1", "replica", "live", 2, ""),
		role(11, "p1", "primary", "dead", 1, ""), role(11, "r1", "primary", "live", 2, "p1"),
		role(15, "p1", "primary", "live", 3, ""), role(15, "r1", "replica", "live", 2, ""),
	}
	faults := []Fault{{Kind: "kill", Target: "p1", struck: at(10), undone: at(14)}}
	all := make([]written, len(acks))
	for i, of := range acks {
		all[i].acks = of
	}
	judgeFaults(faults, all, roles, at(20), at(0.1))
	sums, _ := sumUp(faults)
	r := &Report{Started: time.Unix(0, 0), Workload: "cpu-only", Tables: []string{"cpu"}, Machine: describeMachine(),
		Roles: roles, Chaos: &Chaos{Plan: "kill:10s", Faults: faults, ByKind: sums}}
	workers := []*worker{{writes: 393, rows: 1965, errors: map[string]uint64{"503 unavailable": 2}, example: errors.New("<b>no</b>")}}
	r.sum(workers, latency, at(20))
	return r
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var out strings.Builder
	if err := r.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestThePageSaysWhatTheReportSays: numbers, faults, roles and errors are on it, escaped, and every chart is SVG that an
// XML parser takes.
func TestThePageSaysWhatTheReportSays(t *testing.T) {
	text := pageOf(t, sampleReport())
	for _, want := range []string{"not verified", "98</b>", "kill p1", "700 ms", "r1 1.00 s", "1.00 s", "2 × 503 unavailable",
		"&lt;b&gt;no&lt;/b&gt;", "p1 is primary, dead, epoch 1, 11.00 s to 15.00 s", "r1 is primary, live, epoch 2, standing in for p1",
		"primary for p1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	charts := 0
	for rest := text; ; charts++ {
		begin, end := strings.Index(rest, "<svg "), strings.Index(rest, "</svg>")
		if begin < 0 {
			break
		}
		checkSVG(t, rest[begin:end+len("</svg>")])
		rest = rest[end+len("</svg>"):]
	}
	if charts != 4 {
		t.Errorf("%d charts", charts)
	}
	_, embedded, _ := strings.Cut(text, `id="report">`)
	embedded, _, _ = strings.Cut(embedded, "</script>")
	var back Report
	if err := json.Unmarshal([]byte(embedded), &back); err != nil || back.Rows != 1965 {
		t.Errorf("the report in the page has %d rows: %v", back.Rows, err)
	}
	if strings.Contains(text, "http://") || strings.Contains(text, "https://") {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "://") && !strings.Contains(line, "createElementNS") {
				t.Errorf("the page names another place: %s", line)
			}
		}
	}
}

func checkSVG(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		switch _, err := d.Token(); {
		case errors.Is(err, io.EOF):
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("a place that is no number: %s", svg)
			}
			return
		case err != nil:
			t.Errorf("%v in %.200s", err, svg)
			return
		}
	}
}

// TestThePageOfARunWithoutAnything: nothing was acknowledged, and the verification failed.
func TestThePageOfARunWithoutAnything(t *testing.T) {
	r := &Report{Verified: &Verification{Tables: map[string]TableVerified{"cpu": {}},
		Verdict: map[string]history.Verdict{"cpu": {Count: 1, Violations: []history.Violation{{Detail: "TxID 7 is lost"}}}}}}
	r.sum(nil, newLatencies(), 0)
	text := pageOf(t, r)
	for _, want := range []string{"verification failed", "TxID 7 is lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if strings.Contains(text, "NaN") {
		t.Error("there is a NaN")
	}
}

func labels(ticks []tick) string {
	var all []string
	for _, t := range ticks {
		all = append(all, t.label)
	}
	return strings.Join(all, " | ")
}

func TestTicks(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{labels(countTicks(180_000, 4)), "0 | 50 k | 100 k | 150 k | 200 k"},
		{labels(countTicks(0, 4)), "0 | 0.5 | 1"},
		{labels(timeTicks(30)), "0 s | 5 s | 10 s | 15 s | 20 s | 25 s | 30 s"},
		{labels(timeTicks(300)), "0:00 | 0:30 | 1:00 | 1:30 | 2:00 | 2:30 | 3:00 | 3:30 | 4:00 | 4:30 | 5:00"},
		{labels(latencyTicks(0.8, 30)), "1 ms | 2 ms | 5 ms | 10 ms | 20 ms"},
		{labels(latencyTicks(0.04, 70_000)), "100 µs | 1 ms | 10 ms | 100 ms | 1 s | 10 s"},
	} {
		if test.got != test.want {
			t.Errorf("%s, want %s", test.got, test.want)
		}
	}
}

func TestScale(t *testing.T) {
	s := scale{from: 1, to: 100, start: 200, end: 0, log: true}
	if s.at(1) != 200 || math.Abs(s.at(10)-100) > 1e-9 || s.at(100) != 0 || s.at(1000) != 0 || s.at(0) != 200 {
		t.Errorf("%v %v %v %v %v", s.at(1), s.at(10), s.at(100), s.at(1000), s.at(0))
	}
}
