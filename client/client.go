// Package client is Braid's Go SDK: connect, write rows, read them back.
//
//	c, err := client.Connect(ctx, "nats://127.0.0.1:4222")
//	…
//	defer c.Close()
//	rows := client.NewRows()
//	rows.Symbol("host", "a").Float64("usage", 0.5).At(time.Now())
//	result, err := c.Table("cpu").Write(ctx, rows)
//
// Without any option it is safe: a write has an identity, because the client numbers what it sends, and it is sent
// again under it until the context ends, through whichever gateway or primary answers. A write that returns a result is
// stored exactly once. One that returns an error says what is known: ErrUnknownOutcome, or that nothing is stored.
//
// Writes that are open at once may be stored in any order. Who needs an order waits for each result, or puts the rows
// into one write.
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/catalog"
)

// Client is a connection to a cluster. It is safe for concurrent use. Flush, Drain and Close are three words: wait for
// the answers; take no more, wait, and end; end now.
type Client struct {
	opts      options
	nc        *nats.Conn
	subjects  api.Subjects
	sequencer asks
	catalog   *catalog.Cache
	http      *http.Client
	primaries *primaries
	sender    string // names this client to primaries, which count their senders
	connected time.Time

	// numbers are of writes of one table, manyNumbers of requests of many (writeTogether), whose sequences hold in every
	// table that they name and so must not be mixed with the others: they have a producer id of their own.
	numbers, manyNumbers *numbers
	open                 openWrites
	journal              *journal // nil without a directory
	memory               *gate    // of all open writes
	patience             *patience
	metrics              *metrics  // nil if nobody wants them
	attending            sync.Once // starts sweepAttempts

	closed chan struct{}
	mu     sync.Mutex // guards writers, isClosed and the growth of tasks
	// isClosed says that no task may start any more.
	isClosed bool
	tasks    sync.WaitGroup
	writers  map[*Writer]struct{}
}

// schemasMax bounds the remembered schemas, which only prepared rows need.
const schemasMax = 1000

// Connect opens a connection to comma-separated nats:// URLs, and learns the topology. If nobody can tell it now, the
// client goes on asking, and writes wait for a cluster until their contexts end. Nothing is registered before the first
// write.
//
// It fails if no NATS server can be reached (but see WithDirectory), if the server's limits are too low for Braid, or if
// an option is wrong.
func Connect(ctx context.Context, servers string, opts ...Option) (*Client, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	nc, err := bus.Connect(bus.Options{
		Servers: servers, Name: o.name, InProcess: o.inProcess, Extra: o.nats, Logger: o.logger,
		Patient: o.directory != "",
	})
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: o, nc: nc, subjects: api.Subjects{Namespace: o.namespace},
		http:   newHTTPClient(o.tls),
		sender: "c-" + rand.Text(), closed: make(chan struct{}), connected: time.Now(),
		open: openWrites{all: make(map[*openWrite]struct{})}, memory: newGate(o.memoryMax), patience: newPatience(),
		writers: make(map[*Writer]struct{}),
	}
	sequencer := bus.NewSequencer(nc, c.subjects)
	c.sequencer = sequencer
	c.catalog = catalog.New(sequencer.Schema, schemasMax)
	c.numbers, c.manyNumbers = newNumbers(c, o.producer), newNumbers(c, "")
	c.primaries = newPrimaries(o.onTopology)
	if o.registerer != nil {
		if c.metrics, err = newMetrics(c, o.registerer); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.watch(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if o.directory != "" {
		if err := c.openJournal(o.fs); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Table is a handle on one table; it costs nothing, and the table need not exist.
func (c *Client) Table(name string) *Table { return &Table{c: c, name: name} }

// Producer is the id under which the client's writes are numbered; "" before the first write, unless WithProducer gave
// it.
func (c *Client) Producer() string {
	if c.journal != nil {
		return c.journal.box.State().Producer
	}
	return c.numbers.id()
}

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
