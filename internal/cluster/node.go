package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/primary"
	"github.com/seed-551dd829/braid/replicator"
)

// NodeConfig says what a node is.
type NodeConfig struct {
	ID      string
	Role    api.Role
	DataDir string // the node's own folder; one process at a time
	Objects string // object store, as objstore.Open reads it
	S3      objstore.S3Config
	HTTP    string // where to serve reads; port 0 picks a free one
	// Advertise is the host:port under which others reach HTTP; "" is the address that it listens on.
	Advertise string
	// SealInterval is the least time between two segments of a primary. Shorter is lower latency and more, smaller
	// objects; 0 is what suits the object store: 100 ms on S3, where each PUT costs money, else 10 ms.
	SealInterval time.Duration
	// WALCopies is how many nodes must have a segment of durability `wal` synced; 0: 2.
	WALCopies int
	// WALSealInterval is SealInterval for such segments, which wait for no object store; 0: 20 ms on S3, else 5 ms.
	WALSealInterval time.Duration
	// ScrubBytes is how many bytes a second the node reads to find damage before it matters; 0: 4 MB, negative: none.
	ScrubBytes int64
	// ScrubPause is the rest before each round of that; 0: 10 min.
	ScrubPause time.Duration
	// CaughtUpLag is the lag below which a starting node goes live, in log records.
	CaughtUpLag uint64
}

func (c NodeConfig) sealInterval() time.Duration {
	switch {
	case c.SealInterval != 0:
		return c.SealInterval
	case strings.HasPrefix(c.Objects, "s3:"):
		return 100 * time.Millisecond
	}
	return 10 * time.Millisecond
}

func (c NodeConfig) walSealInterval() time.Duration {
	switch {
	case c.WALSealInterval != 0:
		return c.WALSealInterval
	case strings.HasPrefix(c.Objects, "s3:"):
		return 20 * time.Millisecond
	}
	return 5 * time.Millisecond
}

// catalogTables is how many tables' schemas a process remembers.
const catalogTables = 4096

// leaveTimeout bounds what a node that leaves waits for the sequencer: it goes even if nobody hears it.
const leaveTimeout = 3 * time.Second

// RunNode runs a node until ctx ends or a part of it fails. It calls ready when the node is live.
//
//	       heartbeats ── member ──────────── registers, says state, load and lag
//	                       │   ▲
//	groups ──▶ primary ────┼───┘ load        (role primary only)
//	             │ sealed  │
//	             ▼ files   ▼ lag
//	          segments ◀── replicator ◀───── commit logs, object store
//	                         │
//	reads  ◀── HTTP ─────────┘
func RunNode(ctx context.Context, cfg NodeConfig, env Env, ready func(Ready)) (err error) {
	if err := api.CheckNode(cfg.ID); err != nil {
		return err
	}
	env.Logger = env.Logger.With("node", cfg.ID)
	if env.FS == nil {
		env.FS = disk.OS
	}
	folder, err := member.OpenFolder(env.FS, cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	nc, err := env.Connect(cfg.ID)
	if err != nil {
		return err
	}
	defer nc.Close()
	beats, err := env.Connect(cfg.ID + "-heartbeat")
	if err != nil {
		return err
	}
	defer beats.Close()
	l, err := listen(cfg.HTTP)
	if err != nil {
		return err
	}
	defer l.Close() // a second time where it was served; harmless
	n := &node{cfg: cfg, env: env, nc: nc, beats: beats, stack: newStack(), log: env.Logger}
	if n.cfg.Advertise == "" {
		n.cfg.Advertise = l.Addr().String()
	}
	err = n.start(ctx, l, folder.Mark)
	if err == nil {
		ready(Ready{Service: string(cfg.Role), ID: cfg.ID, HTTP: n.cfg.Advertise, Epoch: n.member.Epoch()})
		err = n.stack.wait(ctx)
	}
	err = errors.Join(err, n.leave())
	if c, ok := n.objects.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// node is what RunNode has built so far.
type node struct {
	cfg       NodeConfig
	env       Env
	nc, beats *nats.Conn
	log       *slog.Logger
	stack     *stack

	seq        *bus.Sequencer
	member     *member.Member
	catalog    *catalog.Cache
	objects    objstore.Store
	replicator *replicator.Service
}

func (n *node) start(ctx context.Context, l net.Listener, mark string) (err error) {
	n.seq = bus.NewSequencer(n.nc, n.env.Subjects)
	n.catalog = catalog.New(n.seq.Schema, catalogTables)
	objects, err := objstore.Open(ctx, n.cfg.Objects, n.cfg.S3)
	if err != nil {
		return err
	}
	if n.env.Objects != nil {
		objects = n.env.Objects(objects)
	}
	if n.objects, err = objstore.Instrument(objects, n.env.registerer(n.cfg.ID)); err != nil {
		return err
	}
	n.member, err = member.Register(ctx, member.Config{
		ID: n.cfg.ID, Role: n.cfg.Role, HTTP: n.cfg.Advertise, Mark: mark,
	}, n.seq, n.log)
	if err != nil {
		return err
	}
	n.log = n.log.With("epoch", n.member.Epoch())
	n.stack.start(ctx, "heartbeats", func(ctx context.Context) error {
		return n.member.Beat(ctx, n.beats, n.env.Subjects)
	})
	if n.cfg.Role == api.Primary { // before the replicator, which fetches into the same folders
		if err := n.settle(ctx); err != nil {
			return err
		}
	}
	if err := n.startReplicator(ctx, l); err != nil {
		return err
	}
	if err := n.startHolder(ctx); err != nil {
		return err
	}
	if err := n.replicator.CaughtUp(ctx, n.cfg.CaughtUpLag); err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	if n.cfg.Role == api.Primary {
		if err := n.startPrimary(ctx); err != nil {
			return err
		}
	}
	return n.member.SetState(ctx, api.Live)
}

func (n *node) segments() string { return filepath.Join(n.cfg.DataDir, "segments") }

func (n *node) startReplicator(ctx context.Context, l net.Listener) (err error) {
	topology := n.member.Topology()
	n.replicator, err = replicator.New(replicator.Config{
		ID: n.cfg.ID, DataDir: n.cfg.DataDir, SegmentsDir: n.segments(),
		ScrubBytes: n.cfg.ScrubBytes, ScrubPause: n.cfg.ScrubPause,
	}, replicator.Deps{
		Conn: n.nc, Subjects: n.env.Subjects, FS: n.env.FS, Objects: n.objects, Sequencer: n.seq, Catalog: n.catalog,
		Shards: topology.Shards, Logger: n.log, Registerer: n.env.registerer(n.cfg.ID),
		Topology: n.seq.Topology,
	})
	if err != nil {
		return err
	}
	n.member.Report(nil, n.replicator.Lag)
	n.member.ReportStanding(n.standing)
	n.stack.start(ctx, "replicator", n.replicator.Run)
	n.stack.start(ctx, "http", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, n.replicator.StopWaiting)
		defer stop()
		return n.env.serve(ctx, l, n.env.mux(n.readyz, n.replicator.Handler()))
	})
	return n.startInfo(ctx)
}

// standing is what the node's heartbeats tell of tables that stand.
func (n *node) standing() api.Standing {
	names := slices.Sorted(maps.Keys(n.replicator.Standing()))
	return api.Standing{TablesStanding: len(names), StandingNames: names[:min(len(names), api.StandingNamesMax)]}
}

// startInfo answers `info`: who this node is, and how far it has come.
func (n *node) startInfo(ctx context.Context) error {
	s, err := bus.NewService(n.nc, bus.ServiceOptions{
		Name: "braid-node", Version: api.Version, Description: "node " + n.cfg.ID, Logger: n.log,
		Registerer: n.env.registerer(n.cfg.ID),
	})
	if err != nil {
		return err
	}
	err = s.Handle("info", n.env.Subjects.NodeInfo(n.cfg.ID), bus.Endpoint{}, func(r bus.Incoming) {
		applied := make(map[string]uint64)
		for shard, index := range n.replicator.Applied() {
			applied[strconv.Itoa(shard)] = index
		}
		if err := r.ReplyJSON(n.member.Info(api.Version, applied), nil); err != nil {
			n.log.Warn("info not answered", "error", err)
		}
	})
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	n.stack.start(ctx, "info", func(ctx context.Context) error {
		<-ctx.Done()
		return s.Stop()
	})
	return nil
}

// settle decides about this node's own segments of earlier epochs. Registering came first and has fenced them, so
// that nobody can commit one after it was looked at.
func (n *node) settle(ctx context.Context) error {
	report, err := primary.Settle(ctx, primary.SettleConfig{
		ID: n.cfg.ID, Epoch: n.member.Epoch(), SegmentsDir: n.segments(),
	}, primary.SettleDeps{FS: n.env.FS, Objects: n.objects, Logger: n.log})
	if err != nil {
		return fmt.Errorf("settle old segments: %w", err)
	}
	n.log.Info("old segments settled", "report", report)
	return nil
}

func (n *node) startPrimary(ctx context.Context) error {
	topology := n.member.Topology()
	holders, err := n.startPeers(ctx)
	if err != nil {
		return err
	}
	p, err := primary.New(primary.Config{
		ID: n.cfg.ID, Epoch: n.member.Epoch(), SegmentsDir: n.segments(), SealInterval: n.cfg.sealInterval(),
		WALCopies: n.cfg.WALCopies, WALSealInterval: n.cfg.walSealInterval(),
	}, primary.Deps{
		Conn: n.nc, Subjects: n.env.Subjects, FS: n.env.FS, Objects: n.objects, Sequencer: n.seq, Catalog: n.catalog,
		Shards: topology.Shards, Logger: n.log, Registerer: n.env.registerer(n.cfg.ID), Holders: holders,
	})
	if err != nil {
		return err
	}
	n.member.Report(func() member.Load {
		l := p.Load()
		return member.Load{Fraction: l.Fraction, FreeBytes: l.FreeBytes, Senders: l.Senders}
	}, nil)
	n.stack.start(ctx, "primary", p.Run)
	return nil
}

func (n *node) readyz() error {
	if s := n.member.State(); s != api.Live {
		return fmt.Errorf("node %s is %s", n.cfg.ID, s)
	}
	return nil
}

// leave ends the node on purpose: heartbeats say `draining` first, so that gateways turn away; then the primary
// finishes what it has; then the registry hears that nobody needs to stand in.
func (n *node) leave() error {
	if n.member == nil {
		return n.stack.stop()
	}
	live := n.member.State() == api.Live
	if live {
		n.member.Announce(api.Draining)
		n.say(api.Draining)
	}
	err := n.stack.stopPart("primary")
	if live && err == nil {
		n.say(api.Stopped)
	}
	return errors.Join(err, n.stack.stop())
}

// say writes a leaving node's state into the registry. One that cannot is found silent, and treated as dead.
func (n *node) say(s api.State) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := n.member.SetState(ctx, s); err != nil {
		n.log.Warn("left without saying so", "state", s, "error", err)
	}
}
