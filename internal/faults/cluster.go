//go:build unix

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say how to run a plan.
type Options struct {
	// Dir gets everything: data, logs, the story of the run.
	Dir string
	// Braid makes a command of the program under test. NATS makes a NATS server, with the flags --port and
	// --cluster-port, and --routes, comma-separated URLs of the cluster. Both print a line of JSON when they are
	// ready, and end when their stdin does.
	Braid, NATS func(args ...string) *exec.Cmd
	// S3 is the program versitygw, for plans with an S3 server.
	S3 string
	// Patience bounds every wait for something that must happen. Machines differ: it is never the thing measured.
	Patience time.Duration
}

// cluster is the processes of a plan and where they keep their data.
type cluster struct {
	plan      *Plan
	opts      Options
	events    *events
	servers   string // NATS URLs
	processes map[string]*process
	s3        string // host:port of the S3 server, "" for none
	mounted   string // where the small disk is, "" for nowhere

	mu      sync.Mutex
	folders map[string]string // guarded by mu: data folders of nodes, which Move changes
}

func (c *cluster) folder(node string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.folders[node]
}

func (c *cluster) setFolder(node, folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.folders[node] = folder
}

func newCluster(plan *Plan, opts Options, ev *events) (*cluster, error) {
	c := &cluster{plan: plan, opts: opts, events: ev,
		processes: make(map[string]*process), folders: make(map[string]string)}
	for _, dir := range []string{"logs", "nodes", "objects"} {
		if err := os.MkdirAll(filepath.Join(opts.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := c.addNATS(); err != nil {
		return nil, err
	}
	if plan.S3 {
		if err := c.addS3(); err != nil {
			return nil, err
		}
	}
	for _, id := range plan.Nodes {
		c.folders[id] = filepath.Join(opts.Dir, "nodes", id)
	}
	if plan.SmallDisk != "" {
		if err := c.mount(c.folders[plan.SmallDisk]); err != nil {
			return nil, err
		}
	}
	for _, name := range plan.Processes() {
		if strings.HasPrefix(name, "nats") || name == "s3" {
			continue
		}
		c.add(name, func() *exec.Cmd { return c.command(name) })
		// Whoever starts while NATS or the object store is away says so and ends: that is its supervisor's matter.
		c.processes[name].excuse("connect to NATS at")
		if plan.S3 {
			c.processes[name].excuse("open object store s3:")
		}
	}
	return c, nil
}

func (c *cluster) add(name string, command func() *exec.Cmd) {
	c.processes[name] = &process{name: name, command: command, logs: filepath.Join(c.opts.Dir, "logs"),
		events: c.events, excused: make(map[string]int)}
}

// addNATS gives the servers ports that they keep over restarts.
func (c *cluster) addNATS() error {
	var urls, routes []string
	var ports []int
	for range c.plan.NATS {
		for range 2 {
			port, err := freePort()
			if err != nil {
				return err
			}
			ports = append(ports, port)
		}
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[len(ports)-2]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[len(ports)-1]))
	}
	c.servers = strings.Join(urls, ",")
	for i := range c.plan.NATS {
		args := []string{"--port", strconv.Itoa(ports[2*i])}
		if c.plan.NATS > 1 {
			args = append(args, "--cluster-port", strconv.Itoa(ports[2*i+1]), "--routes", strings.Join(routes, ","))
		}
		name := "nats" + strconv.Itoa(i+1)
		c.add(name, func() *exec.Cmd { return c.opts.NATS(args...) })
		c.processes[name].excuse("is its address already in use?")
	}
	return nil
}

// freePort finds a port below those that systems give to outgoing connections: while a server is down, a client's
// attempts to reach it from such a port can meet themselves, and take the port away from it.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 10240 + rand.IntN(22000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("no free port found: %w", last)
}

// command is a service's command line, as an operator would write it.
func (c *cluster) command(name string) *exec.Cmd {
	var args []string
	switch name[0] {
	case 's':
		args = []string{"sequencer", "--store", "embedded:" + filepath.Join(c.opts.Dir, "sequencer")}
	case 'g':
		args = []string{"gateway", "--id", name}
	default:
		return c.node(name, c.folder(name))
	}
	return c.opts.Braid(append(args, "--server", c.servers, "--json", "--http", "127.0.0.1:0")...)
}

func (c *cluster) node(id, folder string) *exec.Cmd {
	role := "primary"
	if id[0] == 'r' {
		role = "replicator"
	}
	args := []string{role, "--id", id, "--data", folder, "--server", c.servers, "--json", "--http", "127.0.0.1:0"}
	if !c.plan.S3 {
		return c.opts.Braid(append(args, "--objects", "dir:"+filepath.Join(c.opts.Dir, "objects"))...)
	}
	cmd := c.opts.Braid(append(args, "--objects", "s3:"+s3Bucket, "--s3-endpoint", "http://"+c.s3, "--s3-path-style")...)
	cmd.Env = append(cmd.Env, s3Environment()...)
	return cmd
}

// start starts every process in an order that lets each find what it needs.
func (c *cluster) start(ctx context.Context) error {
	for _, name := range c.plan.Processes() {
		c.processes[name].Start()
		if err := c.awaitReady(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// heal wakes and starts everything, and waits until all of it is ready.
func (c *cluster) heal(ctx context.Context) error {
	for _, name := range c.plan.Processes() {
		if err := c.awaitReady(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) awaitReady(ctx context.Context, name string) error {
	p := c.processes[name]
	err := poll(ctx, c.opts.Patience, func() error {
		if err := c.events.err(); err != nil {
			return nil // the run has failed already, and the process may never come
		}
		if !p.isReady() {
			return fmt.Errorf("%s is not ready", name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.events.err()
}

// poll asks until ok, the end of ctx, or the end of patience.
func poll(ctx context.Context, patience time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// close kills what runs, and frees the small disk.
func (c *cluster) close() error {
	for _, p := range c.processes {
		if p.ended != nil {
			p.Kill()
		}
	}
	return c.unmount()
}
