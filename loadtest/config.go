// Package loadtest is Braid's harness: it makes rows, writes them through the SDK, measures, verifies that every
// acknowledged write is on every node exactly once, and reports.
//
// It drives a cluster from outside and knows no service. Given an Actor, it hurts the cluster's processes by a plan
// and measures what writers notice. What it does not do: run on several machines at once.
package loadtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/client"
)

// Config says what to do. The zero value of a field is its default.
type Config struct {
	// Servers is where NATS is, comma-separated nats:// URLs; "" starts a cluster of its own (Deps.StartCluster).
	Servers   string
	Namespace string
	HTTP      string // the gateway's http:// URL, for Via "http"

	// Workload is cpu-only, small, conflict or file:PATH.
	Workload string
	Format   string // ilp or arrow; arrow is encoded once, before the run, and the same batches are sent again and again
	Via      string // gateway, primary or http
	Table    string // of all workloads but files: cpu

	// Rows to write, or how long to write; exactly one of them, 10 s if neither is given. A file has its own end.
	Rows     uint64
	Duration time.Duration
	// Writers write at the same time, each with InFlight open writes. Too few and the cluster waits for them; too
	// many and latency is time spent in queues. 8, for small 2,000, for conflict 16.
	Writers  int
	InFlight int // 1
	Batch    int // rows a write: 10,000, for small and conflict 1
	// Rate is how many rows a second to offer, whether or not the cluster keeps up (an open loop): writes have intended
	// times, and latency counts from them. 0 sends as fast as answers come.
	Rate float64
	// Backlog bounds the writes that are due and not sent, as an open loop has them when the cluster is too slow. Past
	// it due writes are given up, and reported as missed. 10,000.
	Backlog int
	// Connections to NATS, which the writers share; each is a producer of its own. As many as writers, at most 4.
	Connections int
	// Identity is producer (the SDK's numbers: a write of unknown outcome is sent again) or none (as a bare NATS
	// client writes). producer; for small none.
	Identity string
	// Durability of the writes: object, wal, or "" for what the gateway takes where a write does not say.
	Durability   string
	WriteTimeout time.Duration // of one write with all its repeats, 30 s
	Seed         uint64        // of the generator: the same seed makes the same rows

	Baseline bool // small: measure bare NATS request-reply in the same run
	Verify   bool
	// VerifyTimeout bounds the wait for nodes to apply everything, 60 s.
	VerifyTimeout time.Duration
	JSON          string // file for the report, "" for none
	HTML          string // file for the report as a page, "" for none

	// Chaos says what to do to the cluster meanwhile, "" for nothing: KIND[@WHOM]:EVERY[:FOR], comma-separated, or
	// random:SEED. The cluster must have an Actor.
	Chaos string
	// ChaosNotice is the latency over which a writer counts as having noticed a fault, 100 ms.
	ChaosNotice time.Duration
	chaos       chaosPlan
}

// Cluster is what the harness needs to know of a cluster in this process.
type Cluster struct {
	Servers   string
	InProcess nats.InProcessConnProvider // nil: over TCP
	HTTP      string                     // the gateway's http:// URL
	DataDir   string                     // whose disk is measured; "" for none
	Actor     Actor                      // nil: nothing can be done to it
	Close     func() error
}

// Deps is what the process hands over.
type Deps struct {
	// StartCluster starts a cluster in this process and returns once it takes writes; nil if that is not possible.
	StartCluster func(context.Context) (Cluster, error)
	Out          io.Writer // the report
	Terminal     bool      // Out is a terminal: show progress
	// NATS are options for every connection to Servers: credentials, TLS.
	NATS []nats.Option
	// TLS is what to trust over HTTPS, and HTTPToken the bearer token that is sent over HTTP: writes with Via "http", and
	// the reads of Verify.
	TLS       *tls.Config
	HTTPToken string
	Logger    *slog.Logger
}

// The workloads.
const (
	cpuOnly    = "cpu-only"
	small      = "small"
	conflict   = "conflict"
	filePrefix = "file:"
)

// batchMax keeps a write of cpu-only rows under the request limit.
const batchMax = 20_000

func (c *Config) path() (string, bool) { return strings.CutPrefix(c.Workload, filePrefix) }

// fill sets defaults and checks what is given.
func (c *Config) fill() error {
	_, isFile := c.path()
	set(&c.Workload, cpuOnly)
	set(&c.Format, "ilp")
	set(&c.Via, "gateway")
	set(&c.Table, "cpu")
	set(&c.InFlight, 1)
	set(&c.Backlog, 10_000)
	set(&c.WriteTimeout, 30*time.Second)
	set(&c.VerifyTimeout, time.Minute)
	set(&c.Seed, 123)
	set(&c.ChaosNotice, 100*time.Millisecond)
	if c.Chaos != "" {
		var err error
		if c.chaos, err = parseChaos(c.Chaos); err != nil {
			return err
		}
	}
	switch c.Workload {
	case small:
		set(&c.Writers, 2000)
		set(&c.Batch, 1)
		set(&c.Identity, "none")
	case conflict:
		set(&c.Writers, 16)
		set(&c.Batch, 1)
	}
	set(&c.Identity, "producer")
	set(&c.Writers, 8)
	set(&c.Batch, 10_000)
	set(&c.Connections, min(c.Writers, 4))
	if c.Rows == 0 && c.Duration == 0 && !isFile {
		c.Duration = 10 * time.Second
	}
	return c.check(isFile)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) check(isFile bool) error {
	switch {
	case !isFile && !oneOf(c.Workload, cpuOnly, small, conflict):
		return fmt.Errorf("workload %q is none of cpu-only, small, conflict, file:PATH", c.Workload)
	case !oneOf(c.Format, "ilp", "arrow"):
		return fmt.Errorf("format %q is neither ilp nor arrow", c.Format)
	case !oneOf(c.Via, "gateway", "primary", "http"):
		return fmt.Errorf("via %q is none of gateway, primary, http", c.Via)
	case !oneOf(c.Identity, "producer", "none"):
		return fmt.Errorf("identity %q is neither producer nor none", c.Identity)
	case !oneOf(c.Durability, "", string(client.Object), string(client.WAL)):
		return fmt.Errorf("durability %q is neither object nor wal", c.Durability)
	case c.Via == "http" && c.Format == "arrow":
		return errors.New("HTTP takes line protocol only: --via http goes with --format ilp")
	case c.Rows > 0 && c.Duration > 0:
		return errors.New("a run has a number of rows or a duration, not both")
	case c.Workload == conflict && c.Rate > 0:
		return errors.New("a conflict workload races as fast as it can: it has no rate")
	case c.Baseline && c.Workload != small:
		return errors.New("the baseline of bare NATS belongs to the workload small")
	case c.Batch < 1 || c.Batch > batchMax:
		return fmt.Errorf("batches of %d rows: 1 to %d are possible", c.Batch, batchMax)
	case c.Writers < 1 || c.InFlight < 1 || c.Connections < 1 || c.Backlog < 1 || c.Rate < 0 || c.Duration < 0:
		return errors.New("writers, in-flight, connections and backlog are at least 1; rate and duration not negative")
	}
	return nil
}

func oneOf(s string, all ...string) bool {
	for _, a := range all {
		if s == a {
			return true
		}
	}
	return false
}
