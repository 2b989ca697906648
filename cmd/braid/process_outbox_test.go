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
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
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
		metrics := prometheus.NewRegistry()
		c, err := client.Connect(ctx, *server, client.WithDirectory(*dir), client.WithProducer(*producer),
			client.WithMetrics(metrics), client.WithUndelivered(func(_ context.Context, u client.Undelivered) error {
				_, n, _ := strings.Cut(string(u.Rows.Data), " n=")
				fmt.Printf("undelivered %s expired=%t unknown=%t %v\n", strings.TrimSuffix(n, "i"),
					errors.Is(u.Err, client.ErrExpired), errors.Is(u.Err, client.ErrUnknownOutcome), u.Err)
				return nil
			}))
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
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for gauge(metrics, "braid_client_directory_refused_writes") > 0 { // until it has them all back
			<-look.C
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

// gauge reads one of a registry's.
func gauge(r *prometheus.Registry, name string) float64 {
	families, err := r.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	panic("there is no metric " + name)
}

// application is one life.
type application struct {
	cmd     *exec.Cmd
	lines   *bufio.Scanner
	stdin   io.Closer
	taken   *[]int
	expired []int // writes that it has got back because the cluster had forgotten it
	unknown []int // and those whose outcome nobody knows for another reason
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
	a := &application{cmd: cmd, lines: bufio.NewScanner(stdout), stdin: stdin, taken: taken}
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
		var expired, unknown bool
		if _, err := fmt.Sscanf(a.lines.Text(), "undelivered %d expired=%t unknown=%t", &number, &expired, &unknown); err == nil {
			switch {
			case expired && unknown:
				a.expired = append(a.expired, number)
			case unknown:
				a.unknown = append(a.unknown, number)
			}
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
	c.holds(taken, 1_000_000*(*outboxKills+1))
}

// holds checks that the tables of runApplication have every number that was taken once and no number twice, those of
// each block of so many numbers in ascending order. It returns all that are there.
func (c *processes) holds(taken []int, block int) map[int]bool {
	c.t.Helper()
	found := make(map[int]bool)
	for _, table := range []string{"out0", "out1"} {
		numbers, last := c.numbers(table), make(map[int]int)
		for _, n := range numbers {
			if before, ok := last[n/block]; ok && n < before {
				c.t.Errorf("table %s is not in the order of the writes: %d is behind %d", table, n, before)
			}
			last[n/block] = n
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
	return found
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

// TestI2_I3_DirectoryWithTheClusterAway: for longer than any of its windows nothing of the cluster is there; the
// application is killed again and again in the meantime, and writes on. When the cluster is back, everything arrives, for
// nothing expires while it is away. Two copies of the directory, and another directory under the same producer id, do not
// get into each other's way: whichever registers last goes on, the others are fenced, and no number is stored twice or
// lost without a word.
func TestI2_I3_DirectoryWithTheClusterAway(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	const idle = 8 * time.Second
	c := startProcesses(t, "--producer-idle", idle.String(), "--key-window", "2s")
	dir, twin, other := filepath.Join(c.dir, "outbox"), filepath.Join(c.dir, "twin"), filepath.Join(c.dir, "other")
	var taken []int
	run := func(dir string, first, writes int) *application {
		return startApplication(t, &taken, "--server", c.nats, "--dir", dir, "--first", fmt.Sprint(first),
			"--writes", fmt.Sprint(writes), "--producer", "app-1")
	}
	flushed := func(a *application, what string) {
		t.Helper()
		if !a.read(0, "flushed") {
			t.Fatalf("%s did not deliver\n%s", what, c.tails())
		}
	}
	a := run(dir, 0, 100)
	flushed(a, "the application")
	c.sequencer.kill()
	a.kill()
	away := time.Now()
	for life := 1; life < 4 || time.Since(away) < idle+2*time.Second; life++ {
		a = run(dir, 1000*life, 300)
		if !a.read(300, "") {
			t.Fatal("the application does not write without a cluster")
		}
		a.kill()
	}
	c.startSequencer()
	a = run(dir, 900_000, 10)
	flushed(a, "the application")
	a.kill()
	if len(a.expired) > 0 {
		t.Errorf("%d writes have expired while nothing could", len(a.expired))
	}
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b := run(twin, 1_000_000, 900_000)
	if !b.read(50, "") {
		t.Fatal("the twin ended")
	}
	another := run(other, 2_000_000, 10)
	flushed(another, "another directory under the same producer id")
	if b.read(0, "flushed") { // it goes on until it hears that it is fenced
		t.Fatal("the twin was not fenced")
	}
	b.kill()
	another.kill()
	b = run(twin, 3_000_000, 10)
	flushed(b, "the twin, which has registered last")
	b.kill()
	a = run(dir, 4_000_000, 10)
	flushed(a, "the first directory, which has registered last")
	c.verify()
	// What the twin may have sent when it was fenced, the other process has settled.
	back := slices.Concat(a.unknown, b.unknown)
	t.Logf("%d taken, of %d writes a fenced process does not know the outcome", len(taken), len(back))
	c.holds(without(taken, back), 1_000_000)
}

func without(list, those []int) []int {
	return slices.DeleteFunc(slices.Clone(list), func(n int) bool { return slices.Contains(those, n) })
}

// TestI3_AForgottenApplication: the primaries stand still, so that writes are sent and have no answer; the application
// dies, and is away for longer than the cluster remembers it. What may have been sent comes back as expired, what was
// certainly never sent is delivered, and nothing is stored twice.
func TestI3_AForgottenApplication(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	c := startProcesses(t, "--producer-idle", "8s", "--key-window", "2s")
	nc, err := nats.Connect(c.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	groups, err := nc.SubscribeSync("braid.primary.*.write")
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"p1", "p2"} {
		if err := c.nodes[id].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--server", c.nats, "--dir", filepath.Join(c.dir, "outbox"), "--producer", "app-1"}
	var taken []int
	a := startApplication(t, &taken, append(args, "--first", "0", "--writes", "900000")...)
	if !a.read(10, "") {
		t.Fatal("the application ended")
	}
	for range 2 { // one of each table: another follows only behind an answer
		if _, err := groups.NextMsg(patience); err != nil {
			t.Fatalf("nothing was sent: %v", err)
		}
	}
	if !a.read(2000, "") {
		t.Fatal("the application ended")
	}
	a.kill()
	sequencer := bus.NewSequencer(nc, api.Subjects{})
	eventually(t, "the cluster forgets the application", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// Epoch 1 is older than any of its own, and is fenced as long as it is known. It renews nothing.
		err := sequencer.RenewProducer(ctx, api.RenewProducerRequest{ID: "app-1", Epoch: 1})
		if api.IsName(err, api.Expired) {
			return nil
		}
		return fmt.Errorf("a renewal: %v", err)
	})
	for _, id := range []string{"p1", "p2"} {
		if err := c.nodes[id].cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	last := startApplication(t, &taken, append(args, "--first", "1000000", "--writes", "10")...)
	if !last.read(0, "flushed") {
		t.Fatalf("what was never sent is not delivered\n%s", c.tails())
	}
	c.verify()
	stored := c.holds(without(taken, last.expired), 2_000_000)
	t.Logf("%d taken, %d came back as expired, %d stored", len(taken), len(last.expired), len(stored))
	if len(last.expired) == 0 || len(last.expired) > 1000 {
		t.Errorf("%d writes of %d came back: those that may have been sent, and no others", len(last.expired), len(taken))
	}
}
