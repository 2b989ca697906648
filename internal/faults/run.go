//go:build unix

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-551dd829/braid/internal/processes"
)

// Report says what a run has shown.
type Report struct {
	Took         time.Duration
	Transactions int // in all tables
	Acknowledged int
	Conflicts    int
	// UnknownStored and UnknownLost are writes without a definite answer, by what became of them.
	UnknownStored, UnknownLost int
	// LockOps and RegistryOps are the lengths of the histories that were found linearizable.
	LockOps, RegistryOps int
	Lives                int // of all processes
}

func (r Report) String() string {
	return fmt.Sprintf("%.1f s, %d lives; %d transactions; %d writes acknowledged, %d conflicts, "+
		"unknown: %d stored, %d not; %d operations on the lock and %d on the registry linearizable",
		r.Took.Seconds(), r.Lives, r.Transactions, r.Acknowledged, r.Conflicts, r.UnknownStored, r.UnknownLost,
		r.LockOps, r.RegistryOps)
}

// Run plays a plan. It returns an error for everything that the cluster did wrong; opts.Dir then has the processes'
// logs (logs/), the story of the run (story.txt) and, if it came to be judged, the history (history.json).
func Run(ctx context.Context, plan *Plan, opts Options) (Report, error) {
	return play(ctx, plan, opts, func(ctx context.Context, s *Scenario) error {
		s.inner.hurt(ctx)
		return nil
	})
}

// play starts a plan's processes and clients, and judges once script has returned.
func play(ctx context.Context, plan *Plan, opts Options, script Script) (report Report, err error) {
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return report, err
	}
	ev, err := processes.NewStory(filepath.Join(opts.Dir, "story.txt"))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, ev.Close()) }()
	ev.Add("%s", plan)
	c, err := newCluster(plan, opts, ev)
	if err != nil {
		return report, err
	}
	defer func() {
		err = errors.Join(err, c.close())
		report.Took = time.Duration(ev.Now())
		for _, name := range c.Names() {
			report.Lives += c.Process(name).Lives()
		}
	}()
	if err := c.Start(ctx); err != nil {
		return report, err
	}
	return report, c.scenario(ctx, script, &report)
}

// scenario hurts a running cluster while clients write to it, heals it, and judges.
func (c *cluster) scenario(ctx context.Context, script Script, report *Report) (err error) {
	w, err := newWorkload(c.plan, c.opts, c.events, c.Servers())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	if err := script(ctx, &Scenario{Cluster: c.Cluster, inner: c, clients: w}); err != nil {
		c.events.Fail("%w", err)
	}
	c.events.Add("the last fault is over")
	if err := c.AwaitAll(ctx); err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	c.events.Add("everything is ready")
	w.heal()
	select {
	case err = <-ended:
	case <-time.After(c.opts.Patience):
		cancel()
		err = errors.Join(fmt.Errorf("writers have no answer %s after all was healed", c.opts.Patience), <-ended)
	}
	if err = errors.Join(err, c.events.Err()); err != nil {
		return err
	}
	c.events.Add("the writers have ended")
	j := &judge{client: w.clients[0], nodes: c.plan.Nodes, patience: c.opts.Patience, report: report}
	if err = errors.Join(j.all(ctx, w), c.events.Err()); err != nil {
		err = errors.Join(err, w.keep(filepath.Join(c.opts.Dir, "history.json")))
	}
	return err
}

// keep writes what clients did and were told, for who looks into a failed run.
func (w *workload) keep(path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, err := json.MarshalIndent(map[string]any{
		"tables": w.records.tables(), "lock": w.ops.locks, "registry": w.ops.registry,
	}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
