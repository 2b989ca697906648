package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
)

// node is one machine: its disk, and the process that runs on it now. A process lives as cluster.RunNode does.
type node struct {
	w    *world
	id   string
	role api.Role // that it registers with
	disk *sim.Disk
	cfg  primary.Config
	pace replicator.Config

	mark  string // of its data folder
	empty bool   // it has lost its disk, and has been looked after
	down  bool   // its next process does not start by itself

	unfenced time.Duration // when its process has last seen its epoch in a topology

	p          *sim.Process
	starts     int
	epoch      uint64 // of the last process that registered
	life       *life
	replicator *replicator.Machine
	part       *primaryPart // nil: it takes no writes
	holding
}

// primaryPart is what takes writes, while it runs.
type primaryPart struct {
	m      *primary.Machine
	serves bool // groups reach it
}

func (p *primaryPart) ended() bool {
	ended, _ := p.m.Ended()
	return ended
}

// drain has the part finish what it has, in the time that there is for it.
func (p *primaryPart) drain(n *node) {
	p.m.Drain()
	n.p.After(n.cfg.DrainFor, p.m.GiveUp)
}

const (
	dataDir     = "/data"
	segmentsDir = "/data/segments"
)

// draw makes sizes and times as small as the seed says.
func (n *node) draw() {
	e := n.w.e
	n.cfg = primary.Config{
		ID: n.id, SegmentsDir: segmentsDir, SealInterval: e.Between(time.Millisecond, 100*time.Millisecond),
		InFlight: 1 + e.Rand.IntN(3), AdmissionBytes: 1500 + e.Rand.Int64N(20_000),
		SegmentBytesMax: 1000 + e.Rand.Int64N(8000), ObjectPatience: e.Between(200*time.Millisecond, 5*time.Second),
		CommitPatience: e.Between(200*time.Millisecond, 5*time.Second),
		DrainFor:       e.Between(200*time.Millisecond, 5*time.Second),
	}
	n.drawHolding()
	n.pace = replicator.Config{
		ID: n.id, DataDir: dataDir, SegmentsDir: segmentsDir, PieceRecords: 1 + e.Rand.IntN(50),
		PollInterval: e.Between(50*time.Millisecond, 500*time.Millisecond), RetryMax: time.Second,
		CheckpointInterval: e.Between(50*time.Millisecond, time.Second),
	}
}

// startLater starts the node, as whatever looks after processes does, unless it is to stay down.
func (n *node) startLater() {
	n.w.e.After(n.w.restart(), func() {
		if !n.down {
			n.start()
		}
	})
}

// start begins the node's next process, unless one lives.
func (n *node) start() {
	if !n.p.Dead() {
		return
	}
	n.p = n.w.e.Start(n.id)
	n.starts++
	n.part, n.replicator, n.keeper = nil, nil, nil
	n.life = newLife(n)
	n.p.OnEnd(n.startLater)
	n.w.e.Trace(n.id, "starts, the %d. time", n.starts)
	n.p.Go(n.life.run)
	n.p.Go(func(context.Context) {
		for {
			n.beat()
			n.p.Sleep(member.HeartbeatInterval)
		}
	})
}

// startParts starts what goes on whatever becomes of the node's epoch and role.
func (n *node) startParts(l *life) (err error) {
	n.replicator, err = replicator.NewMachine(n.pace, replicator.Deps{
		FS: l.fs, Objects: l.objects, Sequencer: n.w.bug.log(n, l.seq), Catalog: l.catalog, Shards: n.w.shards,
		Logger: n.w.log,
	}, n.p.Clock)
	if err != nil {
		return fmt.Errorf("open tables: %w", err)
	}
	for shard := range n.w.shards {
		n.p.Go(func(ctx context.Context) { n.follow(ctx, shard) })
	}
	n.p.Go(n.look)
	n.p.Go(n.checkpoints)
	return n.startHolder(l.fs, l.objects, l.seq)
}

// self is what the node's process says of itself; ok is false if it has nothing to say.
func (n *node) self() (s member.Self, ok bool) {
	if n.p.Dead() {
		return s, false
	}
	return n.life.core.Self()
}

// beat tells everybody how the node is.
func (n *node) beat() {
	self, ok := n.self()
	if !ok {
		return
	}
	h := api.Heartbeat{ID: n.id, Role: self.Role, State: self.State, Epoch: self.Epoch, Senders: 1}
	if n.replicator != nil {
		h.Lag = n.replicator.Lag()
	}
	if n.part != nil {
		l := n.part.m.Load()
		h.Load, h.FreeBytes, h.Senders, h.Unable = l.Fraction, l.FreeBytes, max(1, l.Senders), l.Unable
	}
	n.w.tellHeartbeat(n, h)
}

// info answers who asks the node itself.
func (n *node) info() api.NodeInfo {
	self, _ := n.life.core.Self()
	return api.NodeInfo{Node: api.Node{ID: n.id, Role: self.Role, State: self.State, Epoch: self.Epoch}}
}

// heardTopology is what a topology means to the parts beside the node's life.
func (n *node) heardTopology(t api.Topology) {
	if own, ok := t.Node(n.id); ok && own.Epoch == n.epoch && own.State != api.Dead {
		n.unfenced = n.w.e.Now()
	}
	if n.keeper != nil {
		n.keeper.Topology(&t)
	}
}

func (n *node) follow(ctx context.Context, shard int) {
	for {
		next := n.replicator.Step(ctx, shard)
		n.w.appliedConfirmed(n, shard)
		n.p.Await(ctx, n.replicator.Hinted(shard), next)
	}
}

// hint tells the node that a log has changed.
func (n *node) hint(from *sim.Process, shard int, h replicator.Hint) {
	p := n.p
	n.w.net.Send(from, p, "hint", func() {
		if n.replicator != nil {
			n.replicator.Hint(shard, h)
		}
	})
}

// look asks how far the logs go.
func (n *node) look(ctx context.Context) {
	for {
		n.p.Sleep(n.pace.PollInterval)
		n.replicator.Look(ctx)
	}
}

func (n *node) checkpoints(context.Context) {
	for {
		n.p.Sleep(n.pace.CheckpointInterval)
		if err := n.replicator.Checkpoint(); err != nil {
			n.life.event(func(c *member.Life) { c.Failed(errCheckpoint) })
			return
		}
	}
}

// errCheckpoint is told without its reason, which may hold the random name of a temporary file: a trace is the same each
// time.
var errCheckpoint = errors.New("checkpoint failed")

// newPrimary makes what takes writes under an epoch.
func (n *node) newPrimary(l *life, epoch, first uint64) (*primaryPart, error) {
	cfg := n.cfg
	cfg.Epoch, cfg.FirstSequence = epoch, first
	var m *primary.Machine
	host := primary.Host{Now: n.p.Now, Go: n.p.Go, Wake: func(at time.Duration) {
		n.p.After(at-n.p.Now(), func() { m.Tick() })
	}}
	m, err := primary.NewMachine(cfg, primary.Deps{
		FS: n.w.bug.disk(l.fs), Objects: n.w.bug.puts(n, l.objects), Sequencer: n.w.bug.commits(n, l.seq),
		Catalog: l.catalog, Shards: n.w.shards, Logger: n.w.log, Holders: others{n, n.p},
	}, host)
	return &primaryPart{m: m}, err
}

// reply sends a primary's answer back.
type reply func(api.GroupAnswer)

func (r reply) Reply(data []byte, _ nats.Header) error {
	a, err := api.ParseGroupAnswer(data)
	if err == nil {
		r(a)
	}
	return err
}

func (r reply) ReplyError(e *api.Error) error {
	r(api.GroupAnswer{Err: e})
	return nil
}

// write sends a frame to the node's primary. silent is called where nobody listens.
func (n *node) write(from *sim.Process, frame []byte, answer func(api.GroupAnswer), silent func()) {
	p := n.p
	frame = bytes.Clone(frame) // its sender uses the memory again
	if p.Dead() {
		n.w.net.Send(from, from, "no responders of "+n.id, silent)
		return
	}
	n.w.net.Send(from, p, "group", func() {
		part := n.part
		if n.p != p || part == nil || !part.serves || part.ended() {
			n.w.net.Send(p, from, "no responders of "+n.id, silent)
			return
		}
		part.m.Take(from.Name, bytes.Clone(frame), reply(func(a api.GroupAnswer) {
			a = n.w.bug.answer(n.w, frame, a)
			n.w.bounded(n.id, part.m)
			n.w.net.Send(p, from, "answer to group", func() { answer(a) })
		}))
		n.w.bounded(n.id, part.m)
	})
}

// ask tells the answer to whether the node's primary is there.
func (n *node) ask(from *sim.Process, answer func(there bool)) {
	p := n.p
	if p.Dead() {
		n.w.net.Send(from, from, "no responders of "+n.id, func() { answer(false) })
		return
	}
	n.w.net.Send(from, p, "probe", func() {
		there := n.p == p && n.part != nil && n.part.serves && !n.part.ended()
		n.w.net.Send(p, from, "answer to probe", func() { answer(there) })
	})
}
