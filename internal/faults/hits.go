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
)

// What a process says when it ends for the reason that a hit gives it.
const (
	saysFull   = "no space left on device"
	saysFenced = "is fenced"
	saysLocked = "is another braid process using it?"
)

// hurt plays the plan's steps. A step ends when its hits have, not when their processes have recovered.
func (c *cluster) hurt(ctx context.Context) {
	for i, s := range c.plan.Steps {
		wait(ctx, s.Wait)
		if ctx.Err() != nil {
			return
		}
		c.events.add("step %d", i+1)
		var hits sync.WaitGroup
		for _, h := range s.Hits {
			hits.Go(func() {
				if err := c.hit(ctx, h); err != nil {
					c.events.fail("%s: %w", h, err)
				}
			})
		}
		hits.Wait()
		if c.events.err() != nil {
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
	p := c.processes[h.Target]
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
		r := p.current()
		p.signal(r, syscall.SIGSTOP)
		wait(ctx, h.For)
		p.signal(r, syscall.SIGCONT)
	case Double:
		return c.double(ctx, p, h.For)
	case Move:
		return c.move(ctx, p, h.For)
	case Fill:
		return c.filled(ctx, p, h.For)
	}
	return nil
}

func (c *cluster) killed(ctx context.Context, p *process, downFor time.Duration) {
	p.Kill()
	wait(ctx, downFor)
	p.Start()
}

// double starts a node a second time on the folder of a paused process.
func (c *cluster) double(ctx context.Context, p *process, pausedFor time.Duration) error {
	// Only a process that is ready surely holds the folder's lock: one that starts may be about to take it.
	if err := c.awaitReady(ctx, p.name); err != nil {
		return err
	}
	r := p.current()
	p.signal(r, syscall.SIGSTOP)
	defer p.signal(r, syscall.SIGCONT)
	out, err := runToEnd(c.node(p.name, c.folder(p.name)), c.opts.Patience)
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
func (c *cluster) move(ctx context.Context, p *process, pausedFor time.Duration) error {
	if err := c.awaitReady(ctx, p.name); err != nil {
		return err
	}
	p.signal(p.current(), syscall.SIGSTOP)
	if err := poll(ctx, c.opts.Patience, p.current().stopped); err != nil {
		return err
	}
	to := filepath.Join(c.opts.Dir, "nodes", fmt.Sprintf("%s-%d", p.name, time.Now().UnixNano()))
	if err := os.CopyFS(to, os.DirFS(c.folder(p.name))); err != nil {
		p.signal(p.current(), syscall.SIGCONT)
		return err
	}
	old := p.release()
	defer p.signal(old, syscall.SIGKILL) // in vain if it has ended, as it should have
	c.setFolder(p.name, to)
	p.Start()
	if err := c.awaitReady(ctx, p.name); err != nil {
		return err
	}
	wait(ctx, pausedFor)
	p.signal(old, syscall.SIGCONT)
	select {
	case <-old.done:
	case <-time.After(c.opts.Patience):
		return fmt.Errorf("lives on %s after another process took its epoch", c.opts.Patience)
	}
	last, err := old.lastWords()
	if err == nil && (old.err == nil || !strings.Contains(last, saysFenced)) {
		err = fmt.Errorf("ended with %w and %q, not because it is fenced", old.err, last)
	}
	return err
}

// filled leaves a node without a free byte until it has stopped by itself and said why.
func (c *cluster) filled(ctx context.Context, p *process, fullFor time.Duration) error {
	p.excuse(saysFull)
	if err := c.awaitReady(ctx, p.name); err != nil {
		return err
	}
	before := p.excusedCount(saysFull)
	if err := c.fill(); err != nil {
		return err
	}
	c.events.add("%s has no free byte", p.name)
	defer c.events.add("%s has free bytes again", p.name)
	err := poll(ctx, c.opts.Patience, func() error {
		if p.excusedCount(saysFull) == before && c.events.err() == nil {
			return fmt.Errorf("does not stop for want of disk")
		}
		return nil
	})
	if err == nil {
		wait(ctx, fullFor)
	}
	return errors.Join(err, c.free())
}
