//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	procs "github.com/seed-551dd829/braid/internal/processes"
	"github.com/seed-551dd829/braid/loadtest"
)

// processPatience is for a process to become ready or to end. Machines differ: it is never the thing measured.
const processPatience = time.Minute

// startProcesses runs a cluster whose services are processes of this binary until the harness closes it.
//
//	this process: load, chaos ── NATS ┬ sequencer, f1 f2
//	                                  ├ p1 p2 … r1 …   each a process, and links between
//	                                  └ g1 g2          them where somebody shall be cut off
func (c *loadtestCmd) startProcesses(ctx context.Context, p *process, dir, objects string) (loadtest.Cluster, error) {
	program, err := os.Executable()
	if err != nil {
		return loadtest.Cluster{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // as every service does with its --data
		return loadtest.Cluster{}, err
	}
	story, err := procs.NewStory(filepath.Join(dir, "story.txt"))
	if err != nil {
		return loadtest.Cluster{}, err
	}
	cfg := procs.Config{
		Dir: dir, Story: story, Patience: processPatience, NATS: 1,
		Primaries: numbered("p", c.Primaries), Replicas: numbered("r", c.Replicas), Gateways: numbered("g", 2),
		Failovers: numbered("f", 2),
		Braid:     func(args ...string) *exec.Cmd { return exec.Command(program, append([]string{"--tied"}, args...)...) },
		Links:     strings.Contains(c.Chaos, "partition") || strings.Contains(c.Chaos, "random"),
	}
	cfg.Objects, cfg.ObjectFlags = objects, c.s3Flags.args()
	if strings.HasPrefix(c.S3Endpoint, "http://") && strings.HasPrefix(objects, "s3:") {
		cfg.Endpoint = c.S3Endpoint
	}
	cfg.NodeFlags = c.walFlags.args()
	if c.SealInterval > 0 {
		cfg.PrimaryFlags = []string{"--seal-interval", c.SealInterval.String()}
	}
	running, err := procs.New(cfg)
	if err != nil {
		return loadtest.Cluster{}, errors.Join(err, story.Close())
	}
	a := &actor{Cluster: running, cfg: &cfg, paused: make(map[string]*procs.Life)}
	if err := running.Start(ctx); err != nil {
		return loadtest.Cluster{}, errors.Join(err, a.close())
	}
	return loadtest.Cluster{
		Servers: running.Servers(), HTTP: running.HTTP("g1"), DataDir: dir, Actor: a, Close: a.close,
	}, nil
}

// numbered are the ids prefix1, prefix2, …
func numbered(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, prefix+strconv.Itoa(i+1))
	}
	return ids
}

// args are the flags that say something.
func (f s3Flags) args() (args []string) {
	if f.S3Endpoint != "" {
		args = append(args, "--s3-endpoint", f.S3Endpoint)
	}
	if f.S3Region != "" {
		args = append(args, "--s3-region", f.S3Region)
	}
	if f.S3PathStyle {
		args = append(args, "--s3-path-style")
	}
	return args
}

// args are the flags that say something.
func (f walFlags) args() (args []string) {
	if f.WALCopies > 0 {
		args = append(args, "--wal-copies", strconv.Itoa(f.WALCopies))
	}
	if f.WALSealInterval > 0 {
		args = append(args, "--wal-seal-interval", f.WALSealInterval.String())
	}
	return args
}

// actor hurts the cluster for the harness.
type actor struct {
	*procs.Cluster
	cfg *procs.Config

	mu     sync.Mutex
	paused map[string]*procs.Life // guarded by mu
}

// What a process says when it ends because of what was done to it.
const saysFenced = "is fenced"

// Targets are all processes but the S3 server.
func (a *actor) Targets() (all []loadtest.Target) {
	add := func(role string, names []string) {
		for _, name := range names {
			all = append(all, loadtest.Target{Name: name, Role: role, Cuttable: len(a.NATSLinks(name)) > 0,
				Store: a.ObjectLink(name) != nil})
		}
	}
	add("primary", a.cfg.Primaries)
	add("replica", a.cfg.Replicas)
	add("gateway", a.cfg.Gateways)
	add("failover", a.cfg.Failovers)
	add("sequencer", []string{"sequencer"})
	add("nats", []string{"nats1"})
	return all
}

// Kill is kill -9.
func (a *actor) Kill(name string) { a.Process(name).Kill() }

// Drain is `braid drain` for a node, and SIGTERM for a service without data.
func (a *actor) Drain(_ context.Context, name string) error {
	if slices.Contains(a.Nodes(), name) {
		return a.Process(name).Leave(func() error {
			cmd := a.cfg.Braid("drain", name, "--server", a.Servers())
			stdin, err := cmd.StdinPipe() // it ends when that does
			if err != nil {
				return err
			}
			defer stdin.Close() // CombinedOutput has closed it, unless Start failed
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("braid drain %s: %w: %s", name, err, out)
			}
			return nil
		}, processPatience)
	}
	if !a.Process(name).Stop(processPatience) {
		return fmt.Errorf("%s did not end within %s", name, processPatience)
	}
	return nil
}

// Restart starts what was killed or drained.
func (a *actor) Restart(name string) { a.Process(name).Start() }

// Pause is SIGSTOP. A node that was fenced meanwhile may end when it wakes; its supervisor starts it again.
func (a *actor) Pause(name string) {
	a.Process(name).Excuse(saysFenced)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused[name] = a.Process(name).Pause()
}

// Resume is SIGCONT.
func (a *actor) Resume(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Process(name).Resume(a.paused[name])
}

// Partition cuts links, or takes the right to speak to the sequencer away.
func (a *actor) Partition(name string, from loadtest.Neighbour, cut bool) error {
	a.Process(name).Excuse(saysFenced)
	links := a.NATSLinks(name)
	switch from {
	case loadtest.FromSequencer:
		return a.Deny(name, cut)
	case loadtest.FromObjects:
		links = []*procs.Proxy{a.ObjectLink(name)}
	}
	for _, l := range links {
		if cut {
			l.Cut()
		} else {
			l.Mend()
		}
	}
	return nil
}

// Ready says whether a process runs and has said so.
func (a *actor) Ready(name string) bool { return a.Process(name).IsReady() }

// Err is what processes did that nothing explains.
func (a *actor) Err() error { return a.cfg.Story.Err() }

// close kills everything.
func (a *actor) close() error { return errors.Join(a.Close(), a.cfg.Story.Close()) }
