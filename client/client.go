// Package client is Braid's Go SDK: connect, write rows, read them back.
//
//	c, err := client.Connect(ctx, "nats://127.0.0.1:4222")
//	…
//	defer c.Close()
//	answer, err := c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i")))
//
// Every write has an identity, and is sent again under it until the context ends, through whichever gateway answers:
// a write that returns an answer is stored exactly once. What this package does not do yet: keep writes on disk over
// the process's end, batch rows of many callers, and promise an order among writes that are open at once.
package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
)

// Client is a connection to a cluster. It is safe for concurrent use. Close ends it.
type Client struct {
	opts      options
	nc        *nats.Conn
	subjects  api.Subjects
	sequencer asks
	catalog   *catalog.Cache
	http      *http.Client
	primaries *primaries
	sender    string // names this client to primaries, which count their senders

	single, many identity

	closed chan struct{}
	mu     sync.Mutex // guards isClosed and the growth of tasks
	// isClosed says that no task may start any more.
	isClosed bool
	tasks    sync.WaitGroup
}

type options struct {
	namespace      string
	name           string
	inProcess      nats.InProcessConnProvider
	nats           []nats.Option
	logger         *slog.Logger
	attemptTimeout time.Duration
	onRetry        func(error)
}

// Option configures a Client.
type Option func(*options)

// WithNamespace names the cluster, where several share one NATS.
func WithNamespace(ns string) Option { return func(o *options) { o.namespace = ns } }

// WithName names the connection in NATS' monitoring; "braid-client" if not given.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithInProcess connects to a NATS server in this process, without TCP. The servers given to Connect are not used.
func WithInProcess(p nats.InProcessConnProvider) Option {
	return func(o *options) { o.inProcess = p }
}

// WithNATS passes options on to nats.go: TLS, credentials, handlers.
func WithNATS(opts ...nats.Option) Option {
	return func(o *options) { o.nats = append(o.nats, opts...) }
}

// WithLogger says where to log what no caller is told, such as a lost connection; slog.Default if not given.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithAttemptTimeout says how long one attempt may wait for its answer before it is made again, 5 s if not given. Too
// short and a busy cluster gets every write twice; too long and a lost answer delays a write.
func WithAttemptTimeout(d time.Duration) Option {
	return func(o *options) { o.attemptTimeout = d }
}

// WithRetryHook calls f with the error of every attempt that is going to be made again; for counting. It is called on
// the writers' goroutines.
func WithRetryHook(f func(error)) Option { return func(o *options) { o.onRetry = f } }

// schemasMax bounds the remembered schemas, which only prepared rows need.
const schemasMax = 1000

// Connect opens a connection to comma-separated nats:// URLs. It registers nothing before the first write.
func Connect(ctx context.Context, servers string, opts ...Option) (*Client, error) {
	o := options{name: "braid-client", attemptTimeout: 5 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	if o.logger == nil {
		o.logger = slog.Default()
	}
	if err := api.CheckNamespace(o.namespace); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	nc, err := bus.Connect(bus.Options{
		Servers: servers, Name: o.name, InProcess: o.inProcess, Extra: o.nats, Logger: o.logger,
	})
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: o, nc: nc, subjects: api.Subjects{Namespace: o.namespace},
		http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}},
		single: newIdentity(), many: newIdentity(), closed: make(chan struct{}), sender: "c-" + rand.Text(),
	}
	sequencer := bus.NewSequencer(nc, c.subjects)
	c.sequencer = sequencer
	c.catalog = catalog.New(sequencer.Schema, schemasMax)
	c.primaries = newPrimaries()
	return c, nil
}

// Close ends the client. Writes that are open return with an unknown outcome.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.isClosed {
		c.mu.Unlock()
		return nil
	}
	c.isClosed = true
	c.mu.Unlock()
	close(c.closed)
	c.nc.Close()
	c.tasks.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// spawn runs a task that ends by itself once c.closed is closed. It refuses if that has happened.
func (c *Client) spawn(task func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return false
	}
	c.tasks.Go(task)
	return true
}

// Table is a handle on one table; it costs nothing, and the table need not exist.
func (c *Client) Table(name string) *Table { return &Table{c: c, name: name} }

// ConnectedTo is the NATS server of the connection, without credentials, and the transport to it.
func (c *Client) ConnectedTo() (server, transport string) {
	if c.opts.inProcess != nil {
		return c.nc.ConnectedServerName(), "in-process"
	}
	return c.nc.ConnectedUrlRedacted(), "TCP"
}

// String names the client in logs.
func (c *Client) String() string {
	server, transport := c.ConnectedTo()
	return fmt.Sprintf("%s at %s (%s)", c.opts.name, server, transport)
}
