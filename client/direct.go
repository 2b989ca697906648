package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/lineproto"
	"github.com/seed-551dd829/braid/internal/segment"
)

// Prepared are rows that are parsed, checked against their table's schema and encoded once, here instead of in a
// gateway. They may be written any number of times, by several goroutines; each time is a write of its own.
type Prepared struct {
	table       string
	fingerprint api.Fingerprint
	rows        int
	arrow       []byte
}

// Payload returns the rows as an Arrow IPC stream, which the caller must not change.
func (p *Prepared) Payload() (Payload, error) { return ArrowStream(p.arrow), nil }

// Table is where the rows go.
func (p *Prepared) Table() string { return p.table }

// Rows is how many there are.
func (p *Prepared) Rows() int { return p.rows }

// Arrow is the encoded form, an Arrow IPC stream, which the caller must not change.
func (p *Prepared) Arrow() []byte { return p.arrow }

// Prepare encodes rows once, to be written to this table any number of times. It adds the columns that the table has
// not. Rows without a timestamp get the time of this call.
//
// Its errors: *InvalidError where a gateway would refuse the rows, ErrTooLarge, ErrUnavailable if the schema cannot be
// asked for until ctx ends, ErrClosed.
func (t *Table) Prepare(ctx context.Context, rows Rows) (*Prepared, error) {
	if err := t.check(&writeOptions{route: Direct}); err != nil {
		return nil, err
	}
	if err := t.c.isOpen(); err != nil {
		return nil, err
	}
	batch, release, err := t.columns(rows)
	if err != nil {
		return nil, err
	}
	defer release()
	if batch.Rows() == 0 {
		return nil, &InvalidError{Table: t.name, Message: "no rows"}
	}
	schema, err := t.grow(ctx, batch)
	if err != nil {
		return nil, err
	}
	batches := []*columnar.Batch{batch}
	schema = columnar.SmallestPrefix(schema, batches)
	arrow, err := columnar.Encode(nil, schema, batches)
	if err != nil {
		return nil, public(fmt.Errorf("encode %d rows of table %s: %w", batch.Rows(), t.name, err))
	}
	if len(arrow) > api.GroupBytesMax {
		return nil, fmt.Errorf("%w: %d rows take %d bytes encoded, a group has at most %d",
			ErrTooLarge, batch.Rows(), len(arrow), api.GroupBytesMax)
	}
	return &Prepared{
		table: t.name, fingerprint: schema.Fingerprint(schema.Len()), rows: batch.Rows(), arrow: arrow,
	}, nil
}

// columns returns the rows in columns, borrowed or parsed.
func (t *Table) columns(rows Rows) (b *columnar.Batch, release func(), err error) {
	if of, ok := rows.(batched); ok {
		b, err = of.batch()
		return b, func() {}, err
	}
	p, err := rows.Payload()
	if err != nil {
		return nil, nil, err
	}
	if b, err = t.parse(p, time.Now().UnixNano()); err != nil {
		return nil, nil, err
	}
	return b, b.Release, nil
}

// parse reads rows; now, in nanoseconds, is for those without a timestamp.
func (t *Table) parse(rows Payload, now int64) (*columnar.Batch, error) {
	if rows.Encoding != "" {
		return nil, &InvalidError{Table: t.name, Message: "rows to prepare must not be compressed"}
	}
	var batch *columnar.Batch
	var refusal *api.Error
	switch rows.Type {
	case TypeNDJSON:
		batch, refusal = columnar.ParseNDJSON(rows.Data, t.name, now)
	case TypeArrow:
		batch, refusal = columnar.ParseArrow(rows.Data, t.name, now)
	default:
		var result lineproto.Result
		result, refusal = lineproto.Parse(rows.Data, lineproto.Options{Now: now, Table: t.name})
		if refusal == nil {
			if len(result) == 0 {
				return nil, &InvalidError{Table: t.name, Message: "no rows"}
			}
			batch, refusal = result[0].Batch, result[0].Err
		}
	}
	if refusal != nil {
		return nil, publicRefusal(refusal.InTable(t.name))
	}
	return batch, nil
}

// grow returns a schema of the table that has all of the batch's columns.
func (t *Table) grow(ctx context.Context, batch *columnar.Batch) (schema api.Schema, err error) {
	err = t.c.retry(ctx, func(ctx context.Context) error {
		if schema, err = t.c.catalog.Schema(ctx, t.name); err != nil {
			return err
		}
		missing, refusal := batch.Missing(schema)
		if refusal != nil {
			return refusal.InTable(t.name)
		}
		if len(missing) == 0 && schema.Len() > 0 {
			return nil
		}
		schema, err = t.c.catalog.Grow(ctx, t.name, missing)
		return err
	})
	if err != nil {
		return api.Schema{}, public(err)
	}
	if _, refusal := batch.Missing(schema); refusal != nil {
		return api.Schema{}, publicRefusal(refusal.InTable(t.name))
	}
	return schema, nil
}

// frames keeps buffers for encoded groups.
var frames = sync.Pool{New: func() any { return new([]byte) }}

func (p *Prepared) header(o *writeOptions) api.GroupHeader {
	w := api.WriteMeta{Rows: uint32(p.rows), Key: o.key}
	if o.expected != nil {
		w.Locked, w.Expected = true, *o.expected
	}
	h := api.GroupHeader{Table: p.table, Fingerprint: p.fingerprint, Writes: []api.WriteMeta{w}}
	if o.durability == WAL {
		h.Durability = api.DurabilityWAL
	}
	return h
}

// directly frames the group once and sends the same bytes, to one primary after the other.
func (c *Client) directly(ctx context.Context, w *write) (send, func(), error) {
	_, primary := w.opts.route.split()
	h := w.group.header(&w.opts)
	if w.numbered() {
		h.Writes[0].ID = w.identity.ProducerSeq
	}
	buf := frames.Get().(*[]byte)
	*buf = segment.AppendGroup((*buf)[:0], &h, w.group.arrow)
	header := nats.Header{api.HeaderSender: []string{c.sender}}
	c.traced(ctx, header)
	last := ""
	return func(ctx context.Context) (Result, error) {
		id, ok := c.primaries.pick(primary, last, time.Now())
		if !ok {
			return Result{}, fmt.Errorf("no primary is live: %w", bus.ErrNoResponders)
		}
		last = id
		r, err := c.attemptGroup(ctx, id, w, header, *buf)
		r.Rows = w.group.rows
		return r, err
	}, func() { frames.Put(buf) }, nil
}

// askGroup sends a group to a primary, once.
func (c *Client) askGroup(
	ctx context.Context, id string, header nats.Header, frame []byte,
) (a api.GroupAnswer, err error) {
	gate := c.primaries.gate(id)
	if err := gate.enter(ctx, int64(len(frame))); err != nil {
		return a, api.Errorf(api.Overloaded, "primary %s: %v", id, err)
	}
	defer gate.leave(int64(len(frame)))
	msg, err := bus.Request(ctx, c.nc, c.subjects.PrimaryWrite(id), header, frame)
	c.primaries.tried(id, err)
	if err != nil {
		return a, err
	}
	if a, err = api.ParseGroupAnswer(msg.Data); err != nil {
		return a, fmt.Errorf("%w: %w", bus.ErrUnknown, err)
	}
	if a.Err != nil {
		return a, a.Err
	}
	return a, nil
}

func (c *Client) attemptGroup(
	ctx context.Context, id string, w *write, header nats.Header, frame []byte,
) (Result, error) {
	if !w.opts.anonymous { // which is not sent twice: it waits for whatever may come
		var done func()
		ctx, done = c.attend(ctx, id)
		defer done()
	}
	a, err := c.askGroup(ctx, id, header, frame)
	switch {
	case err != nil:
		return Result{}, err
	case len(a.Writes) != 1:
		return Result{}, fmt.Errorf("%w: %d answers to one write", bus.ErrUnknown, len(a.Writes))
	}
	if e := a.Writes[0].Error(w.table); e != nil {
		return Result{}, e
	}
	if a.Pending && w.opts.durability != WAL { // an earlier copy is not in the object store yet
		return Result{}, api.Errorf(api.Unavailable, "the write is not confirmed yet")
	}
	return Result{Table: w.table, TxID: a.Writes[0].TxID}, nil
}
