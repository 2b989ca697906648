//go:build unix

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-551dd829/braid/internal/processes"
)

// What a process says when it ends for the reason that a hit gives it.
const (
	saysFull      = "no space left on device"
	saysTakenOver = "has taken over"
	saysLocked    = "is another braid process using it?"
)

// drainTry is how long one try to drain a node may take.
const drainTry = 5 * time.Second

// hurt plays the plan's steps. A step ends when its hits have, not when their processes have recovered.
func (c *cluster) hurt(ctx context.Context) {
	for i, s := range c.plan.Steps {
		wait(ctx, s.Wait)
		if ctx.Err() != nil {
			return
		}
		c.events.Add("step %d", i+1)
		var hits sync.WaitGroup
		for _, h := range s.Hits {
			hits.Go(func() {
				if err := c.hit(ctx, h); err != nil {
					c.events.Fail("%s: %w", h, err)
				}
			})
		}
		hits.Wait()
		if c.events.Err() != nil {
			return
		}
	}
}

// wait is a pause that the plan gives.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (c *cluster) hit(ctx context.Context, h Hit) error {
	p := c.Process(h.Target)
	switch h.Kind {
	case Kill:
		c.killed(ctx, p, h.For)
	case KillAgain:
		c.killed(ctx, p, h.For)
		wait(ctx, h.Again)
		c.killed(ctx, p, h.For)
	case Stop:
		defer p.Start()
		if !p.Stop(c.opts.Patience) {
			return fmt.Errorf("did not end within %s", c.opts.Patience)
		}
		wait(ctx, h.For)
	case Pause:
		paused := p.Pause()
		wait(ctx, h.For)
		p.Resume(paused)
	case Double:
		return c.double(ctx, p, h.For)
	case Move:
		return c.move(ctx, p, h.For)
	case Fill:
		return c.filled(ctx, p, h.For)
	case Cut:
		c.cut(ctx, c.NATSLinks(h.Target), h.For)
	case CutStore:
		c.cut(ctx, []*processes.Proxy{c.ObjectLink(h.Target)}, h.For)
	case Deny:
		return c.denied(ctx, h.Target, h.For)
	case Drain:
		return c.drained(ctx, p, h.For)
	}
	return nil
}

func (c *cluster) killed(ctx context.Context, p *processes.Process, downFor time.Duration) {
	p.Kill()
	wait(ctx, downFor)
	p.Start()
}

// cut takes links away for a while.
func (c *cluster) cut(ctx context.Context, links []*processes.Proxy, cutFor time.Duration) {
	for _, l := range links {
		l.Cut()
		defer l.Mend()
	}
	wait(ctx, cutFor)
}

func (c *cluster) denied(ctx context.Context, node string, deniedFor time.Duration) error {
	err := c.Deny(node, true)
	if err == nil {
		wait(ctx, deniedFor)
	}
	return errors.Join(err, c.Deny(node, false))
}

// drained tells a node to leave as an operator does, who tries again when whom that goes through is away. It must end
// with status 0.
func (c *cluster) drained(ctx context.Context, p *processes.Process, awayFor time.Duration) error {
	if err := c.AwaitReady(ctx, p.Name()); err != nil {
		return err
	}
	defer p.Start()
	life := p.Current()
	err := p.Leave(func() error {
		return processes.Poll(ctx, c.opts.Patience, func() error {
			select {
			case <-life.Done():
				return nil // an earlier try has reached it
			default:
			}
			out, err := runToEnd(c.opts.Braid("drain", p.Name(), "--timeout", drainTry.String(), "--server", c.Servers()),
				c.opts.Patience)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}, c.opts.Patience)
	if err == nil {
		wait(ctx, awayFor)
	}
	return err
}

// double starts a node a second time on the folder of a paused process.
func (c *cluster) double(ctx context.Context, p *processes.Process, pausedFor time.Duration) error {
	// Only a process that is ready surely holds the folder's lock: one that starts may be about to take it.
	if err := c.AwaitReady(ctx, p.Name()); err != nil {
		return err
	}
	paused := p.Pause()
	defer p.Resume(paused)
	out, err := runToEnd(c.Node(p.Name(), c.Folder(p.Name())), c.opts.Patience)
	if err == nil || !strings.Contains(out, saysLocked) {
		return fmt.Errorf("a second process on the data folder was not refused: %w: %s", err, out)
	}
	wait(ctx, pausedFor)
	return nil
}

// runToEnd runs a command that should end soon, and returns what it printed.
func runToEnd(cmd *exec.Cmd, patience time.Duration) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	defer stdin.Close() // Wait has closed it, unless Start failed
	if err := cmd.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(patience, func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			panic(err) // our own child, which has not been waited for
		}
	})
	defer late.Stop()
	err = cmd.Wait()
	return out.String(), err
}

// move starts a copy of a paused primary's folder as that primary. The first, once awake, is fenced: it must end,
// having committed nothing.
func (c *cluster) move(ctx context.Context, p *processes.Process, pausedFor time.Duration) error {
	if err := c.AwaitReady(ctx, p.Name()); err != nil {
		return err
	}
	paused := p.Pause()
	if err := processes.Poll(ctx, c.opts.Patience, paused.Stopped); err != nil {
		return err
	}
	to := filepath.Join(c.opts.Dir, "nodes", fmt.Sprintf("%s-%d", p.Name(), time.Now().UnixNano()))
	if err := os.CopyFS(to, os.DirFS(c.Folder(p.Name()))); err != nil {
		p.Resume(paused)
		return err
	}
	old := p.Release()
	defer p.Signal(old, syscall.SIGKILL) // in vain if it has ended, as it should have
	c.SetFolder(p.Name(), to)
	p.Start()
	if err := c.AwaitReady(ctx, p.Name()); err != nil {
		return err
	}
	wait(ctx, pausedFor)
	p.Resume(old)
	select {
	case <-old.Done():
	case <-time.After(c.opts.Patience):
		return fmt.Errorf("lives on %s after another process took its epoch", c.opts.Patience)
	}
	last, err := old.LastWords()
	if err == nil && (old.Err() == nil || !strings.Contains(last, saysTakenOver)) {
		err = fmt.Errorf("ended with %w and %q, not because another has taken over", old.Err(), last)
	}
	return err
}

// filled leaves a node without a free byte until it has stopped by itself and said why.
func (c *cluster) filled(ctx context.Context, p *processes.Process, fullFor time.Duration) error {
	p.Excuse(saysFull)
	if err := c.AwaitReady(ctx, p.Name()); err != nil {
		return err
	}
	before := p.Excused(saysFull)
	if err := c.fill(); err != nil {
		return err
	}
	c.events.Add("%s has no free byte", p.Name())
	defer c.events.Add("%s has free bytes again", p.Name())
	err := processes.Poll(ctx, c.opts.Patience, func() error {
		if p.Excused(saysFull) == before && c.events.Err() == nil {
			return fmt.Errorf("does not stop for want of disk")
		}
		return nil
	})
	if err == nil {
		wait(ctx, fullFor)
	}
	return errors.Join(err, c.free())
}
