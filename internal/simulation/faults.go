package simulation

import (
	"context"
	"time"

	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// faults plans what goes wrong by itself, beside what goes wrong with a message, a disk operation or a request.
func (w *world) faults() {
	kill := func() bool {
		p := w.victim()
		if p.Dead() {
			return false
		}
		w.e.Trace(p.Name, "is killed")
		p.End()
		return true
	}
	w.chaos.Every(sim.CrashNow, time.Second, kill)
	w.chaos.Every(sim.CrashAll, 4*time.Second, func() bool {
		w.e.Trace("faults", "all services are killed")
		for _, p := range w.services() {
			p.End()
		}
		return true
	})
	w.chaos.Every(sim.CrashClient, 2*time.Second, func() bool {
		c := w.clients[w.e.Rand.IntN(len(w.clients))]
		if len(w.apps) > 0 && w.e.Rand.IntN(2) == 0 {
			c = w.apps[w.e.Rand.IntN(len(w.apps))].c
		}
		if c.done || c.p.Dead() {
			return false
		}
		w.e.Trace(c.name, "is killed")
		c.p.End()
		return true
	})
	w.chaos.Every(sim.CrashDisk, time.Second, func() bool {
		if len(w.apps) > 0 && w.e.Rand.IntN(4) == 0 {
			w.apps[w.e.Rand.IntN(len(w.apps))].disk.CrashIn(w.e.Rand.IntN(30))
			return false
		}
		n := w.nodes[w.e.Rand.IntN(len(w.nodes))]
		n.disk.CrashIn(w.e.Rand.IntN(30))
		return false // counted when it happens
	})
	w.chaos.Every(sim.Leave, 2*time.Second, func() bool {
		n := w.nodes[w.e.Rand.IntN(len(w.nodes))]
		if n.p.Dead() {
			return false
		}
		w.e.Trace(n.id, "is told to leave")
		n.p.After(0, func() { n.life.event((*member.Life).Leave) })
		return true
	})
	w.chaos.Every(sim.Burn, 3*time.Second, w.burn)
	w.chaos.Every(sim.Pause, time.Second, func() bool {
		p, d := w.victim(), w.e.Between(10*time.Millisecond, 4*time.Second)
		w.e.Trace(p.Name, "is paused for %s", d)
		p.Pause(d)
		return true
	})
	w.chaos.Every(sim.Cut, 2*time.Second, func() bool { return w.cut(true) })
	w.chaos.Every(sim.CutOneWay, 2*time.Second, func() bool { return w.cut(false) })
	w.chaos.Every(sim.ObjectAway, 3*time.Second, func() bool {
		w.objects.Away(w.e.Between(100*time.Millisecond, 4*time.Second))
		w.e.Trace("objects", "are away")
		return true
	})
	w.chaos.Every(sim.ObjectPower, time.Second, w.objects.PowerCut)
	w.chaos.Every(sim.StoreFreeze, 3*time.Second, func() bool {
		w.store.frozen = w.e.Now() + w.e.Between(100*time.Millisecond, 4*time.Second)
		w.e.Trace("store", "is frozen")
		return true
	})
}

// victim is a process of a service.
func (w *world) victim() *sim.Process {
	all := w.services()
	return all[w.e.Rand.IntN(len(all))]
}

func (w *world) services() (all []*sim.Process) {
	for _, s := range w.sequencers {
		all = append(all, s.p)
	}
	for _, n := range w.nodes {
		all = append(all, n.p)
	}
	for _, g := range w.gateways {
		all = append(all, g.p)
	}
	for _, f := range w.failovers {
		all = append(all, f.p)
	}
	return all
}

func (w *world) machines() (names []string) {
	for _, s := range w.sequencers {
		names = append(names, s.id)
	}
	for _, n := range w.nodes {
		names = append(names, n.id)
	}
	for _, g := range w.gateways {
		names = append(names, g.id)
	}
	for _, f := range w.failovers {
		names = append(names, f.id)
	}
	for _, c := range w.clients {
		names = append(names, c.name)
	}
	return names
}

func (w *world) cut(both bool) bool {
	names := w.machines()
	a, b := names[w.e.Rand.IntN(len(names))], names[w.e.Rand.IntN(len(names))]
	d := w.e.Between(50*time.Millisecond, 4*time.Second)
	w.e.Trace("network", "nothing passes from %s to %s for %s (both ways: %t)", a, b, d, both)
	w.net.Cut(a, b, d)
	if both {
		w.net.Cut(b, a, d)
	}
	return a != b
}

// storeFault is what happens to an attempt of a transaction.
func (w *world) storeFault(uint64) (f memory.Fault) {
	f.Delay = w.e.Between(50*time.Microsecond, time.Millisecond)
	if w.chaos.Fire(sim.StoreSlow, 0.1) {
		f.Delay = w.e.Between(10*time.Millisecond, 2*time.Second)
	}
	if !w.over {
		f.Delay = max(f.Delay, w.store.frozen-w.e.Now())
	}
	switch {
	case w.chaos.Fire(sim.StoreConflict, 0.3):
		f.Conflict = true
	case w.chaos.Fire(sim.StoreTooOld, 0.2):
		f.TooOld = 1 + w.e.Rand.IntN(12)
	case w.chaos.Fire(sim.StoreDone, 0.2):
		f.Unknown = memory.UnknownDone
	case w.chaos.Fire(sim.StoreUndone, 0.2):
		f.Unknown = memory.UnknownNotDone
	}
	return f
}

func (w *world) storeSleep(_ context.Context, d time.Duration) error {
	w.e.Sleep(d)
	return nil
}
