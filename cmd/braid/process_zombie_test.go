//go:build unix

package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// TestI6_AZombieComesBack: a primary is paused by SIGSTOP, declared dead with a stand-in, and continued. While it is
// paused a write that it may have had goes elsewhere, long before the attempt's timeout. When it goes on it commits nothing
// under its old epoch, registers under a new one, and is a primary again, and its stand-in is a replica.
func TestI6_AZombieComesBack(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	finish := c.rollingLoad("20s")
	nc, err := bus.Connect(bus.Options{Servers: c.nats, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	before := c.node("p1")
	if err := c.nodes["p1"].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c.post("zombie v=1i 1\n")
	t.Logf("the first write while p1 is paused took %s", time.Since(began))
	seq := bus.NewSequencer(nc, api.Subjects{})
	eventually(t, "p1 is declared dead", func() error {
		topology, err := seq.Topology(t.Context())
		if err == nil {
			_, err = seq.FailNode(t.Context(), api.FailNodeRequest{ID: "p1", Epoch: before.Epoch,
				Version: topology.Version, StandIn: "r1"})
		}
		return err
	})
	eventually(t, "r1 stands in for p1", func() error {
		if n := c.node("r1"); n.Role != api.Primary || n.StandsInFor != "p1" || !c.says("r1", "primary") {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	if err := c.nodes["p1"].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "p1 is back, and r1 a replica", func() error {
		p1, r1 := c.node("p1"), c.node("r1")
		if p1.Epoch <= before.Epoch || p1.State != api.Live || r1.Role != api.Replica || r1.StandsInFor != "" {
			return fmt.Errorf("%+v %+v", p1, r1)
		}
		return nil
	})
	report := finish()
	t.Logf("%d writes, errors %v, latency %+v", report.Writes, report.Errors, report.Latency)
	c.verify()
	c.nodes["p1"].stop()
}

// node is a node as the registry has it.
func (c *processes) node(id string) api.Node {
	c.t.Helper()
	for _, n := range c.states() {
		if n.ID == id {
			return n
		}
	}
	c.t.Fatalf("there is no node %s", id)
	return api.Node{}
}

// says asks a node whether its heartbeats name a role.
func (c *processes) says(id, role string) bool {
	status, stdout, _ := braid(c.t, "status", "--server", c.nats)
	for line := range strings.Lines(stdout) {
		if f := strings.Fields(line); status == 0 && len(f) > 1 && f[0] == id {
			return f[1] == role
		}
	}
	return false
}

func (c *processes) post(rows string) {
	c.t.Helper()
	response, err := http.Post("http://"+c.http+"/write", "text/plain", strings.NewReader(rows))
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		c.t.Fatalf("POST /write: %s\n%s", response.Status, c.tails())
	}
}
