//go:build unix

package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestMembersComeAndGo: under load a primary and a replica are added, the replica is a primary for a while, and the first
// primary and the first replica leave and are removed; then the removed primary joins again, as a new member. Not one
// write fails, and every member has all rows.
func TestMembersComeAndGo(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	c.service("f1", "failover", "--id", "f1")
	finish := c.rollingLoad("25s")
	c.startNode("p3")
	c.startNode("r2")
	for _, change := range []struct{ command, role string }{{"promote", "primary"}, {"demote", "replica"}} {
		c.mustRun(change.command, "r2")
		eventually(t, "r2 is a "+change.role, func() error {
			if !c.says("r2", change.role) {
				return fmt.Errorf("it says something else: %+v", c.node("r2"))
			}
			return nil
		})
	}
	for _, id := range []string{"p1", "r1"} {
		c.mustRun("drain", id)
		<-c.nodes[id].done
		if c.nodes[id].err != nil {
			t.Fatalf("%s was told to drain and ended with %v\n%s", id, c.nodes[id].err, c.tails())
		}
		c.mustRun("remove", id, "--yes")
		t.Logf("%s is no member any more", id)
	}
	c.startNode("p1")
	report := finish()
	if len(report.Errors) > 0 {
		t.Fatalf("writes failed: %v, for example %v\n%s", report.Errors, report.Example, c.tails())
	}
	t.Logf("%d writes, none failed; sent again: %v", report.Writes, report.Retries)
	var members []string
	for _, n := range c.states() {
		members = append(members, n.ID)
		if n.State != api.Live {
			t.Errorf("%+v", n)
		}
	}
	slices.Sort(members)
	if !slices.Equal(members, []string{"p1", "p2", "p3", "r2"}) {
		t.Errorf("members are %v", members)
	}
	head := fmt.Sprint(c.head("cpu"))
	for _, id := range members {
		eventually(t, id+" has all rows", func() error {
			status, stdout, stderr := braid(t, "rows", "cpu", "--node", id, "--from-txid", head, "--server", c.nats)
			if status != 0 || stdout == "" {
				return fmt.Errorf("status %d, %s", status, stderr)
			}
			return nil
		})
	}
	c.verify()
}

// mustRun runs a command against the cluster, which must end with status 0.
func (c *processes) mustRun(args ...string) {
	c.t.Helper()
	if status, stdout, stderr := braid(c.t, append(args, "--server", c.nats)...); status != 0 {
		c.t.Fatalf("braid %v: status %d\n%s%s\n%s", args, status, stdout, stderr, c.tails())
	}
}
