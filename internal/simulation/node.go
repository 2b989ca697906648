package simulation

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
)

// node is one machine: its disk, and the process that runs on it now. A process starts as cluster.RunNode does.
type node struct {
	w    *world
	id   string
	role api.Role
	disk *sim.Disk
	cfg  primary.Config
	pace replicator.Config

	p          *sim.Process
	starts     int
	epoch      uint64 // of the last process that registered
	state      api.State
	hints      []chan struct{}
	hinted     []replicator.Hint
	replicator *replicator.Machine
	primary    *primary.Machine
	holding
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
	}
	n.drawHolding()
	n.pace = replicator.Config{
		ID: n.id, DataDir: dataDir, SegmentsDir: segmentsDir, PieceRecords: 1 + e.Rand.IntN(50),
		PollInterval: e.Between(50*time.Millisecond, 500*time.Millisecond), RetryMax: time.Second,
		CheckpointInterval: e.Between(50*time.Millisecond, time.Second),
	}
}

func (n *node) start() {
	n.p = n.w.e.Start(n.id)
	n.starts++
	n.state, n.primary, n.replicator, n.keeper = "", nil, nil, nil
	n.hinted = make([]replicator.Hint, n.w.shards)
	n.hints = make([]chan struct{}, n.w.shards)
	for i := range n.hints {
		n.hints[i] = make(chan struct{}, 1)
	}
	fsys := n.disk.Attach(n.p)
	n.p.OnEnd(func() {
		n.state = ""
		n.w.e.After(n.w.restart(), n.start)
	})
	n.w.e.Trace(n.id, "starts, the %d. time", n.starts)
	n.p.Go(func(ctx context.Context) {
		if err := n.run(ctx, fsys); err != nil {
			n.w.e.Trace(n.id, "ends: %v", err)
			n.p.End()
		}
	})
}

// run starts the node's parts in their order, and ends once it is live.
func (n *node) run(ctx context.Context, fsys disk.FS) error {
	seq := asker{n.w, n.p}
	epoch, err := n.register(ctx, seq)
	if err != nil {
		return err
	}
	n.state = api.Recovering
	n.p.Go(func(context.Context) { n.beat(epoch) })
	objects := n.w.objects.For(n.p)
	if n.role == api.Primary {
		_, err := primary.Settle(ctx, primary.SettleConfig{ID: n.id, Epoch: epoch, SegmentsDir: segmentsDir},
			primary.SettleDeps{FS: fsys, Objects: objects, Logger: n.w.log})
		if err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	catalog := &schemas{asker: seq, known: make(map[string]api.Schema)}
	n.replicator, err = replicator.NewMachine(n.pace, replicator.Deps{
		FS: fsys, Objects: objects, Sequencer: n.w.bug.log(n, seq), Catalog: catalog, Shards: n.w.shards, Logger: n.w.log,
	}, n.w.e.Clock)
	if err != nil {
		return fmt.Errorf("open tables: %w", err)
	}
	for shard := range n.w.shards {
		n.p.Go(func(ctx context.Context) { n.follow(ctx, shard) })
	}
	n.p.Go(n.checkpoints)
	if err := n.startHolder(fsys, objects, seq); err != nil {
		return err
	}
	for n.replicator.Lag() >= 20 {
		n.p.Sleep(20 * time.Millisecond)
	}
	if n.role == api.Primary {
		if err := n.startPrimary(fsys, objects, seq, catalog, epoch); err != nil {
			return err
		}
	}
	return n.goLive(ctx, seq, epoch)
}

func (n *node) register(ctx context.Context, seq asker) (uint64, error) {
	r := api.RegisterNodeRequest{ID: n.id, Role: n.role, Mark: "disk of " + n.id,
		Attempt: fmt.Sprintf("%s-%d", n.id, n.starts)}
	for {
		a, err := n.w.bug.register(n, seq)(ctx, r)
		if err == nil {
			n.epoch = a.Epoch
			n.w.owns(n, a.Epoch)
			n.w.e.Trace(n.id, "has epoch %d", a.Epoch)
			return a.Epoch, nil
		}
		if api.IsName(err, api.Invalid) || api.IsName(err, api.Forbidden) {
			return 0, err
		}
		n.p.Sleep(100 * time.Millisecond)
	}
}

func (n *node) goLive(ctx context.Context, seq asker, epoch uint64) error {
	for {
		_, err := seq.SetNodeState(ctx, api.NodeStateRequest{ID: n.id, Epoch: epoch, State: api.Live})
		switch {
		case err == nil:
			n.state = api.Live
			n.w.e.Trace(n.id, "is live")
			return nil
		case api.IsName(err, api.Fenced):
			return err
		}
		n.p.Sleep(100 * time.Millisecond)
	}
}

// beat tells the gateways five times a second how the node is.
func (n *node) beat(epoch uint64) {
	for {
		h := api.Heartbeat{ID: n.id, Role: n.role, State: n.state, Epoch: epoch, Senders: 1}
		if n.primary != nil {
			l := n.primary.Load()
			h.Load, h.FreeBytes, h.Senders = l.Fraction, l.FreeBytes, max(1, l.Senders)
		}
		for _, g := range n.w.gateways {
			m := g.m
			n.w.net.Send(n.p, g.p, "heartbeat", func() { m.Heard(h) })
		}
		n.tellPeers(h)
		n.p.Sleep(200 * time.Millisecond)
	}
}

func (n *node) follow(ctx context.Context, shard int) {
	for {
		next := n.replicator.Step(ctx, shard)
		n.w.appliedConfirmed(n, shard)
		n.p.Await(ctx, n.hints[shard], next)
		if h := n.hinted[shard]; h != (replicator.Hint{}) {
			n.replicator.Hint(shard, h)
			n.hinted[shard] = replicator.Hint{}
		}
	}
}

// hint tells the node that a log has changed.
func (n *node) hint(from *sim.Process, shard int, h replicator.Hint) {
	p := n.p
	n.w.net.Send(from, p, "hint", func() {
		n.hinted[shard] = n.hinted[shard].And(h)
		select {
		case n.hints[shard] <- struct{}{}:
		default:
		}
	})
}

func (n *node) checkpoints(context.Context) {
	for {
		n.p.Sleep(n.pace.CheckpointInterval)
		if err := n.replicator.Checkpoint(); err != nil {
			n.w.e.Trace(n.id, "ends: checkpoint failed")
			n.p.End()
		}
	}
}

func (n *node) startPrimary(
	fsys disk.FS, objects objstore.Store, seq asker, catalog *schemas, epoch uint64,
) error {
	cfg := n.cfg
	cfg.Epoch = epoch
	var m *primary.Machine
	host := primary.Host{Now: n.w.e.Now, Go: n.p.Go, Wake: func(at time.Duration) {
		n.p.After(at-n.w.e.Now(), func() { m.Tick() })
	}}
	m, err := primary.NewMachine(cfg, primary.Deps{
		FS: n.w.bug.disk(fsys), Objects: n.w.bug.puts(n, objects), Sequencer: n.w.bug.commits(n, seq), Catalog: catalog,
		Shards: n.w.shards, Logger: n.w.log, Holders: others{n, n.p},
	}, host)
	if err != nil {
		return err
	}
	n.primary = m
	n.p.Go(func(ctx context.Context) {
		for {
			if ended, err := m.Ended(); ended {
				n.w.e.Trace(n.id, "ends: the primary has stopped (fenced: %t)", err == primary.ErrFenced)
				n.p.End()
			}
			n.p.Sleep(50 * time.Millisecond)
		}
	})
	return nil
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
		if n.p != p || n.primary == nil {
			n.w.net.Send(p, from, "no responders of "+n.id, silent)
			return
		}
		n.primary.Take(from.Name, bytes.Clone(frame), reply(func(a api.GroupAnswer) {
			a = n.w.bug.answer(n.w, frame, a)
			n.w.bounded(n)
			n.w.net.Send(p, from, "answer to group", func() { answer(a) })
		}))
		n.w.bounded(n)
	})
}
