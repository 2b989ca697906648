package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
)

// asBraid makes this test binary run as `braid`, and asNATS as a NATS server: the processes of the end-to-end tests
// are real ones, and nothing has to be built for them.
const (
	runAs   = "BRAID_TEST_RUN_AS"
	asBraid = "braid"
	asNATS  = "nats"
)

func TestMain(m *testing.M) {
	switch os.Getenv(runAs) {
	case asBraid:
		main()
	case asNATS:
		os.Exit(runNATS(os.Args[1:]))
	case asApplication:
		os.Exit(runApplication(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// runNATS runs one server.
func runNATS(args []string) int {
	flags := flag.NewFlagSet("nats", flag.ExitOnError)
	port := flags.Int("port", server.RANDOM_PORT, "")
	flags.Parse(args) // ends the process if they are wrong
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := &server.Options{
		Host: "127.0.0.1", Port: *port, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, MaxPayload: api.NATSMaxPayload, MaxPending: api.NATSMaxPending,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		fmt.Fprintln(os.Stderr, "braid: the NATS server does not listen; is its address already in use?")
		return 1
	}
	fmt.Printf("{\"nats\":%q,\"monitor\":\"http://%s\"}\n", s.ClientURL(), s.MonitorAddr())
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return 0
}

// patience bounds everything that a test waits for: generous, since machines differ.
const patience = 90 * time.Second

// proc is a running process whose first line on stdout said that it is ready.
type proc struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	ready map[string]any
	done  chan struct{}
	err   error // of Wait, once done is closed
	log   string
}

// start runs this binary in a role and waits for its ready line in JSON.
func start(t *testing.T, name, role string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, name: name, done: make(chan struct{})}
	logFile, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	p.log = logFile.Name()
	p.cmd = command(context.Background(), role, args...)
	p.cmd.Stderr = logFile
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	first := make(chan []byte, 1)
	go func() {
		defer close(p.done)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadBytes('\n') // an early end shows as an empty line
		first <- line
		io.Copy(io.Discard, r) // nothing else is expected there; the pipe must not fill
		p.err = p.cmd.Wait()
		logFile.Close()
	}()
	select {
	case line := <-first:
		if json.Unmarshal(line, &p.ready) != nil {
			p.kill()
			t.Fatalf("%s did not start: %q\n%s", name, line, p.tail())
		}
	case <-time.After(patience):
		t.Fatalf("%s said nothing for %s\n%s", name, patience, p.tail())
	}
	return p
}

func command(ctx context.Context, role string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), runAs+"="+role)
	return cmd
}

func (p *proc) get(key string) string { return fmt.Sprint(p.ready[key]) }

// kill is kill -9.
func (p *proc) kill() {
	if err := p.cmd.Process.Kill(); err == nil {
		<-p.done
	}
}

// stop asks the process to end and expects status 0.
func (p *proc) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end on SIGTERM\n%s", p.name, p.tail())
	}
	if p.err != nil {
		p.t.Fatalf("%s ended with %v\n%s", p.name, p.err, p.tail())
	}
}

// tail is the end of the process's log, for a failed test.
func (p *proc) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(data) > 4000 {
		data = data[len(data)-4000:]
	}
	return p.name + ":\n" + string(data)
}

// braid runs a command to its end and returns its exit status and what it printed.
func braid(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := command(ctx, asBraid, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("braid %s: %v", strings.Join(args, " "), err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// processes is a cluster in which every service is a process of its own, over TCP.
type processes struct {
	t             *testing.T
	dir           string
	nats, monitor string
	nodes         map[string]*proc
	all           []*proc
	gateway       *proc
	sequencer     *proc
	http          string   // the gateway's address
	windows       []string // flags of the sequencer: what it remembers for how long
}

// startProcesses starts a cluster; windows are flags of its sequencer.
func startProcesses(t *testing.T, windows ...string) *processes {
	t.Helper()
	c := &processes{t: t, dir: t.TempDir(), nodes: make(map[string]*proc), windows: windows}
	n := start(t, "nats", asNATS)
	c.nats, c.monitor = n.get("nats"), n.get("monitor")
	c.startSequencer()
	for _, id := range []string{"p1", "p2", "r1"} {
		c.startNode(id)
	}
	c.gateway = c.startGateway("gateway")
	c.http = c.gateway.get("http")
	return c
}

func (c *processes) startGateway(name string) *proc {
	c.t.Helper()
	return c.service(name, "gateway", "--http", "127.0.0.1:0")
}

func (c *processes) startSequencer() {
	c.t.Helper()
	args := append([]string{"sequencer", "--store", "embedded:" + filepath.Join(c.dir, "sequencer")}, c.windows...)
	c.sequencer = c.service("sequencer", args...)
}

func (c *processes) service(name string, args ...string) *proc {
	c.t.Helper()
	args = append(args, "--server", c.nats, "--nats-monitor", c.monitor, "--json")
	p := start(c.t, name, asBraid, args...)
	c.all = append(c.all, p)
	return p
}

// startNode starts a node, or starts it again after a kill.
func (c *processes) startNode(id string) {
	c.t.Helper()
	role := "primary"
	if id[0] == 'r' {
		role = "replicator"
	}
	c.nodes[id] = c.service(id, role, "--id", id, "--data", filepath.Join(c.dir, "nodes", id),
		"--objects", "dir:"+filepath.Join(c.dir, "objects"))
}
