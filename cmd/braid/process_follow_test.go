package main

import (
	"bytes"
	"context"
	"testing"
)

// TestI4_ProcessesFollowThroughKills: `braid follow` prints every row of a load test once and in its order, while the
// nodes that it reads from are killed.
func TestI4_ProcessesFollowThroughKills(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	follow := command(ctx, asBraid, "follow", "cpu", "--server", c.nats, "--from-txid", "1", "--to-txid", "200", "--txid")
	var out, errs bytes.Buffer
	follow.Stdout, follow.Stderr = &out, &errs
	if err := follow.Start(); err != nil { // before there is a table
		t.Fatal(err)
	}
	finish := c.load()
	c.nodes["p1"].kill()
	c.nodes["r1"].kill()
	c.startNode("r1")
	c.nodes["p2"].kill()
	c.startNode("p2")
	c.startNode("p1")
	finish()
	if err := follow.Wait(); err != nil {
		t.Fatalf("follow: %v\n%s\n%s", err, errs.String(), c.tails())
	}
	status, want, stderr := braid(t, "rows", "cpu", "--txid", "--to-txid", "200", "--node", "p2", "--server", c.nats)
	if status != 0 || bytes.Count(out.Bytes(), []byte("\n")) != 400_000 || out.String() != want {
		t.Fatalf("%d rows were followed, %d bytes; p2 has %d bytes: status %d, %s", bytes.Count(out.Bytes(), []byte("\n")),
			out.Len(), len(want), status, stderr)
	}
	t.Logf("said: %q", errs.String())
}
