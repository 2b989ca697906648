package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/api"
)

// Run writes, measures, verifies if asked to, and prints the report to d.Out. The report is there also with an error:
// ErrVerify if the nodes' contents contradict what writers were told, another if the run could not be made or no
// write was acknowledged.
func Run(ctx context.Context, c Config, d Deps) (r Report, err error) {
	if err := c.fill(); err != nil {
		return Report{}, err
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.Out == nil {
		d.Out = io.Discard
	}
	cluster := Cluster{Servers: c.Servers, HTTP: c.HTTP}
	if c.Servers == "" {
		if d.StartCluster == nil {
			return Report{}, errors.New("no NATS servers are given")
		}
		if cluster, err = d.StartCluster(ctx); err != nil {
			return Report{}, fmt.Errorf("start the embedded cluster: %w", err)
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
	}
	if c.Chaos != "" && cluster.Actor == nil {
		return Report{}, errors.New("chaos needs a cluster whose processes can be killed: --embedded starts one")
	}
	h := &harness{config: &c, deps: d, cluster: cluster, retries: map[string]uint64{}}
	r, err = h.run(ctx)
	if err != nil && r.Seconds == 0 {
		return r, err
	}
	if printed := r.Print(d.Out); printed != nil {
		err = errors.Join(err, printed)
	}
	if c.JSON != "" {
		err = errors.Join(err, r.writeJSON(c.JSON))
	}
	if c.HTML != "" {
		err = errors.Join(err, r.writeHTML(c.HTML))
	}
	return r, err
}

type harness struct {
	config  *Config
	deps    Deps
	cluster Cluster
	clients []*client.Client

	mu      sync.Mutex
	retries map[string]uint64 // guarded by mu
}

func (h *harness) run(ctx context.Context) (Report, error) {
	defer h.close()
	if err := h.connect(ctx); err != nil {
		return Report{}, err
	}
	src, err := newSource(h.config)
	if err != nil {
		return Report{}, err
	}
	r := h.begin(src)
	plain := src
	if h.config.Format == "arrow" {
		prepared, err := prepare(ctx, h.clients[0], src, h.config)
		if err != nil {
			return r, err
		}
		src = prepared
	}
	if h.config.Baseline {
		if r.Baseline, err = measureBaseline(ctx, h.config, plain, func() (*nats.Conn, error) { return h.bare() }); err != nil {
			return r, err
		}
	}
	heads, err := h.clients[0].Heads(ctx)
	if err != nil {
		return r, err
	}
	workers, err := h.write(ctx, src, heads, &r)
	if err != nil || !h.config.Verify {
		return r, err
	}
	if r.Verified, err = verify(ctx, h.config, h.clients[0], heads, workers, src.tables()); err != nil {
		return r, err
	}
	if !r.Verified.OK {
		return r, ErrVerify
	}
	return r, nil
}

func (h *harness) options() []client.Option {
	opts := []client.Option{client.WithNamespace(h.config.Namespace), client.WithName("braid-loadtest"),
		client.WithRetryHook(h.countRetry), client.WithLogger(h.deps.Logger), client.WithNATSOptions(h.deps.NATS...),
		client.WithTLS(h.deps.TLS), client.WithHTTPToken(h.deps.HTTPToken)}
	if h.cluster.InProcess != nil {
		opts = append(opts, client.WithInProcess(h.cluster.InProcess))
	}
	return opts
}

func (h *harness) connect(ctx context.Context) error {
	for range h.config.Connections {
		c, err := client.Connect(ctx, h.cluster.Servers, h.options()...)
		if err != nil {
			return err
		}
		h.clients = append(h.clients, c)
	}
	return nil
}

// bare opens a connection without the SDK, over the same transport.
func (h *harness) bare(more ...nats.Option) (*nats.Conn, error) {
	opts := slices.Concat([]nats.Option{nats.Name("braid-loadtest-bare")}, h.deps.NATS, more)
	if h.cluster.InProcess != nil {
		opts = append(opts, nats.InProcessServer(h.cluster.InProcess))
	}
	return nats.Connect(h.cluster.Servers, opts...)
}

func (h *harness) close() {
	for _, c := range h.clients {
		if err := c.Close(); err != nil {
			h.deps.Logger.Warn("client not closed", "error", err)
		}
	}
}

func (h *harness) countRetry(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retries[errorName(err)]++
}

func (h *harness) begin(src source) Report {
	c := h.config
	r := Report{
		Started: time.Now(), Version: api.Version, Workload: c.Workload, Format: c.Format, Via: c.Via,
		Identity: c.Identity, Embedded: c.Servers == "", CPUs: runtime.GOMAXPROCS(0), Tables: src.tables(),
		Machine: describeMachine(), Durability: c.Durability,
		Writers: c.Writers, InFlight: c.InFlight, Connections: c.Connections, Batch: c.Batch,
	}
	_, r.Transport = h.clients[0].ConnectedTo()
	if c.Via == "http" {
		r.Transport, r.Identity = "HTTP", "none"
	}
	if c.Rate > 0 {
		r.OpenLoop = &OpenLoop{RowsPerS: c.Rate}
	}
	return r
}

// write runs the writers to their end and fills in what they measured.
func (h *harness) write(ctx context.Context, src source, heads map[string]uint64, r *Report) ([]*worker, error) {
	c := h.config
	senders, err := newSenders(ctx, c, &h.deps, h.clients, h.cluster.HTTP)
	if err != nil {
		return nil, err
	}
	defer closeSenders(senders)
	if nodes, err := h.clients[0].Nodes(ctx); err == nil {
		for _, n := range nodes {
			r.Nodes = append(r.Nodes, n.ID)
		}
	}
	disk := h.startDisk(ctx)
	interval := time.Duration(0)
	if c.Rate > 0 {
		interval = max(time.Duration(float64(c.Batch)/c.Rate*float64(time.Second)), 1)
	}
	shared := &run{config: c, source: src, heads: heads, latency: newLatencies(),
		schedule: newSchedule(c.Duration, interval, c.Backlog)}
	watch, err := h.startWatch(ctx, shared.schedule.start)
	if err != nil {
		return nil, err
	}
	defer watch.stop()
	endChaos, err := h.startChaos(ctx, shared.schedule.start, watch)
	if err != nil {
		return nil, err
	}
	workers := make([]*worker, c.Writers*c.InFlight)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = newWorker(shared, i, senders[i/c.InFlight])
		wg.Go(func() { workers[i].work(ctx) })
	}
	stopBar := h.showProgress(shared)
	wg.Wait()
	elapsed := time.Since(shared.schedule.start)
	stopBar()
	r.sum(workers, shared.latency, elapsed)
	chaosErr := endChaos(r, workers, elapsed)
	r.Roles = watch.changes()
	r.Reused = src.reused(r.Rows)
	h.mu.Lock()
	r.Retries = h.retries
	h.mu.Unlock()
	if open := shared.schedule.open; open != nil {
		r.OpenLoop.Missed, r.OpenLoop.BacklogPeak = open.missed, open.peak
	}
	if r.Baseline != nil && r.Baseline.RequestsPerS > 0 {
		r.Baseline.Ratio = r.WritesPerS / r.Baseline.RequestsPerS
	}
	if r.Disk, err = disk(); err != nil {
		return workers, err
	}
	return workers, errors.Join(chaosErr, h.outcome(ctx, shared, r))
}

// outcome says what makes a run fail as a whole.
func (h *harness) outcome(ctx context.Context, shared *run, r *Report) error {
	if stopped := shared.stopped.Load(); stopped != nil {
		return *stopped
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("the run was stopped: %w", err)
	}
	if r.Writes == 0 {
		return fmt.Errorf("no write was acknowledged: %s", r.Example)
	}
	return nil
}

// startDisk measures the disk of an embedded cluster until the returned function is called.
func (h *harness) startDisk(ctx context.Context) (stop func() (*DiskReport, error)) {
	if h.cluster.DataDir == "" {
		return func() (*DiskReport, error) { return nil, nil }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var report *DiskReport
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		report, err = measureDisk(ctx, h.cluster.DataDir)
	}()
	return func() (*DiskReport, error) {
		cancel()
		<-done
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // the folder is not on this machine
		}
		return report, err
	}
}
