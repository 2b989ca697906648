package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Config says what a whole cluster in one process consists of.
type Config struct {
	DataDir    string
	NATS       string // host:port of the embedded server; port 0 picks a free one
	HTTP       string // host:port of the gateway; port 0 picks a free one
	Namespace  string
	Primaries  int
	Replicas   int
	Sequencers int
	Failovers  int    // instances that watch the nodes; none: nobody stands in for a node that dies
	Store      string // "": embedded:DATA/sequencer
	Objects    string // "": dir:DATA/objects
	S3         objstore.S3Config
	Durability api.Durability
	// WALCopies and WALSealInterval are as in NodeConfig.
	WALCopies       int
	WALSealInterval time.Duration
	// KeyWindow and ProducerIdle are as in SequencerConfig.
	KeyWindow, ProducerIdle time.Duration
	// SealInterval and MergeInterval are as in NodeConfig and GatewayConfig; 0 is the default.
	SealInterval, MergeInterval time.Duration
	// ScrubBytes and ScrubPause are as in NodeConfig.
	ScrubBytes int64
	ScrubPause time.Duration
	// Serving is how all of its ports serve HTTP.
	Serving HTTP
	// TCP makes the services reach NATS over TCP as other processes would; they use it in-process otherwise.
	TCP bool
}

func (c *Config) check() error {
	switch {
	case c.DataDir == "":
		return errors.New("no data folder given")
	case c.Primaries < 1:
		return fmt.Errorf("%d primaries: at least 1 is needed to take a write", c.Primaries)
	case c.Replicas < 0 || c.Sequencers < 1 || c.Failovers < 0:
		return fmt.Errorf("%d replicas, %d sequencers, %d failovers: at least 0, 1 and 0", c.Replicas, c.Sequencers,
			c.Failovers)
	}
	if c.Store == "" {
		c.Store = "embedded:" + filepath.Join(c.DataDir, "sequencer")
	}
	if c.Objects == "" {
		c.Objects = "dir:" + filepath.Join(c.DataDir, "objects")
	}
	return api.CheckNamespace(c.Namespace)
}

// warn says what will not work as it may be meant.
func (c *Config) warn(log *slog.Logger) {
	copies := cmp.Or(c.WALCopies, 2)
	if nodes := c.Primaries + c.Replicas; c.Durability == api.DurabilityWAL && copies > nodes {
		log.Warn("durability wal needs more nodes than there are: every write will be refused with 503",
			"wal_copies", copies, "nodes", nodes, "hint", "--replicas adds nodes, --wal-copies 1 does without others")
	}
}

// Up is what a cluster that is ready tells.
type Up struct {
	NATS  string  `json:"nats"` // nats:// URL
	HTTP  string  `json:"http"` // http:// URL of the gateway
	Nodes []Ready `json:"nodes"`
	// InProcess reaches the embedded NATS server without TCP.
	InProcess nats.InProcessConnProvider `json:"-"`
}

// Run runs a whole cluster in this process until ctx ends or a service fails, and calls ready once when it takes
// writes. Services stop in the reverse order: the gateway finishes what it has while primaries still answer.
//
//	NATS ── sequencers (one store) ── nodes p1 p2 … r1 … ── failover ── gateway
func Run(ctx context.Context, cfg Config, log *slog.Logger, ready func(Up)) (err error) {
	if err := cfg.check(); err != nil {
		return err
	}
	cfg.warn(log)
	ns, err := startNATS(cfg.NATS, log)
	if err != nil {
		return err
	}
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	store, err := OpenStore(cfg.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	u := &up{cfg: cfg, stack: newStack(), told: Up{NATS: ns.ClientURL(), InProcess: ns}}
	u.env = Env{
		Subjects: api.Subjects{Namespace: cfg.Namespace}, Logger: log, Registry: NewRegistry(), Impatient: true,
		HTTP: cfg.Serving,
		Connect: func(name string) (*nats.Conn, error) {
			o := bus.Options{Servers: ns.ClientURL(), Name: name, Logger: log}
			if !cfg.TCP {
				o.InProcess = ns
			}
			return bus.Connect(o)
		},
	}
	start := func() error {
		for i := range cfg.Sequencers {
			id := "s" + strconv.Itoa(i+1)
			err := u.service(ctx, id, func(ctx context.Context, ready func(Ready)) error {
				return runSequencer(ctx, SequencerConfig{ID: id, KeyWindow: cfg.KeyWindow, ProducerIdle: cfg.ProducerIdle},
					store, u.env, ready)
			})
			if err != nil {
				return err
			}
		}
		if err := u.startNodes(ctx); err != nil {
			return err
		}
		for i := range cfg.Failovers {
			id := "f" + strconv.Itoa(i+1)
			err := u.service(ctx, id, func(ctx context.Context, ready func(Ready)) error {
				return RunFailover(ctx, FailoverConfig{ID: id}, u.env, ready)
			})
			if err != nil {
				return err
			}
		}
		return u.service(ctx, "gateway", func(ctx context.Context, ready func(Ready)) error {
			return RunGateway(ctx, GatewayConfig{
				HTTP: cfg.HTTP, Durability: cfg.Durability, MergeInterval: cfg.MergeInterval,
			}, u.env, ready)
		})
	}
	if err = start(); err == nil {
		ready(u.told)
		err = u.stack.wait(ctx)
	} else if ctx.Err() != nil {
		err = nil // it was stopped while it started
	}
	return errors.Join(err, u.stack.stop())
}

type up struct {
	cfg   Config
	env   Env
	stack *stack

	mu   sync.Mutex
	told Up
}

// service starts one service and waits until it is ready.
func (u *up) service(
	ctx context.Context, name string, run func(context.Context, func(Ready)) error,
) error {
	return u.stack.startReady(ctx, name, func(ctx context.Context, ready func()) error {
		return run(ctx, func(r Ready) { u.note(r); ready() })
	})
}

func (u *up) note(r Ready) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Service {
	case "gateway":
		u.told.HTTP = api.HTTPURL(r.HTTP)
	case string(api.Primary), string(api.Replica):
		u.told.Nodes = append(u.told.Nodes, r)
	}
}

func (u *up) startNodes(ctx context.Context) error {
	start := func(prefix string, count int, role api.Role) error {
		for i := range count {
			id := prefix + strconv.Itoa(i+1)
			err := u.service(ctx, id, func(ctx context.Context, ready func(Ready)) error {
				return u.node(ctx, id, role, ready)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := start("p", u.cfg.Primaries, api.Primary); err != nil {
		return err
	}
	return start("r", u.cfg.Replicas, api.Replica)
}

// node runs a node. One that was told to drain leaves the cluster, not the process: the others go on.
func (u *up) node(ctx context.Context, id string, role api.Role, ready func(Ready)) error {
	wasReady := false
	err := RunNode(ctx, NodeConfig{
		ID: id, Role: role, DataDir: filepath.Join(u.cfg.DataDir, "nodes", id),
		Objects: u.cfg.Objects, S3: u.cfg.S3, HTTP: "127.0.0.1:0", SealInterval: u.cfg.SealInterval,
		WALCopies: u.cfg.WALCopies, WALSealInterval: u.cfg.WALSealInterval,
		ScrubBytes: u.cfg.ScrubBytes, ScrubPause: u.cfg.ScrubPause,
	}, u.env, func(r Ready) { wasReady = true; ready(r) })
	if err == nil && wasReady {
		<-ctx.Done()
	}
	return err
}

// startNATS starts an embedded server with the limits that Braid needs.
func startNATS(addr string, log *slog.Logger) (*server.Server, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("NATS address %q: %w", addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("NATS address %q: %q is not a port", addr, portText)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	// The server only logs that it cannot listen; asking first gives the reason to whoever started it.
	probe, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for NATS on %s: %w (--nats picks another address, port 0 any free port)", addr, err)
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "braid", Host: host, Port: port, NoSigs: true,
		MaxPayload: api.NATSMaxPayload, MaxPending: api.NATSMaxPending,
		// One embedded server, so nothing is gained by telling clients of others.
		NoLog: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	s.SetLoggerV2(natsLogger{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS server did not start on %s", addr)
	}
	return s, nil
}

// natsLogger passes what the embedded server has to say into the process's log: its notices at debug level.
type natsLogger struct{ log *slog.Logger }

func (l natsLogger) say(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "NATS: "+fmt.Sprintf(format, v...))
}
func (l natsLogger) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l natsLogger) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l natsLogger) Fatalf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLogger) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l natsLogger) Tracef(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }

var _ server.Logger = natsLogger{}
