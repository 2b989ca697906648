package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestStatusNamesTablesThatStand: how many on each node, and the names that heartbeats carry.
func TestStatusNamesTablesThatStand(t *testing.T) {
	var out bytes.Buffer
	status := clusterStatus{Cluster: "c", Nodes: []nodeStatus{
		{Node: api.Node{ID: "p1", Role: api.Primary, State: api.Live}, Heard: true},
		{Node: api.Node{ID: "p2", Role: api.Primary, State: api.Live}, Heard: true,
			Standing: api.Standing{TablesStanding: 10, StandingNames: []string{"cpu", "mem"}}},
		{Node: api.Node{ID: "p3", Role: api.Primary, State: api.Draining}},
		{Node: api.Node{ID: "p4", Role: api.Primary, State: api.Live}, Heard: true, Unable: "the sequencer does not answer"},
		{Node: api.Node{ID: "r1", Role: api.Primary, State: api.Live, StandsInFor: "p9"}, Heard: true},
	}}
	if err := status.print(&process{stdout: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"STANDING", "p2: tables stand: cpu, mem and 8 more. Try: braid tables", "draining, silent",
		"live, unable", "p4 cannot take writes: the sequencer does not answer", "primary for p9"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "p1: tables") {
		t.Errorf("p1 has no table that stands:\n%s", out.String())
	}
}
