package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// eventually polls until ok, and fails with what ok last said.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		<-ticker.C
	}
}

// load starts a load test of 200 writes that verifies itself, and returns once rows arrive. finish waits for its end.
func (c *processes) load(flags ...string) (finish func()) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	c.t.Cleanup(cancel)
	load := command(ctx, asBraid, append([]string{"loadtest", "--server", c.nats, "--rows", "400000", "--batch", "2000",
		"--writers", "4", "--verify"}, flags...)...)
	var out bytes.Buffer
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "rows arrive", func() error { return c.headAtLeast("cpu", 20) })
	return func() {
		c.t.Helper()
		if err := load.Wait(); err != nil {
			c.t.Fatalf("load test: %v\n%s\n%s", err, out.String(), c.tails())
		}
	}
}

// TestI2_I3_I4_PrimaryKilledUnderLoad: kill -9 of a primary in the middle of a load test costs nothing that was
// acknowledged, stores nothing twice, and leaves every node with the same rows in the same order.
func TestI2_I3_I4_PrimaryKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	for _, durability := range []string{"object", "wal"} {
		t.Run(durability, func(t *testing.T) { killUnderLoad(t, durability) })
	}
}

func killUnderLoad(t *testing.T, durability string) {
	c := startProcesses(t)
	finish := c.load("--durability", durability)
	c.nodes["p1"].kill()
	before := c.head("cpu")
	eventually(t, "rows arrive without p1", func() error { return c.headAtLeast("cpu", before+10) })
	c.startNode("p1")
	finish()
	c.verify()
	for _, p := range []*proc{c.all[len(c.all)-1], c.nodes["p2"], c.nodes["r1"]} {
		p.stop()
	}
}

// TestProcessesTakeEveryWayIn: separate processes take rows over HTTP and give each value back, on every node.
func TestProcessesTakeEveryWayIn(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	const rows = "cpu,host=a usage=1i,load=0.5 1700000000000000000\ncpu,host=b usage=2i 1700000001000000000\n"
	response, err := http.Post("http://"+c.http+"/write", "text/plain", strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusNoContent || response.Header.Get("Braid-TxID") != "1" {
		t.Fatalf("POST /write: %s %q TxID %q %v", response.Status, body, response.Header.Get("Braid-TxID"), err)
	}
	const want = "timestamp,host,usage,load\n1700000000000000000,a,1,0.5\n1700000001000000000,b,2,\n"
	for _, node := range []string{"p1", "p2", "r1"} {
		eventually(t, "rows on "+node, func() error {
			status, stdout, stderr := braid(t, "rows", "cpu", "--format", "csv", "--node", node, "--server", c.nats)
			if status != 0 || stdout != want {
				return fmt.Errorf("status %d: %s%s", status, stdout, stderr)
			}
			return nil
		})
	}
	c.verify()
	_, stdout, stderr := braid(t, "tables", "--server", c.nats)
	if !strings.Contains(stdout, "cpu    1     2     4        2   2   2\n") {
		t.Fatalf("braid tables does not show 2 rows on every node:\n%s%s", stdout, stderr)
	}
	if status, _, stderr := braid(t, "rows", "nosuch", "--server", c.nats); status != 1 || stderr == "" {
		t.Fatalf("rows of an unknown table: status %d, %q", status, stderr)
	}
}

// head asks `braid tables` for a table's head.
func (c *processes) head(table string) uint64 {
	c.t.Helper()
	status, stdout, stderr := braid(c.t, "tables", "--json", "--server", c.nats)
	if status != 0 {
		c.t.Fatalf("braid tables: status %d\n%s\n%s", status, stderr, c.tails())
	}
	var answer struct {
		Tables []struct {
			Name string
			Head uint64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		c.t.Fatalf("braid tables: %v in %q", err, stdout)
	}
	for _, t := range answer.Tables {
		if t.Name == table {
			return t.Head
		}
	}
	return 0
}

func (c *processes) headAtLeast(table string, want uint64) error {
	if head := c.head(table); head < want {
		return fmt.Errorf("head %d, want %d", head, want)
	}
	return nil
}

// verify waits until every node has the same rows.
func (c *processes) verify() {
	c.t.Helper()
	status, stdout, stderr := braid(c.t, "verify", "--server", c.nats)
	if status != 0 {
		c.t.Fatalf("braid verify: status %d\n%s%s\n%s", status, stdout, stderr, c.tails())
	}
}

func (c *processes) tails() string {
	var b strings.Builder
	for _, p := range c.all {
		b.WriteString(p.tail())
	}
	return b.String()
}
