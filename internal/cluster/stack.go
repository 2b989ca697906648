package cluster

import (
	"context"
	"errors"
	"fmt"
)

// stack runs the parts of a process. Parts are started bottom up and stopped top down, each only when those above it
// have ended, because a part needs the ones below it until it has drained.
type stack struct {
	parts []*part
	ended chan *part // one send for each part, so it never blocks with partsMax places
}

// partsMax is more than a process ever has; start panics past it.
const partsMax = 256

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
	told   bool  // failure has returned err
}

func newStack() *stack { return &stack{ended: make(chan *part, partsMax)} }

// start runs a part until it ends by itself or is stopped. Its context carries ctx's values, not its end.
func (s *stack) start(ctx context.Context, name string, run func(context.Context) error) {
	if len(s.parts) == partsMax {
		panic("cluster: more parts than a process has")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	s.parts = append(s.parts, p)
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		s.ended <- p
	}()
}

// startReady starts a part and waits until it says that it is ready. It fails if ctx or any part ends before.
func (s *stack) startReady(
	ctx context.Context, name string, run func(ctx context.Context, ready func()) error,
) error {
	ready := make(chan struct{})
	s.start(ctx, name, func(ctx context.Context) error {
		return run(ctx, func() { close(ready) })
	})
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case p := <-s.ended:
		return p.failure()
	}
}

// wait returns nil when ctx ends, and an error when a part ends before that: none of them should.
func (s *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case p := <-s.ended:
		return p.failure()
	}
}

func (p *part) failure() error {
	<-p.done
	p.told = true
	if p.err == nil {
		return fmt.Errorf("%s ended by itself", p.name)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}

// stop ends every part, the one that was started last first. It returns errors that nobody has heard of.
func (s *stack) stop() error {
	var errs []error
	for i := len(s.parts) - 1; i >= 0; i-- {
		errs = append(errs, s.parts[i].stop())
	}
	return errors.Join(errs...)
}

func (p *part) stop() error {
	p.cancel()
	<-p.done
	if p.err != nil && !p.told && !errors.Is(p.err, context.Canceled) {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}
