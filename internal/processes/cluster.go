//go:build unix

package processes

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Config says what a cluster of processes consists of.
type Config struct {
	// Dir gets everything: data and logs.
	Dir string
	// Braid makes a command of the program. It ends when its stdin does, so that nothing outlives a parent that dies.
	Braid func(args ...string) *exec.Cmd
	Story *Story
	// Patience bounds every wait for something that must happen. Machines differ: it is never the thing measured.
	Patience time.Duration

	NATS      int // servers
	Primaries []string
	Replicas  []string
	Gateways  []string
	Failovers []string
	// S3 keeps segments in an S3 server of the cluster's own, run by this program; "" for none.
	S3 string
	// Objects is a store that is there already, and ObjectFlags how to reach it; "" for a folder in Dir, or S3.
	Objects     string
	ObjectFlags []string
	// Endpoint is the http:// URL of the store of Objects, which a link of each node leads to; "" for no such link.
	Endpoint string
	// These flags are added to the command lines.
	NodeFlags, PrimaryFlags, GatewayFlags, FailoverFlags []string
	// Links puts a proxy between each service and NATS, and between each node and an S3 server. Without them, nobody
	// can be cut off from either.
	Links bool
}

// Cluster is the processes and where they keep their data.
type Cluster struct {
	cfg         Config
	names       []string // of all processes, in the order in which they start
	processes   map[string]*Process
	nats        []*natsServer
	s3          string              // host:port of the S3 server, "" for none
	natsLinks   map[string][]*Proxy // by service, one for each server
	objectLinks map[string]*Proxy   // by node
	gatewayHTTP map[string]string   // host:port, which a gateway keeps over restarts

	mu      sync.Mutex
	folders map[string]string // guarded by mu: data folders of nodes, which may move
	denied  []string          // guarded by mu: services without the right to speak to the sequencer
}

// sequencer is the one process that may open the embedded store.
const sequencer = "sequencer"

// New prepares folders, ports and links. It starts nothing; Close frees what it took.
func New(cfg Config) (c *Cluster, err error) {
	c = &Cluster{cfg: cfg, processes: make(map[string]*Process), folders: make(map[string]string),
		natsLinks: make(map[string][]*Proxy), objectLinks: make(map[string]*Proxy),
		gatewayHTTP: make(map[string]string)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, dir := range []string{"logs", "nodes", "objects"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o755); err != nil {
			return c, err
		}
	}
	if err := c.addNATS(); err != nil {
		return c, err
	}
	if cfg.S3 != "" {
		if err := c.addS3(); err != nil {
			return c, err
		}
	}
	return c, c.addServices()
}

func (c *Cluster) add(name string, command func() *exec.Cmd) *Process {
	p := newProcess(name, filepath.Join(c.cfg.Dir, "logs"), c.cfg.Story, command)
	c.processes[name] = p
	c.names = append(c.names, name)
	return p
}

// Nodes are the ids of all nodes.
func (c *Cluster) Nodes() []string { return slices.Concat(c.cfg.Primaries, c.cfg.Replicas) }

// services are all processes of braid's own, in the order in which they start.
func (c *Cluster) services() []string {
	return slices.Concat([]string{sequencer}, c.cfg.Failovers, c.Nodes(), c.cfg.Gateways)
}

func (c *Cluster) addServices() error {
	for _, id := range c.Nodes() {
		c.folders[id] = filepath.Join(c.cfg.Dir, "nodes", id)
	}
	for _, id := range c.cfg.Gateways {
		var err error
		if c.gatewayHTTP[id], err = freeAddress(); err != nil {
			return err
		}
	}
	for _, name := range c.services() {
		if err := c.link(name); err != nil {
			return err
		}
		p := c.add(name, func() *exec.Cmd { return c.command(name) })
		// Whoever starts while NATS or the object store is away says so and ends: that is its supervisor's matter.
		p.Excuse("connect to NATS at")
		if c.objectAddress() != "" {
			p.Excuse("open object store s3:")
		}
	}
	return nil
}

// link puts proxies before what a service connects to.
func (c *Cluster) link(name string) error {
	if !c.cfg.Links {
		return nil
	}
	for _, s := range c.nats {
		p, err := NewProxy(fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			return err
		}
		c.natsLinks[name] = append(c.natsLinks[name], p)
	}
	if at := c.objectAddress(); at != "" && slices.Contains(c.Nodes(), name) {
		p, err := NewProxy(at)
		if err != nil {
			return err
		}
		c.objectLinks[name] = p
	}
	return nil
}

// objectAddress is host:port of the object store, "" if it has none.
func (c *Cluster) objectAddress() string {
	if c.s3 != "" || c.cfg.Endpoint == "" {
		return c.s3
	}
	u, err := url.Parse(c.cfg.Endpoint)
	if err != nil {
		return ""
	}
	if u.Port() == "" {
		return u.Hostname() + ":80"
	}
	return u.Host
}

// command is a service's command line, as an operator would write it.
func (c *Cluster) command(name string) *exec.Cmd {
	var args []string
	switch {
	case name == sequencer:
		args = []string{"sequencer", "--store", "embedded:" + filepath.Join(c.cfg.Dir, "sequencer")}
	case slices.Contains(c.cfg.Gateways, name):
		args = append([]string{"gateway", "--id", name}, c.cfg.GatewayFlags...)
		args = append(args, "--http", c.gatewayHTTP[name])
		return c.cfg.Braid(append(args, "--server", c.serversOf(name), "--json")...)
	case slices.Contains(c.cfg.Failovers, name):
		args = append([]string{"failover", "--id", name}, c.cfg.FailoverFlags...)
	default:
		return c.Node(name, c.Folder(name))
	}
	return c.cfg.Braid(append(args, "--server", c.serversOf(name), "--json", "--http", "127.0.0.1:0")...)
}

// Node is the command line of a node on a folder.
func (c *Cluster) Node(id, folder string) *exec.Cmd {
	args := []string{"primary"}
	if slices.Contains(c.cfg.Replicas, id) {
		args[0] = "replicator"
	} else {
		args = append(args, c.cfg.PrimaryFlags...)
	}
	args = append(args, c.cfg.NodeFlags...)
	args = append(args, "--id", id, "--data", folder, "--server", c.serversOf(id), "--json", "--http", "127.0.0.1:0")
	if c.cfg.Objects == "" && c.s3 == "" {
		return c.cfg.Braid(append(args, "--objects", "dir:"+filepath.Join(c.cfg.Dir, "objects"))...)
	}
	objects, flags := c.cfg.Objects, slices.Clone(c.cfg.ObjectFlags)
	if c.s3 != "" {
		objects, flags = "s3:"+s3Bucket, []string{"--s3-endpoint", "http://" + c.s3, "--s3-path-style"}
	}
	if p := c.objectLinks[id]; p != nil { // kong takes the last of two
		flags = append(flags, "--s3-endpoint", "http://"+p.Addr())
	}
	cmd := c.cfg.Braid(append(append(args, "--objects", objects), flags...)...)
	if c.s3 != "" {
		cmd.Env = append(cmd.Environ(), s3Environment()...)
	}
	return cmd
}

// Names are those of all processes, in the order in which they start.
func (c *Cluster) Names() []string { return slices.Clone(c.names) }

// Process is the process of that name.
func (c *Cluster) Process(name string) *Process { return c.processes[name] }

// NATSLinks are the links of a service to the NATS servers; empty without Config.Links.
func (c *Cluster) NATSLinks(service string) []*Proxy { return c.natsLinks[service] }

// ObjectLink is the link of a node to the object store, nil if it has none.
func (c *Cluster) ObjectLink(node string) *Proxy { return c.objectLinks[node] }

// HTTP is the http:// URL of a gateway.
func (c *Cluster) HTTP(gateway string) string { return "http://" + c.gatewayHTTP[gateway] }

// Folder is where a node has its data.
func (c *Cluster) Folder(node string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.folders[node]
}

// SetFolder moves a node, from its next start on.
func (c *Cluster) SetFolder(node, folder string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.folders[node] = folder
}

// Start starts every process in an order that lets each find what it needs, and waits until all are ready.
func (c *Cluster) Start(ctx context.Context) error {
	for _, name := range c.names {
		c.processes[name].Start()
		if err := c.AwaitReady(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// AwaitAll waits until every process is ready.
func (c *Cluster) AwaitAll(ctx context.Context) error {
	for _, name := range c.names {
		if err := c.AwaitReady(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// AwaitReady waits until a process is ready, or something has failed.
func (c *Cluster) AwaitReady(ctx context.Context, name string) error {
	p := c.processes[name]
	err := Poll(ctx, c.cfg.Patience, func() error {
		if c.cfg.Story.Err() == nil && !p.IsReady() {
			return fmt.Errorf("%s is not ready", name)
		}
		return nil // also when the run has failed already: the process may never come
	})
	return errors.Join(err, c.cfg.Story.Err())
}

// Poll asks until ok, the end of ctx, or the end of patience.
func Poll(ctx context.Context, patience time.Duration, ok func() error) error {
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

// Close kills what runs, and frees ports.
func (c *Cluster) Close() error {
	var errs []error
	for _, p := range c.processes {
		p.Kill()
	}
	for _, links := range c.natsLinks {
		for _, p := range links {
			errs = append(errs, p.Close())
		}
	}
	for _, p := range c.objectLinks {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
