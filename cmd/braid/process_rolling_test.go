package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/loadtest"
)

// rollingLoad starts a load test that goes on until stop is called, and returns its report then. Its writers are told
// every failure: none may happen.
func (c *processes) rollingLoad(duration string) (finish func() loadtest.Report) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*patience)
	c.t.Cleanup(cancel)
	report := filepath.Join(c.dir, "report.json")
	load := command(ctx, asBraid, "loadtest", "--server", c.nats, "--duration", duration, "--batch", "100",
		"--writers", "4", "--rate", "20000", "--verify", "--json", report)
	var out bytes.Buffer
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "rows arrive", func() error { return c.headAtLeast("cpu", 20) })
	return func() loadtest.Report {
		c.t.Helper()
		if err := load.Wait(); err != nil {
			c.t.Fatalf("load test: %v\n%s\n%s", err, out.String(), c.tails())
		}
		data, err := os.ReadFile(report)
		var r loadtest.Report
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return r
	}
}

// TestRollingRestart: every process of a cluster is told to end by SIGTERM and started again, one after the other, under
// load: each ends with status 0, and not one write fails.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the rolling restart with real processes is long; run without -short")
	}
	c := startProcesses(t)
	second := c.startGateway("gateway2")
	finish := c.rollingLoad("30s")
	for _, id := range []string{"p1", "p2", "r1"} {
		c.nodes[id].stop()
		c.startNode(id)
		t.Logf("%s is back", id)
	}
	c.gateway.stop()
	c.gateway = c.startGateway("gateway")
	second.stop()
	c.startGateway("gateway2")
	c.sequencer.stop()
	c.startSequencer()
	t.Log("gateways and the sequencer are back")
	if status, stdout, stderr := braid(t, "drain", "p2", "--server", c.nats); status != 0 {
		t.Fatalf("drain: status %d %s%s\n%s", status, stdout, stderr, c.tails())
	}
	<-c.nodes["p2"].done
	if c.nodes["p2"].err != nil {
		t.Fatalf("p2 was told to drain and ended with %v", c.nodes["p2"].err)
	}
	c.startNode("p3") // a new primary joins while the cluster runs
	c.startNode("p2")
	report := finish()
	if len(report.Errors) > 0 {
		t.Fatalf("writes failed: %v, for example %v\n%s", report.Errors, report.Example, c.tails())
	}
	t.Logf("%d writes, none failed; sent again: %v", report.Writes, report.Retries)
	t.Logf("p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, longest %.1f ms, from the %s", report.Latency.P50, report.Latency.P99,
		report.Latency.P999, report.Latency.Max, report.Latency.From)
	c.verify()
	for _, n := range c.states() {
		if n.State != api.Live {
			t.Errorf("%+v", n)
		}
	}
}

// states is what `braid status` says of the nodes.
func (c *processes) states() []api.Node {
	c.t.Helper()
	status, stdout, stderr := braid(c.t, "status", "--json", "--server", c.nats)
	var s struct{ Nodes []api.Node }
	if err := json.Unmarshal([]byte(stdout), &s); status != 0 || err != nil {
		c.t.Fatalf("braid status: status %d %v\n%s", status, err, stderr)
	}
	return s.Nodes
}

// TestASecondProcessIsRefused: on the folder of a node that runs, by the folder's lock; with an empty folder under the
// node's id, by the registry, with the hint to take another id.
func TestASecondProcessIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	node := func(id, folder string) (int, string) {
		status, _, stderr := braid(t, "primary", "--id", id, "--data", filepath.Join(c.dir, "nodes", folder),
			"--objects", "dir:"+filepath.Join(c.dir, "objects"), "--server", c.nats)
		return status, stderr
	}
	if status, stderr := node("p1", "p1"); status == 0 || !strings.Contains(stderr, "is another braid process using it?") {
		t.Errorf("on the same folder: status %d\n%s", status, stderr)
	}
	if status, stderr := node("p1", "empty"); status == 0 || !strings.Contains(stderr, "give it another id") {
		t.Errorf("on an empty folder: status %d\n%s", status, stderr)
	}
	if !slices.ContainsFunc(c.states(), func(n api.Node) bool { return n.ID == "p1" && n.State == api.Live }) {
		t.Errorf("p1 is not live any more: %+v", c.states())
	}
}

// TestStatusWatches: it goes on, and ends with status 0 when a signal ends it.
func TestStatusWatches(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	up := startUp(t, filepath.Join(t.TempDir(), "data"))
	watch := start(t, "watch", asBraid, "status", "--watch", "--json", "--server", up.get("nats"))
	if nodes, ok := watch.ready["nodes"].([]any); !ok || len(nodes) != 3 {
		t.Fatalf("shown: %v", watch.ready)
	}
	watch.stop()
	up.stop()
}
