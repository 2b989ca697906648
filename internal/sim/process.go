package sim

import (
	"context"
	"hash/fnv"
	"io"
	"iter"
	"slices"
	"time"
)

// Process is something that can crash: coroutines, timers and what they hold in memory. A restart is a new Process.
type Process struct {
	Name string // of the machine that it runs on: partitions cut machines off

	e      *Engine
	ahead  time.Duration               // what the machine's clock is ahead of the world's
	call   func(func(context.Context)) // with the context that ends with the process
	cancel context.CancelFunc
	dead   bool
	until  time.Duration // paused until then
	tasks  []*task       // in the order of their making
	onEnd  []func()
}

// Start begins a process.
func (e *Engine) Start(name string) *Process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{Name: name, e: e, ahead: ahead(name), cancel: cancel, call: func(f func(context.Context)) { f(ctx) }}
	e.processes = append(e.processes, p)
	return p
}

// ahead is what a machine's clock is ahead of the world's, up to a day: no two machines agree, and no process may care.
func ahead(name string) time.Duration {
	h := fnv.New64a()
	io.WriteString(h, name) // a hash never fails
	return time.Duration(h.Sum64() % uint64(24*time.Hour))
}

// Now is the time since some moment, by the clock of the process's machine.
func (p *Process) Now() time.Duration { return p.e.now + p.ahead }

// Clock is the time of day, by the clock of the process's machine.
func (p *Process) Clock() time.Time { return p.e.Clock().Add(p.ahead) }

// Dead says whether the process has crashed or ended. A process that was never there is dead.
func (p *Process) Dead() bool { return p == nil || p.dead }

// OnEnd has f called when the process ends, by itself or not.
func (p *Process) OnEnd(f func()) { p.onEnd = append(p.onEnd, f) }

// Pause stops the process for d, as SIGSTOP does: whatever would happen in it happens afterwards.
func (p *Process) Pause(d time.Duration) { p.until = max(p.until, p.e.now+d) }

// gone is what a coroutine of a dead process panics with, to unwind.
type gone struct{}

// End kills the process at once. If one of its own coroutines calls it, it does not return.
func (p *Process) End() {
	if p.dead {
		return
	}
	p.dead = true
	p.cancel()
	for _, f := range p.onEnd {
		f()
	}
	self := p.e.task
	for _, t := range p.tasks {
		if t != self {
			t.kill()
		}
	}
	if self != nil && self.p == p {
		panic(gone{})
	}
}

// Living unwinds the coroutine that runs if its process is dead. Everything that has an effect outside of the process
// asks this first.
func (p *Process) Living() {
	if p.dead && p.e.task != nil && p.e.task.p == p {
		panic(gone{})
	}
}

// After has f called in d, unless the process has ended. f must not block.
func (p *Process) After(d time.Duration, f func()) {
	p.e.After(d, func() { p.run(f) })
}

// run calls f now, or once the process goes on.
func (p *Process) run(f func()) {
	switch {
	case p.dead:
	case p.e.now < p.until:
		p.e.After(p.until-p.e.now, func() { p.run(f) })
	default:
		f()
		p.look()
	}
}

// Go runs f as a coroutine, from the next event on.
func (p *Process) Go(f func(ctx context.Context)) {
	if p.dead {
		return
	}
	t := &task{p: p}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != any(gone{}) {
				panic(r)
			}
		}()
		t.yield = yield
		p.call(f)
	})
	p.tasks = append(p.tasks, t)
	p.After(0, t.resume)
}

// task is one coroutine.
type task struct {
	p     *Process
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	ended bool
	ready func() bool // of one that waits in Await
}

func (t *task) resume() {
	if t.ended {
		return
	}
	e := t.p.e
	before := e.task
	e.task = t
	_, more := t.next()
	e.task = before
	if !more {
		t.end()
	}
}

func (t *task) end() {
	t.ended = true
	if i := slices.Index(t.p.tasks, t); i >= 0 && !t.p.dead {
		t.p.tasks = slices.Delete(t.p.tasks, i, i+1)
	}
}

// kill unwinds a parked coroutine.
func (t *task) kill() {
	if t.ended {
		return
	}
	t.end()
	e := t.p.e
	before := e.task
	e.task = t
	t.stop()
	e.task = before
}

func (t *task) park() {
	if !t.yield(struct{}{}) {
		panic(gone{})
	}
}

// current is the coroutine that runs, which is one of p's: what blocks is called from coroutines only.
func (p *Process) current() *task {
	t := p.e.task
	if t == nil || t.p != p {
		panic("sim: a blocking call of process " + p.Name + " from outside its coroutines")
	}
	p.Living()
	return t
}

// Sleep blocks the coroutine for d.
func (p *Process) Sleep(d time.Duration) {
	t := p.current()
	p.After(d, t.resume)
	t.park()
}

// Sleep blocks the coroutine that runs, of whatever process.
func (e *Engine) Sleep(d time.Duration) { e.task.p.Sleep(d) }

// Await blocks until changed is closed or has something, until a moment of Clock comes, or ctx ends. A nil channel never does.
func (p *Process) Await(ctx context.Context, changed <-chan struct{}, until time.Time) {
	t, late := p.current(), false
	ready := func() bool {
		select {
		case <-changed:
			return true
		default:
			return late || ctx.Err() != nil
		}
	}
	if ready() {
		return
	}
	p.After(until.Sub(p.Clock()), func() { late = true })
	t.ready = ready
	t.park()
}

// look wakes what waits for something that has happened.
func (p *Process) look() {
	for i := 0; i < len(p.tasks) && !p.dead; i++ {
		if t := p.tasks[i]; t.ready != nil && t.ready() {
			t.ready = nil
			t.resume()
			i = -1
		}
	}
}

// Call is what a coroutine waits for that somebody else brings: an answer.
type Call[T any] struct {
	p     *Process
	came  chan struct{}
	value T
}

// NewCall makes a call of a coroutine of p.
func NewCall[T any](p *Process) *Call[T] { return &Call[T]{p: p, came: make(chan struct{})} }

// Done brings the answer. Only the first counts.
func (c *Call[T]) Done(v T) {
	select {
	case <-c.came:
	default:
		c.value = v
		close(c.came)
		c.p.After(0, func() {}) // after which what waits is looked at
	}
}

// Wait blocks until Done, at most for patience; ok is false if nothing came.
func (c *Call[T]) Wait(ctx context.Context, patience time.Duration) (v T, ok bool) {
	c.p.Await(ctx, c.came, c.p.Clock().Add(patience))
	select {
	case <-c.came:
		return c.value, true
	default:
		return v, false
	}
}
