package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// Table is a handle on one table.
type Table struct {
	c    *Client
	name string
}

// Name is the table's name.
func (t *Table) Name() string { return t.name }

// Answer says where a write stands: it is the transaction TxID of the table, for good.
type Answer struct {
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
	via        string
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
// answer.
func Key(key string) WriteOption { return func(o *writeOptions) { o.key = key } }

// Anonymous sends the write without an identity, as any NATS client can. It costs the cluster less, and it is not
// sent again once its outcome is unknown.
func Anonymous() WriteOption { return func(o *writeOptions) { o.anonymous = true } }

// Via sends the write through one primary and no other, by its id.
func Via(primary string) WriteOption { return func(o *writeOptions) { o.via = primary } }

// Durable sets the write's durability; the cluster's default if not given.
func Durable(d Durability) WriteOption { return func(o *writeOptions) { o.durability = d } }

// keyedRetry bounds how long a keyed write is sent again after its first attempt: well inside the window in which
// the cluster remembers the key.
const keyedRetry = 90 * time.Second

// Write commits rows as one transaction, all or nothing. It is sent again under the same identity until ctx ends. Its
// errors are those of this package: *InvalidError, *ConflictError, ErrUnknownOutcome and the others.
func (t *Table) Write(ctx context.Context, rows Rows, opts ...WriteOption) (Answer, error) {
	o := writeOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	if err := t.check(rows, o); err != nil {
		return Answer{}, err
	}
	header := rows.header(o)
	subject := t.c.subjects.IngestTable(t.name)
	if o.via != "" {
		subject = t.c.subjects.PrimaryIngestTable(o.via, t.name)
	}
	stop := final
	switch {
	case o.anonymous:
		stop = unclear
	case o.key != "":
		header.Set(api.HeaderMsgID, o.key)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, keyedRetry)
		defer cancel()
	default:
		end, err := t.c.identify(ctx, &t.c.single, t.name, header)
		if err != nil {
			return Answer{}, err
		}
		defer end()
	}
	var answer Answer
	err := t.c.send(ctx, o.via, header, len(rows.data), stop, func(ctx context.Context) error {
		msg, err := bus.Request(ctx, t.c.nc, subject, header, rows.data)
		if err == nil {
			answer, err = parseAnswer(t.name, msg.Data)
		}
		return err
	})
	return answer, err
}

func (t *Table) check(rows Rows, o writeOptions) error {
	if rows.err != nil {
		return rows.err
	}
	if err := api.CheckTable(t.name); err != nil {
		return &InvalidError{Table: t.name, Message: err.Error()}
	}
	if o.via != "" {
		if err := api.CheckNode(o.via); err != nil {
			return &InvalidError{Table: t.name, Message: err.Error()}
		}
	}
	if o.key != "" && (o.anonymous || len(o.key) > api.KeyBytesMax) {
		return &InvalidError{Table: t.name, Message: fmt.Sprintf(
			"a key has at most %d bytes, and is not for an anonymous write", api.KeyBytesMax)}
	}
	return t.c.isOpen()
}

func (c *Client) isOpen() error {
	select {
	case <-c.closed:
		return ErrClosed
	default:
		return nil
	}
}

func (r Rows) header(o writeOptions) nats.Header {
	h := nats.Header{}
	if r.contentType != api.TypeLineProtocol { // the default
		h[api.HeaderContentType] = []string{r.contentType}
	}
	if r.encoding != "" {
		h[api.HeaderContentEncoding] = []string{r.encoding}
	}
	if o.expected != nil {
		h[api.HeaderExpectedTxID] = []string{strconv.FormatUint(*o.expected, 10)}
	}
	if o.durability != "" {
		h[api.HeaderDurability] = []string{string(o.durability)}
	}
	return h
}

// identify numbers a write and puts its identity into the header. end gives the number free once nobody waits for
// the write's answer any more.
func (c *Client) identify(
	ctx context.Context, i *identity, table string, h nats.Header,
) (end func(), err error) {
	p, err := c.registered(ctx, i)
	if err != nil {
		return nil, err
	}
	id, err := p.begin(ctx, table)
	if err != nil {
		return nil, err
	}
	h[api.HeaderProducer] = []string{id.Producer}
	h[api.HeaderProducerEpoch] = []string{strconv.FormatUint(id.Epoch, 10)}
	h[api.HeaderSequence] = []string{strconv.FormatUint(id.Sequence, 10)}
	h[api.HeaderSettled] = []string{strconv.FormatUint(id.Settled, 10)}
	return func() { p.end(table, id.Sequence) }, nil
}

// send makes attempts until one has a definite answer. All attempts must be the same bytes under the same headers.
func (c *Client) send(
	ctx context.Context, via string, h nats.Header, size int, stop verdict, attempt func(context.Context) error,
) error {
	gate := c.primaries.gate(via)
	if err := gate.enter(ctx, int64(size)); err != nil {
		return err
	}
	defer gate.leave(int64(size))
	err := c.retrying(ctx, attempt, stop)
	if err != nil && api.IsName(err, api.Expired) {
		c.forget(h.Get(api.HeaderProducer))
	}
	return public(err)
}

// forget makes later writes register anew, if id is what they would use.
func (c *Client) forget(id string) {
	for _, i := range []*identity{&c.single, &c.many} {
		<-i.lock
		if i.current != nil && i.current.id == id {
			i.current.lose()
		}
		i.lock <- struct{}{}
	}
}
