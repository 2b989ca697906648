package client

import (
	"context"
	"errors"
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

// Table is where the rows go.
func (p *Prepared) Table() string { return p.table }

// Rows is how many there are.
func (p *Prepared) Rows() int { return p.rows }

// Arrow is the encoded form, an Arrow IPC stream, which the caller must not change.
func (p *Prepared) Arrow() []byte { return p.arrow }

// Prepare encodes rows for WriteDirect. It adds the columns that the table has not, and is an *InvalidError where a
// gateway would refuse the rows. Rows without a timestamp get the time of this call.
func (t *Table) Prepare(ctx context.Context, rows Rows) (*Prepared, error) {
	if err := t.check(rows, writeOptions{}); err != nil {
		return nil, err
	}
	batch, err := t.parse(rows)
	if err != nil {
		return nil, err
	}
	defer batch.Release()
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

func (t *Table) parse(rows Rows) (*columnar.Batch, error) {
	if rows.encoding != "" {
		return nil, &InvalidError{Table: t.name, Message: "rows to prepare must not be compressed"}
	}
	now := time.Now().UnixNano()
	var batch *columnar.Batch
	var refusal *api.Error
	switch rows.contentType {
	case api.TypeNDJSON:
		batch, refusal = columnar.ParseNDJSON(rows.data, t.name, now)
	case api.TypeArrow:
		batch, refusal = columnar.ParseArrow(rows.data, t.name, now)
	default:
		var result lineproto.Result
		result, refusal = lineproto.Parse(rows.data, lineproto.Options{Now: now, Table: t.name})
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

// WriteDirect commits prepared rows, straight to a primary: the least-loaded one, or the one that Via names. Key and
// the other options are as for Write.
func (c *Client) WriteDirect(ctx context.Context, p *Prepared, opts ...WriteOption) (Answer, error) {
	o := writeOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	t := Table{c, p.table}
	if err := t.check(Rows{}, o); err != nil {
		return Answer{}, err
	}
	if o.via == "" {
		if err := c.watch(ctx); err != nil {
			return Answer{}, err
		}
	}
	header := p.header(o)
	if o.key == "" && !o.anonymous {
		producer, err := c.registered(ctx, &c.single)
		if err != nil {
			return Answer{}, err
		}
		id, err := producer.begin(ctx, p.table)
		if err != nil {
			return Answer{}, err
		}
		defer producer.end(p.table, id.Sequence)
		header.Writes[0].ID = id
	}
	return c.sendGroup(ctx, p, &header, o)
}

func (p *Prepared) header(o writeOptions) api.GroupHeader {
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

// sendGroup frames the group once and sends the same bytes until an answer is definite.
func (c *Client) sendGroup(
	ctx context.Context, p *Prepared, h *api.GroupHeader, o writeOptions,
) (answer Answer, err error) {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	*buf = segment.AppendGroup((*buf)[:0], h, p.arrow)
	stop := final
	if o.anonymous {
		stop = unclear
	}
	if o.key != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, keyedRetry)
		defer cancel()
	}
	last := ""
	err = c.retrying(ctx, func(ctx context.Context) (err error) {
		id, ok := o.via, true
		if id == "" {
			if id, ok = c.primaries.pick(last, time.Now()); !ok {
				return fmt.Errorf("no primary is live: %w", bus.ErrNoResponders)
			}
		}
		last = id
		answer, err = c.attemptGroup(ctx, id, p.table, *buf)
		return err
	}, stop)
	if err != nil {
		if api.IsName(err, api.Expired) {
			c.forget(h.Writes[0].ID.Producer)
		}
		return Answer{}, public(err)
	}
	answer.Rows = p.rows
	return answer, nil
}

func (c *Client) attemptGroup(ctx context.Context, id, table string, frame []byte) (Answer, error) {
	gate := c.primaries.gate(id)
	if err := gate.enter(ctx, int64(len(frame))); err != nil {
		return Answer{}, api.Errorf(api.Overloaded, "primary %s: %v", id, err)
	}
	defer gate.leave(int64(len(frame)))
	header := nats.Header{api.HeaderSender: []string{c.sender}}
	msg, err := bus.Request(ctx, c.nc, c.subjects.PrimaryWrite(id), header, frame)
	if err != nil {
		return Answer{}, err
	}
	a, err := api.ParseGroupAnswer(msg.Data)
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("%w: %w", bus.ErrUnknown, err)
	case a.Err != nil:
		return Answer{}, a.Err
	case len(a.Writes) != 1:
		return Answer{}, fmt.Errorf("%w: %d answers to one write", bus.ErrUnknown, len(a.Writes))
	}
	if e := a.Writes[0].Error(table); e != nil {
		return Answer{}, e
	}
	if a.Pending { // an earlier copy is not in the object store yet
		return Answer{}, api.Errorf(api.Unavailable, "the write is not confirmed yet")
	}
	return Answer{Table: table, TxID: a.Writes[0].TxID}, nil
}

var errNoNode = errors.New("no node can be read from")
