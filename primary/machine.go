package primary

import (
	"context"
	"time"
)

// Host is what a Machine runs on.
type Host struct {
	Now func() time.Duration // since any moment; it never goes back
	// Go runs a function beside what runs now. The function may block in what Deps gave it, and nowhere else.
	Go func(func(ctx context.Context))
	// Wake has Tick called at a time. A call that nobody asked for any more does no harm.
	Wake func(at time.Duration)
}

// Machine is a primary without NATS, goroutines and clock: the core with the shell's part that checks groups, writes
// segments, makes them durable and has them committed. A Service runs the same code on goroutines; the simulator runs
// this. Nothing here is called from two goroutines at once.
type Machine struct {
	s         *Service
	appender  *appender
	appending bool
}

// NewMachine does not look at Deps' connection and registerer, and takes sizes that are smaller than a Service needs
// for the largest group. The folder for segments is made.
func NewMachine(cfg Config, deps Deps, host Host) (*Machine, error) {
	metrics, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	s := newService(cfg.withDefaults(), deps, metrics)
	s.armed = never
	m := &Machine{s: s, appender: newAppender(s)}
	s.now, s.spawn, s.wake = host.Now, host.Go, host.Wake
	s.look = func(g *group) { host.Go(func(ctx context.Context) { s.check(ctx, g) }) }
	s.append = func() { host.Go(func(context.Context) { m.append() }) }
	return m, deps.FS.MkdirAll(s.epochDir())
}

// append does disk effects in their order, in one call at a time.
func (m *Machine) append() {
	if m.appending {
		return
	}
	m.appending = true
	for len(m.s.disk) > 0 {
		m.appender.work()
	}
	m.appending = false
}

// Take takes a frame from a sender: it is answered through from, once, now or later.
func (m *Machine) Take(sender string, frame []byte, from Replier) { m.s.take(sender, frame, from) }

// Tick says that time has passed, and asks for the next one.
func (m *Machine) Tick() {
	m.s.armed = never
	m.s.step((*core).tick)
}

// Drain takes no more groups and finishes what was taken.
func (m *Machine) Drain() { m.s.step(func(c *core, now time.Duration) { c.drain(now) }) }

// Fence ends the primary at once, because its epoch is over.
func (m *Machine) Fence() { m.s.Fence() }

// GiveUp ends a drain that has taken Config.DrainFor, with ErrDrainOver.
func (m *Machine) GiveUp() { m.s.step(func(c *core, _ time.Duration) { c.stop(ErrDrainOver) }) }

// ProbeInterval is how often Probe is to be called: it asks whether what the primary needs can be reached, if that is in
// doubt.
const ProbeInterval = reachLook

// Probe is to be called every ProbeInterval until the machine has ended.
func (m *Machine) Probe() { m.s.probeSuspects() }

// NextSequence is Service.NextSequence.
func (m *Machine) NextSequence() uint64 { return m.s.NextSequence() }

// Load is what the heartbeat tells.
func (m *Machine) Load() Load { return m.s.Load() }

// Ended says whether the primary has come to its end, and why: as Service.Run says.
func (m *Machine) Ended() (bool, error) {
	if !isClosed(m.s.ended) {
		return false, nil
	}
	return true, m.s.endedFor
}
