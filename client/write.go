package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
)

// Table is a handle on one table.
type Table struct {
	c    *Client
	name string
}

// Name is the table's name.
func (t *Table) Name() string { return t.name }

// Result says where a write stands: it is the transaction TxID of the table, for good.
type Result struct {
	Table string
	TxID  uint64
	Rows  int
}

// Durability says when a write counts as durable, which it is before it is acknowledged.
type Durability string

const (
	// Object: its segment is in the object store.
	Object Durability = "object"
	// WAL: its segment is synced on the disks of several nodes.
	WAL Durability = "wal"
)

type writeOptions struct {
	expected   *uint64
	key        string
	anonymous  bool
	route      Route
	durability Durability
}

// WriteOption changes one write.
type WriteOption func(*writeOptions)

// ExpectTxID commits the write only if the table's head is txid (0: the table has no transaction yet); else it is
// refused with a *ConflictError.
func ExpectTxID(txid uint64) WriteOption {
	return func(o *writeOptions) { o.expected = &txid }
}

// Key identifies the write by a key of the caller's own, of at most 255 bytes, instead of the client's numbering: the
// same key given again within the cluster's window (2 minutes unless configured), by any client, gets the first
// answer. Such a write is pursued for 90 seconds at most, well within the window.
func Key(key string) WriteOption { return func(o *writeOptions) { o.key = key } }

// Anonymous sends the write without an identity, as any NATS client can. It costs the cluster less, and it is not
// sent again once its outcome is unknown.
func Anonymous() WriteOption { return func(o *writeOptions) { o.anonymous = true } }

// Via sends the write along a route of its own: Gateway, Direct, Primary("p1") or DirectTo("p1").
func Via(r Route) WriteOption { return func(o *writeOptions) { o.route = r } }

// Durable sets the write's durability; that of WithDurability, or else the cluster's default, if not given.
func Durable(d Durability) WriteOption { return func(o *writeOptions) { o.durability = d } }

// keyedRetry bounds how long a keyed write is sent again after its first attempt: well inside the window in which
// the cluster remembers the key.
const keyedRetry = 90 * time.Second

// write is one write on its way, the same in each of its attempts.
type write struct {
	table    string
	opts     writeOptions
	payload  Payload   // what a gateway gets; empty if group is there
	group    *Prepared // what a primary gets; on the way to one it is made of payload if it is not there
	identity identity  // none if the caller gave a key, or wants none
}

// numbered says whether the write is identified by the client's numbering.
func (w *write) numbered() bool { return w.opts.key == "" && !w.opts.anonymous }

// rows are what is written, which outlive the builder that they came from.
func (w *write) rows() Rows {
	if w.group != nil {
		return w.group
	}
	return w.payload
}

// size is what the write holds in memory, in bytes.
func (w *write) size() int64 {
	n := len(w.payload.Data)
	if w.group != nil {
		n += len(w.group.arrow)
	}
	return int64(n)
}

// Write commits rows as one transaction, all or nothing, and returns its TxID. It is sent again under the same identity
// until there is an answer or ctx ends, so give ctx a deadline.
//
// Its errors: *InvalidError (ErrInvalid), ErrTooLarge, *ConflictError (ErrConflict), ErrUnauthorized: nothing is stored
// and nothing will be. ErrOverloaded, ErrUnavailable: nothing is stored, unless ErrUnknownOutcome is found too.
// ErrUnknownOutcome: stored once or not at all. ErrExpired, ErrVoided, ErrFenced: see there. ErrClosed: the client is.
func (t *Table) Write(ctx context.Context, rows Rows, opts ...WriteOption) (Result, error) {
	w, err := t.newWrite(ctx, rows, opts)
	if err != nil {
		return Result{}, err
	}
	if t.c.journal != nil && w.numbered() {
		return t.c.writeKept(ctx, w)
	}
	finish, err := t.c.start(ctx, w, false)
	if err != nil {
		return Result{}, err
	}
	return finish()
}

// WriteAsync begins a write and returns its future. It blocks while the memory bound is reached or too many writes of
// the table are open, until ctx ends. After that ctx does not matter: the write is pursued until it has an answer or the
// client closes. The rows may be changed when it returns.
//
// The future's errors are those of Write. If nobody looks at them, WithErrorHandler's function does, or the log.
func (t *Table) WriteAsync(ctx context.Context, rows Rows, opts ...WriteOption) *Future {
	f := newFuture(t.name)
	f.failed = func(err error) { t.c.failed(&WriteError{Table: t.name, Err: err}) }
	w, err := t.newWrite(ctx, rows, opts)
	if err == nil {
		w.payload = w.payload.own(rows)
		err = t.c.startAsync(ctx, w, f)
	}
	if err != nil {
		f.complete(Result{}, err)
	}
	return f
}

// startAsync returns once the write is numbered, or on disk. An error means that it will not be pursued; otherwise the
// future is told of what becomes of it.
func (c *Client) startAsync(ctx context.Context, w *write, f *Future) error {
	if c.journal != nil && w.numbered() {
		return c.journal.put(ctx, w, f, func() bool { return false })
	}
	finish, err := c.start(ctx, w, true)
	if err != nil {
		return err
	}
	run := func() {
		r, err := finish()
		f.complete(r, err)
	}
	if !c.spawn(run) {
		run() // it is cut already
	}
	return nil
}

// newWrite checks and encodes.
func (t *Table) newWrite(ctx context.Context, rows Rows, opts []WriteOption) (*write, error) {
	w, err := t.encode(ctx, rows, opts)
	if invalid := new(InvalidError); errors.As(err, &invalid) {
		invalid.Table = t.name
	}
	if err != nil {
		t.c.metrics.refused(err)
	}
	return w, err
}

func (t *Table) encode(ctx context.Context, rows Rows, opts []WriteOption) (*write, error) {
	w := &write{table: t.name, opts: writeOptions{route: t.c.opts.route, durability: t.c.opts.durability}}
	for _, opt := range opts {
		opt(&w.opts)
	}
	if err := t.check(&w.opts); err != nil {
		return nil, err
	}
	direct, _ := w.opts.route.split()
	var err error
	switch rows := rows.(type) {
	case *Prepared:
		if rows.table != t.name {
			return nil, &InvalidError{Table: t.name, Message: "the rows were prepared for table " + rows.table}
		}
		w.group = rows
		w.payload, err = rows.Payload()
	case batched:
		if direct && t.c.journal == nil {
			w.group, err = t.Prepare(ctx, rows.(Rows))
		} else {
			w.payload, err = rows.(Rows).Payload()
		}
	default:
		w.payload, err = rows.Payload()
	}
	return w, err
}

func (t *Table) check(o *writeOptions) error {
	if err := api.CheckTable(t.name); err != nil {
		return &InvalidError{Table: t.name, Message: err.Error()}
	}
	if err := o.route.check(); err != nil {
		return &InvalidError{Table: t.name, Message: err.Error()}
	}
	if o.key != "" && (o.anonymous || len(o.key) > api.KeyBytesMax) {
		return &InvalidError{Table: t.name, Message: fmt.Sprintf(
			"a key has at most %d bytes, and is not for an anonymous write", api.KeyBytesMax)}
	}
	return nil
}

func (c *Client) isOpen() error {
	select {
	case <-c.closed:
		return ErrClosed
	default:
		return nil
	}
}

func (w *write) header() nats.Header {
	h := w.payload.header()
	w.opts.add(h)
	if w.opts.key != "" {
		h[api.HeaderMsgID] = []string{w.opts.key}
	}
	if w.numbered() {
		w.identity.add(h)
	}
	return h
}

func (p Payload) header() nats.Header {
	h := make(nats.Header, 8)
	if p.Type != TypeLineProtocol && p.Type != "" { // the default
		h[api.HeaderContentType] = []string{string(p.Type)}
	}
	if p.Encoding != "" {
		h[api.HeaderContentEncoding] = []string{p.Encoding}
	}
	return h
}

func (o *writeOptions) add(h nats.Header) {
	if o.expected != nil {
		h[api.HeaderExpectedTxID] = []string{strconv.FormatUint(*o.expected, 10)}
	}
	if o.durability != "" {
		h[api.HeaderDurability] = []string{string(o.durability)}
	}
}

func (n *identity) add(h nats.Header) {
	h[api.HeaderProducer] = []string{n.Producer}
	h[api.HeaderProducerEpoch] = []string{strconv.FormatUint(n.Epoch, 10)}
	h[api.HeaderSequence] = []string{strconv.FormatUint(n.Sequence, 10)}
	h[api.HeaderSettled] = []string{strconv.FormatUint(n.Settled, 10)}
}
