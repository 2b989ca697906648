package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/cluster"
	procs "github.com/seed-551dd829/braid/internal/processes"
	"github.com/seed-551dd829/braid/loadtest"
)

type loadtestCmd struct {
	natsFlags
	monitorFlag
	Embedded     bool          `help:"Start a cluster in this process for the run."`
	Data         string        `help:"Folder of the embedded cluster. Default: a temporary one, removed afterwards." type:"path"`
	Primaries    int           `help:"Primaries of the embedded cluster." default:"2"`
	Replicas     int           `help:"Replicas of the embedded cluster." default:"1"`
	Objects      string        `help:"The embedded cluster's object store: dir:PATH or s3:BUCKET[/PREFIX]. Without --data, each run gets a new folder in it, which stays. Default: in the data folder." placeholder:"STORE"`
	ObjectsDelay time.Duration `help:"Have each answer of the object store come later by this, through a proxy before an http:// --s3-endpoint." placeholder:"TIME"`
	TCP          bool          `help:"Reach the embedded NATS server over TCP instead of in-process." name:"tcp"`
	GatewayAt    string        `name:"http" help:"The gateway's HTTP URL, for --via http." default:"http://127.0.0.1:9000" placeholder:"URL"`
	Workload     string        `help:"cpu-only, small (one row a write), conflict (writers race with expected TxIDs) or file:PATH (line protocol, gz or plain)." default:"cpu-only"`
	Format       string        `help:"ilp (line protocol), or arrow (encoded once by the client)." default:"ilp" enum:"ilp,arrow"`
	Via          string        `help:"gateway, primary (each writer to one of its own: through a gateway, with arrow straight) or http." default:"gateway" enum:"gateway,primary,http"`
	Table        string        `help:"Table to write to." default:"cpu"`
	Rows         uint64        `help:"Rows to write."`
	Duration     time.Duration `help:"How long to write, instead of --rows. Default: 10s."`
	Writers      int           `help:"Writers at the same time. Default: 8; small 2000; conflict 16."`
	InFlight     int           `help:"Open writes of each writer." default:"1"`
	Batch        int           `help:"Rows in a write. Default: 10000; small and conflict 1."`
	Rate         float64       `help:"Rows a second to offer whether or not the cluster keeps up; latency then counts from the intended time. Default: as fast as answers come."`
	Identity     string        `help:"producer (a write of unknown outcome is repeated) or none (as bare NATS clients write). Default: producer; small none." enum:",producer,none" default:""`
	Level        string        `name:"durability" help:"Durability of the writes: object or wal. Default: what the cluster takes." enum:",object,wal" default:""`
	Seed         uint64        `help:"Seed of the generated rows." default:"123"`
	Baseline     bool          `help:"With small: measure bare NATS request-reply in the same run."`
	Verify       bool          `help:"Prove that every acknowledged write is on every node exactly once."`
	Chaos        string        `help:"Hurt the embedded cluster meanwhile: KIND[@WHOM]:EVERY[:FOR], comma-separated, or random:SEED. Kinds: kill, pause, partition, partition-objects, partition-sequencer, drain; whom: a process or a role, else the primaries in turn. Each service is then a process of its own." placeholder:"PLAN"`
	JSON         string        `name:"json" help:"Write the report to FILE as JSON." placeholder:"FILE"`
	HTML         string        `name:"html" help:"Write the report to FILE as a page with charts, which needs no network." placeholder:"FILE"`
	s3Flags
	sealFlags
	walFlags

	// temporary is the folder of a run with chaos that names none.
	temporary string
}

// Run loads a cluster and prints what came of it; its status is 1 if the verification fails.
func (c *loadtestCmd) Run(p *process) error {
	cfg := loadtest.Config{
		Servers: c.Server, Namespace: c.Namespace, HTTP: c.GatewayAt,
		Workload: c.Workload, Format: c.Format, Via: c.Via, Table: c.Table,
		Rows: c.Rows, Duration: c.Duration, Writers: c.Writers, InFlight: c.InFlight, Batch: c.Batch, Rate: c.Rate,
		Identity: c.Identity, Durability: c.Level, Seed: c.Seed, Baseline: c.Baseline, Verify: c.Verify, JSON: c.JSON, HTML: c.HTML,
		Chaos: c.Chaos,
	}
	trust, err := c.trust()
	if err != nil {
		return err
	}
	deps := loadtest.Deps{
		TLS: trust, HTTPToken: c.HTTPToken,
		Out: p.stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd())), Logger: p.log, NATS: c.options(),
	}
	if c.Embedded {
		cfg.Servers = ""
		deps.StartCluster = func(ctx context.Context) (loadtest.Cluster, error) {
			return c.delayed(func() (loadtest.Cluster, error) { return c.startCluster(ctx, p) })
		}
	} else if err := bus.CheckMaxPending(p.ctx, c.NATSMonitor, p.log); err != nil {
		return err
	}
	if c.Chaos == "" || !c.Embedded || c.Data != "" {
		_, err := loadtest.Run(p.ctx, cfg, deps)
		return err
	}
	return c.runKeeping(p, cfg, deps)
}

// runKeeping runs on a folder that stays if the run has failed: what the processes said is there.
func (c *loadtestCmd) runKeeping(p *process, cfg loadtest.Config, deps loadtest.Deps) error {
	dir, err := os.MkdirTemp("", "braid-loadtest-")
	if err != nil {
		return err
	}
	c.temporary = dir
	if _, err := loadtest.Run(p.ctx, cfg, deps); err != nil {
		return fmt.Errorf("%w (what the processes said is in %s)", err, dir)
	}
	return os.RemoveAll(dir)
}

// delayed starts a cluster behind a proxy that makes its object store slow, if it is to be slow.
func (c *loadtestCmd) delayed(start func() (loadtest.Cluster, error)) (loadtest.Cluster, error) {
	if c.ObjectsDelay == 0 {
		return start()
	}
	endpoint, err := url.Parse(c.S3Endpoint)
	if err != nil || endpoint.Scheme != "http" || endpoint.Port() == "" || !strings.HasPrefix(c.Objects, "s3:") {
		return loadtest.Cluster{}, errors.New("--objects-delay needs --objects s3:BUCKET and --s3-endpoint http://HOST:PORT")
	}
	link, err := procs.NewProxy(endpoint.Host)
	if err != nil {
		return loadtest.Cluster{}, err
	}
	link.SetDelay(c.ObjectsDelay)
	c.S3Endpoint = "http://" + link.Addr()
	cluster, err := start()
	if err != nil {
		return cluster, errors.Join(err, link.Close())
	}
	closeCluster := cluster.Close
	cluster.Close = func() error { return errors.Join(closeCluster(), link.Close()) }
	return cluster, nil
}

// startCluster runs a cluster until the harness closes it.
func (c *loadtestCmd) startCluster(ctx context.Context, p *process) (loadtest.Cluster, error) {
	dir, objects, remove := c.Data, c.Objects, func() error { return nil }
	if dir == "" {
		if objects != "" { // a new cluster's segments have the names of an older one's
			objects += "/loadtest-" + time.Now().UTC().Format("20060102T150405.000")
		}
		if c.temporary != "" {
			return c.startProcesses(ctx, p, c.temporary, objects)
		}
		temp, err := os.MkdirTemp("", "braid-loadtest-")
		if err != nil {
			return loadtest.Cluster{}, err
		}
		dir, remove = temp, func() error { return os.RemoveAll(temp) }
	}
	if c.Chaos != "" {
		return c.startProcesses(ctx, p, dir, objects)
	}
	// The cluster outlives the signal that ends the run: what is open still gets its answer.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	ready := make(chan cluster.Up, 1)
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{
			DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0", Namespace: c.Namespace,
			Primaries: c.Primaries, Replicas: c.Replicas, Sequencers: 1, TCP: c.TCP,
			Objects: objects, S3: c.config(), SealInterval: c.SealInterval,
			WALCopies: c.WALCopies, WALSealInterval: c.WALSealInterval,
		}, p.log, func(up cluster.Up) { ready <- up })
	}()
	select {
	case up := <-ready:
		running := loadtest.Cluster{
			Servers: up.NATS, HTTP: up.HTTP, DataDir: dir,
			Close: func() error { cancel(); return errors.Join(<-ended, remove()) },
		}
		if !c.TCP {
			running.InProcess = up.InProcess
		}
		return running, nil
	case err := <-ended:
		cancel()
		return loadtest.Cluster{}, errors.Join(fmt.Errorf("the cluster did not start: %w", err), remove())
	}
}
