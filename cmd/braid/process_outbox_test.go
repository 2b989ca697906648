package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/client"
)

var outboxKills = flag.Int("outbox.kills", 10, "how often the application with a directory is killed")

// asApplication is an application with a store-and-forward directory: it writes rows without waiting for answers, and
// says of each when it is on its disk. As often as it lives it writes numbers that no other life has.
const asApplication = "application"

// runApplication writes to two tables in turn, or, if it is the last life, waits until everything is delivered.
func runApplication(args []string) int {
	flags := flag.NewFlagSet(asApplication, flag.ExitOnError)
	server, dir := flags.String("server", "", ""), flags.String("dir", "", "")
	first, writes := flags.Int("first", 0, ""), flags.Int("writes", 0, "")
	producer := flags.String("producer", "", "")
	flags.Parse(args) // ends the process if they are wrong
	err := func() error {
		ctx := context.Background()
		c, err := client.Connect(ctx, *server, client.WithDirectory(*dir), client.WithProducer(*producer))
		if err != nil {
			return err
		}
		for n := *first; n < *first+*writes; n++ {
			row := fmt.Appendf(nil, "out%d n=%di", n%2, n)
			f := c.Table(fmt.Sprintf("out%d", n%2)).WriteAsync(ctx, client.LineProtocol(row))
			select {
			case <-f.Done():
				if _, err := f.Result(ctx); err != nil {
					return err
				}
			default:
			}
			fmt.Println("taken", n)
		}
		if err := c.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("flushed")
		_, err = io.Copy(io.Discard, os.Stdin) // until it is told to end
		return errors.Join(err, c.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// application is one life.
type application struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
	taken *[]int
}

func startApplication(t *testing.T, taken *[]int, args ...string) *application {
	t.Helper()
	cmd := command(context.Background(), asApplication, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &application{cmd, bufio.NewScanner(stdout), stdin, taken}
	t.Cleanup(a.kill)
	return a
}

// read takes what the application says, up to lines of them or a word; false at its end.
func (a *application) read(lines int, word string) bool {
	for n := 0; lines == 0 || n < lines; n++ {
		if !a.lines.Scan() {
			return false
		}
		var number int
		if _, err := fmt.Sscanf(a.lines.Text(), "taken %d", &number); err == nil {
			*a.taken = append(*a.taken, number)
		}
		if a.lines.Text() == word {
			return true
		}
	}
	return true
}

// kill is kill -9; what was said before counts.
func (a *application) kill() {
	if a.cmd.ProcessState == nil && a.cmd.Process.Kill() == nil {
		a.read(0, "")
		_ = a.cmd.Wait() // it was killed
	}
}

// TestI2_I3_ApplicationKilledWithItsDirectory: an application that keeps its writes in a directory is killed again and
// again, and so are the primaries, and the sequencer is away for a while. Every write of which it has said that it is
// on its disk is in its table once, in the order in which they were made.
func TestI2_I3_ApplicationKilledWithItsDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	dir := filepath.Join(c.dir, "outbox")
	args := []string{"--server", c.nats, "--dir", dir, "--writes", "100000"}
	var taken []int
	for life := range *outboxKills {
		a := startApplication(t, &taken, append(args, "--first", fmt.Sprint(life*1_000_000))...)
		if !a.read(1+rand.IntN(400), "") {
			t.Fatalf("life %d ended by itself", life)
		}
		if life == 0 {
			second, err := command(t.Context(), asApplication, args...).CombinedOutput()
			if err == nil || !strings.Contains(string(second), "in use") {
				t.Errorf("a second process on the directory: %v, %s", err, second)
			}
		}
		victim := []string{"p1", "p2"}[life%2]
		c.nodes[victim].kill()
		a.read(1+rand.IntN(200), "")
		a.kill()
		c.startNode(victim)
	}
	last := startApplication(t, &taken, "--server", c.nats, "--dir", dir, "--writes", "10",
		"--first", fmt.Sprint(*outboxKills*1_000_000))
	if !last.read(0, "flushed") {
		t.Fatalf("the last life did not deliver what was left\n%s", c.tails())
	}
	if err := errors.Join(last.stdin.Close(), last.cmd.Wait()); err != nil {
		t.Errorf("the last life: %v", err)
	}
	c.verify()
	t.Logf("%d writes taken in %d lives", len(taken), *outboxKills+1)
	c.holds(taken)
}

// holds checks that the tables of runApplication have every number that was taken once, no number twice, and all in
// ascending order.
func (c *processes) holds(taken []int) {
	c.t.Helper()
	found := make(map[int]bool)
	for _, table := range []string{"out0", "out1"} {
		numbers := c.numbers(table)
		if !slices.IsSorted(numbers) {
			c.t.Errorf("table %s is not in the order of the writes", table)
		}
		for _, n := range numbers {
			if found[n] {
				c.t.Errorf("write %d is stored twice", n)
			}
			found[n] = true
		}
	}
	for _, n := range taken {
		if !found[n] {
			c.t.Errorf("write %d was on the application's disk and is lost", n)
		}
	}
	if len(found) < len(taken) || len(taken) == 0 {
		c.t.Errorf("%d rows, %d taken", len(found), len(taken))
	}
}

// numbers reads the column n of a table, once a node has applied all of it: every write is one row.
func (c *processes) numbers(table string) (list []int) {
	c.t.Helper()
	var stdout string
	head := int(c.head(table))
	eventually(c.t, "rows of "+table, func() error {
		status, out, stderr := braid(c.t, "rows", table, "--format", "ndjson", "--server", c.nats)
		if status != 0 {
			return fmt.Errorf("status %d: %s", status, stderr)
		}
		if stdout = out; strings.Count(out, "\n") < head {
			return fmt.Errorf("%d rows, the head is %d", strings.Count(out, "\n"), head)
		}
		return nil
	})
	for line := range strings.Lines(stdout) {
		var row struct{ N int }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			c.t.Fatalf("row %q: %v", line, err)
		}
		list = append(list, row.N)
	}
	return list
}

// TestI2_I3_DirectoryWithTheClusterAway: nothing of the cluster is there, the application is killed in the meantime, and
// then writes on. When the cluster is back, everything arrives. Two copies of the directory do not get into each other's
// way: whichever registers last goes on, and no number is lost or stored twice by that.
func TestI2_I3_DirectoryWithTheClusterAway(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t)
	dir, twin := filepath.Join(c.dir, "outbox"), filepath.Join(c.dir, "twin")
	var taken []int
	run := func(dir string, first, writes int) *application {
		return startApplication(t, &taken, "--server", c.nats, "--dir", dir, "--first", fmt.Sprint(first),
			"--writes", fmt.Sprint(writes), "--producer", "app-1")
	}
	a := run(dir, 0, 100)
	if !a.read(0, "flushed") {
		t.Fatal("the application ended")
	}
	c.all[0].kill() // the sequencer
	a.kill()
	for life := 1; life < 4; life++ {
		a = run(dir, 1000*life, 300)
		if !a.read(300, "") {
			t.Fatal("the application does not write without a cluster")
		}
		a.kill()
	}
	c.service("sequencer", "sequencer", "--store", "embedded:"+filepath.Join(c.dir, "sequencer"))
	a = run(dir, 4000, 10)
	if !a.read(0, "flushed") {
		t.Fatal("the application ended")
	}
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b := run(twin, 5000, 10)
	if !b.read(0, "flushed") {
		t.Fatal("the twin, which has registered last, does not deliver")
	}
	a.kill()
	b.kill()
	c.verify()
	c.holds(taken)
}
