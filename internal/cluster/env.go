// Package cluster puts the services together: one function for each kind of process, and Run for a whole cluster in
// one process on embedded parts. `braid gateway` and `braid up` go through the same functions; all that differs is how
// they reach NATS.
package cluster

import (
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

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
	// HTTP is how services serve it, and how they ask each other.
	HTTP HTTP
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
	HTTP    string `json:"http,omitempty"` // as api.Node has it
	Epoch   uint64 `json:"epoch,omitempty"`
}
