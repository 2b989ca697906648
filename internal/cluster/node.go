package cluster

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/member"
	"github.com/seed-551dd829/braid/internal/objstore"
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

// RunNode runs a node until ctx ends, it is told to drain, or a part of it fails. It calls ready when the node is live.
//
//	       heartbeats ── member ── life ──── registers, says state, starts and drains what takes writes
//	                       │   ▲
//	groups ──▶ primary ────┼───┘ load        (while the topology says primary)
//	             │ sealed  │
//	             ▼ files   ▼ lag
//	          segments ◀── replicator ◀───── commit logs, object store
//	                         │
//	reads  ◀── HTTP ─────────┘
func RunNode(ctx context.Context, cfg NodeConfig, env Env, ready func(Ready)) (err error) {
	if err := api.CheckNode(cfg.ID); err != nil {
		return err
	}
	defer func() { err = stopped(err) }()
	env.Logger = env.Logger.With("node", cfg.ID)
	if env.FS == nil {
		env.FS = disk.OS
	}
	folder, err := member.OpenFolder(env.FS, cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	nc, err := env.connect(ctx, cfg.ID)
	if err != nil {
		return err
	}
	defer nc.Close()
	beats, err := env.connect(ctx, cfg.ID+"-heartbeat")
	if err != nil {
		return err
	}
	defer beats.Close()
	l, err := listen(cfg.HTTP)
	if err != nil {
		return err
	}
	defer l.Close() // a second time where it was served; harmless
	n := &node{cfg: cfg, env: env, nc: nc, beats: beats, link: newLink(nc), http: l, stack: newStack(), log: env.Logger}
	if n.cfg.Advertise == "" {
		n.cfg.Advertise = l.Addr().String()
	}
	n.cfg.Advertise = env.HTTP.at(n.cfg.Advertise)
	defer func() {
		if c, ok := n.objects.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	err = n.live(ctx, folder.Mark, func() {
		ready(Ready{Service: string(cfg.Role), ID: cfg.ID, HTTP: n.cfg.Advertise, Epoch: n.member.Self().Epoch})
	})
	return errors.Join(err, n.stack.stop())
}

// node is what RunNode has built so far.
type node struct {
	cfg   NodeConfig
	env   Env
	nc    *nats.Conn
	beats *nats.Conn // heartbeats, topologies, and what is said to and asked by the registry: no load delays it
	link  *link      // watches nc
	http  net.Listener
	log   *slog.Logger
	stack *stack

	seq         *bus.Sequencer // over nc
	registrySeq *bus.Sequencer // over beats
	member      *member.Member
	catalog     *catalog.Cache
	objects     objstore.Store
	shards      int // of the cluster, known from the first registration on
	replicator  *replicator.Service
	holders     holders // the other nodes, as a primary part sees them
}

// open makes what needs no epoch.
func (n *node) open(ctx context.Context) error {
	n.seq, n.registrySeq = bus.NewSequencer(n.nc, n.env.Subjects), bus.NewSequencer(n.beats, n.env.Subjects)
	n.catalog = catalog.New(n.seq.Schema, catalogTables)
	objects, err := n.env.openObjects(ctx, n.cfg.Objects, n.cfg.S3)
	if err != nil {
		return err
	}
	if n.env.Objects != nil {
		objects = n.env.Objects(objects)
	}
	n.objects, err = objstore.Instrument(objects, n.env.registerer(n.cfg.ID))
	return err
}

// live starts what speaks for the node, and lives.
func (n *node) live(ctx context.Context, mark string, ready func()) error {
	n.member = member.New(member.Config{ID: n.cfg.ID, HTTP: n.cfg.Advertise}, n.log)
	n.stack.start(ctx, "heartbeats", func(ctx context.Context) error {
		return n.member.Beat(ctx, n.beats, n.env.Subjects)
	})
	n.stack.start(ctx, "link", n.link.run)
	l := newLife(n, mark)
	if err := n.startInfo(ctx, l); err != nil {
		return err
	}
	return l.run(ctx, ready)
}
