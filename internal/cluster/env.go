// Package cluster puts the services together: one function for each kind of process, and Run for a whole cluster in
// one process on embedded parts. `braid gateway` and `braid up` go through the same functions; all that differs is how
// they reach NATS.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Env is what a process gives to the services in it.
type Env struct {
	// Connect opens a connection to NATS of its own; the caller closes it.
	Connect  func(name string) (*nats.Conn, error)
	Subjects api.Subjects
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// Impatient makes it an error that something is not there yet, for a whole cluster in one process: nobody else is
	// about to start it, and whoever typed the command is to see why it does not work.
	Impatient bool
	// FS is the nodes' disk; nil is disk.OS.
	FS disk.FS
	// Objects is put between a node and its object store; nil is nothing.
	Objects func(objstore.Store) objstore.Store
}

// NewRegistry returns a registry with the program's version, the Go runtime's and the process's metrics in it.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "braid_build_info", Help: "1, with the program's version.",
		ConstLabels: prometheus.Labels{"version": api.Version}})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// registerer labels a service's metrics with its id, so that many services share one process and one page.
func (e Env) registerer(id string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"id": id}, e.Registry)
}

// Ready is what a service tells once it is ready.
type Ready struct {
	Service string `json:"service"` // gateway, primary, replica, sequencer, failover
	ID      string `json:"id"`
	HTTP    string `json:"http,omitempty"` // host:port
	Epoch   uint64 `json:"epoch,omitempty"`
}

// shutdownTimeout bounds how long open HTTP requests may go on once a service stops.
const shutdownTimeout = 5 * time.Second

// listen opens a TCP port; port 0 picks a free one.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w (--http picks another address, port 0 any free port)", addr, err)
	}
	return l, nil
}

// mux serves what every process serves: /metrics, /healthz and /readyz, and everything else by handler (nil: 404).
func (e Env) mux(ready func() error, handler http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.Registry, promhttp.HandlerOpts{Registry: e.Registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if handler != nil {
		mux.Handle("/", handler)
	}
	return mux
}

// serve answers HTTP on l until ctx ends; requests that are open then may finish.
func (e Env) serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(e.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(bound)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // a reader that never ends must not keep the process
	}
	<-failed
	return err
}
