package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/failover"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/sequencer"
)

// failoverProcess is the shell of one failover instance. Several run, and each may believe that it leads.
type failoverProcess struct {
	w      *world
	id     string
	cfg    failover.Config
	p      *sim.Process
	m      *failover.Machine
	starts int
}

// drawFailover draws the times by which all instances judge.
func (w *world) drawFailover() failover.Config {
	timeout := w.e.Between(600*time.Millisecond, 2*time.Second)
	return failover.Config{FailureTimeout: timeout, AskTimeout: timeout / 3, PauseMax: timeout / 3,
		LeaseTTL: w.e.Between(600*time.Millisecond, 2*time.Second)}
}

func (f *failoverProcess) start() {
	w := f.w
	f.p = w.e.Start(f.id)
	f.starts++
	p, cfg := f.p, f.cfg
	p.OnEnd(func() { w.e.After(w.restart(), f.start) })
	cfg.ID = fmt.Sprintf("%s-%d", f.id, f.starts)
	m, err := failover.NewMachine(cfg, failover.Host{
		Now: p.Now, Link: func() int { return 0 }, Go: p.Go, Post: func(do func()) { do() },
		Sequencer: asker{w, p}, Publish: func(t api.Topology) { w.bug.publish(w, p, t) }, Logger: w.storyLog(f.id),
		Ask: func(_ context.Context, id string) (api.NodeInfo, error) { return w.info(p, id, cfg.AskTimeout) },
	})
	if err != nil {
		panic(err) // of a configuration that is ours
	}
	f.m = m
	p.Go(func(context.Context) {
		for {
			m.Tick()
			p.Sleep(failover.TickInterval)
		}
	})
}

// info asks a node whether it lives.
func (w *world) info(from *sim.Process, id string, patience time.Duration) (api.NodeInfo, error) {
	n := w.node(id)
	if n.p.Dead() {
		from.Sleep(time.Millisecond)
		return api.NodeInfo{}, bus.ErrNoResponders
	}
	call, p := sim.NewCall[api.NodeInfo](from), n.p
	w.net.Send(from, p, "question whether it lives", func() {
		info := n.info()
		w.net.Send(p, from, "answer that it lives", func() { call.Done(info) })
	})
	info, ok := call.Wait(context.Background(), patience)
	if !ok {
		return info, bus.ErrUnknown
	}
	return info, nil
}

// node finds one, also one that has lost its disk and is replaced.
func (w *world) node(id string) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return w.burnt[id]
}

func (a asker) Lease(_ context.Context, q api.LeaseRequest) (api.LeaseAnswer, error) {
	return asked(a, "lease", q, sequencer.BumpLease)
}

func (a asker) FailNode(_ context.Context, q api.FailNodeRequest) (api.TopologyAnswer, error) {
	return changing(a, "death of "+q.ID, q, a.w.core.FailNode, a.w.bug.announced(decided))
}

func (a asker) StandIn(_ context.Context, q api.StandInRequest) (api.TopologyAnswer, error) {
	return changing(a, "stand-in for "+q.ID, q, a.w.core.StandIn, a.w.bug.announced(decided))
}

// storyLog has what a process logs told in the story.
func (w *world) storyLog(who string) *slog.Logger { return slog.New(storyHandler{w, who}) }

type storyHandler struct {
	w   *world
	who string
}

func (h storyHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h storyHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h storyHandler) WithGroup(string) slog.Handler            { return h }

func (h storyHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s", a)
		return true
	})
	h.w.e.Trace(h.who, "%s", line.String())
	return nil
}
