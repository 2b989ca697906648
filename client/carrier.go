package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/outbox"
	"github.com/seed-551dd829/braid/internal/producer"
	"github.com/seed-551dd829/braid/internal/segment"
)

// carrier brings writes from the directory to the cluster: many of a table in one group, straight to a primary, each
// with its own identity. A compressed one goes through a gateway, which can unpack it.
type carrier struct{ c *Client }

// load is a group on its way.
type load struct {
	c           *Client
	table       string
	writes      []*outbox.Write
	batches     []*columnar.Batch
	schema      api.Schema // has all of their columns
	fingerprint api.Fingerprint
	arrow       []byte
}

// headerBytes is more than a group's header needs for a write, and for itself.
const headerBytes = 160

// Prepare parses and encodes as many of the writes as fit into a group.
func (k carrier) Prepare(ctx context.Context, table string, writes []*outbox.Write) (outbox.Load, error) {
	if writes[0].Encoding != "" {
		w := writes[0]
		return outbox.Load{Taken: 1, Send: func(ctx context.Context, ids []api.ProducerSeq) ([]outbox.Outcome, error) {
			return k.throughGateway(ctx, w, ids[0])
		}}, nil
	}
	l := &load{c: k.c, table: table}
	out := outbox.Load{Refused: make(map[int]outbox.Refusal)}
	// Of identities a group takes so many bytes, the longest ones supposed.
	for i, w := range writes[:min(len(writes), api.GroupIdentityBytes/(24+64))] {
		if w.Encoding != "" {
			break
		}
		refused, err := l.add(ctx, w)
		if err != nil {
			return out, err
		}
		if out.Taken++; refused != nil {
			out.Refused[i] = *refused
		}
	}
	for len(l.writes) > 0 {
		err := l.encode()
		switch {
		case err == nil:
			out.Send = l.send
			return out, nil
		case len(l.writes) > 1: // the others go next
			l.writes, l.batches = l.writes[:len(l.writes)/2], l.batches[:len(l.batches)/2]
			out.Taken = 1 + lastIndex(writes, l.writes[len(l.writes)-1])
			continue
		}
		i := lastIndex(writes, l.writes[0])
		out.Refused[i], out.Taken, l.writes = refusalOf(err), i+1, nil
	}
	for i := range out.Refused {
		if i >= out.Taken {
			delete(out.Refused, i) // with the next load
		}
	}
	return out, nil
}

func lastIndex(writes []*outbox.Write, w *outbox.Write) int {
	i := len(writes) - 1
	for writes[i] != w {
		i--
	}
	return i
}

// add parses a write and makes sure that its table has its columns.
func (l *load) add(ctx context.Context, w *outbox.Write) (*outbox.Refusal, error) {
	t := l.c.Table(l.table)
	batch, err := t.parse(Payload{Type: MediaType(w.ContentType), Data: w.Payload}, w.Time)
	if err == nil && batch.Rows() == 0 {
		err = &InvalidError{Table: l.table, Message: "no rows"}
	}
	for err == nil {
		var schema api.Schema
		if schema, err = t.grow(ctx, batch); err == nil {
			if schema.Len() > l.schema.Len() {
				l.schema = schema
			}
			l.writes, l.batches = append(l.writes, w), append(l.batches, batch)
			return nil, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOverloaded) || errors.Is(err, ErrUnknownOutcome) {
			if err = nil; !l.c.pause(ctx, time.Second) { // there is no hurry, and no end to patience
				return nil, context.Canceled
			}
		}
	}
	r := refusalOf(err)
	return &r, nil
}

func (l *load) encode() error {
	for _, b := range l.batches {
		if _, refusal := b.Missing(l.schema); refusal != nil {
			return refusal
		}
	}
	var err error
	schema := columnar.SmallestPrefix(l.schema, l.batches)
	if l.arrow, err = columnar.Encode(nil, schema, l.batches); err != nil {
		return err
	}
	if n := len(l.arrow) + headerBytes*(len(l.writes)+1); n > api.GroupBytesMax {
		return api.Errorf(api.TooLarge, "%d bytes encoded, a group has at most %d", n, api.GroupBytesMax)
	}
	l.fingerprint = schema.Fingerprint(schema.Len())
	return nil
}

func (l *load) frame(ids []api.ProducerSeq) []byte {
	h := api.GroupHeader{Table: l.table, Fingerprint: l.fingerprint, Writes: make([]api.WriteMeta, len(ids))}
	if l.writes[0].Durability == string(WAL) {
		h.Durability = api.DurabilityWAL
	}
	for i, w := range l.writes {
		h.Writes[i] = api.WriteMeta{Rows: uint32(l.batches[i].Rows()), Locked: w.Locked, Expected: w.Expected, ID: ids[i]}
	}
	return segment.AppendGroup(nil, &h, l.arrow)
}

// send sends the group until each write has an outcome.
func (l *load) send(ctx context.Context, ids []api.ProducerSeq) ([]outbox.Outcome, error) {
	frame, last := l.frame(ids), ""
	var outcomes []outbox.Outcome
	err := l.c.pursue(ctx, new(producer.Flight), func(ctx context.Context) (err error) {
		id, ok := l.c.primaries.pick("", last, time.Now())
		if !ok {
			return fmt.Errorf("no primary is live: %w", bus.ErrNoResponders)
		}
		last = id
		ctx, done := l.c.attend(ctx, id)
		defer done()
		header := nats.Header{api.HeaderSender: []string{l.c.sender}}
		a, err := l.c.askGroup(ctx, id, header, frame)
		if err != nil {
			return err
		}
		outcomes, err = l.outcomes(a)
		return err
	})
	switch {
	case err == nil:
		return outcomes, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case api.IsName(err, api.Expired) || api.IsName(err, api.Fenced):
		return nil, err
	case len(ids) > 1: // whichever of them it is about
		return l.apart(ctx, ids)
	}
	r := refusalOf(err)
	return []outbox.Outcome{{Refusal: &r}}, nil
}

// apart sends each write of a group that was refused as a whole alone.
func (l *load) apart(ctx context.Context, ids []api.ProducerSeq) (outcomes []outbox.Outcome, err error) {
	for i := range ids {
		one := &load{c: l.c, table: l.table, schema: l.schema, writes: l.writes[i : i+1], batches: l.batches[i : i+1]}
		if err := one.encode(); err != nil {
			r := refusalOf(err)
			outcomes = append(outcomes, outbox.Outcome{Refusal: &r})
			continue
		}
		o, err := one.send(ctx, ids[i:i+1])
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o...)
	}
	return outcomes, nil
}

// outcomes reads the answer to the group. An error is about all of it.
func (l *load) outcomes(a api.GroupAnswer) ([]outbox.Outcome, error) {
	if len(a.Writes) != len(l.writes) {
		return nil, fmt.Errorf("%w: %d answers to %d writes", bus.ErrUnknown, len(a.Writes), len(l.writes))
	}
	if a.Pending && l.writes[0].Durability != string(WAL) { // an earlier copy is not in the object store yet
		return nil, api.Errorf(api.Unavailable, "the group is not confirmed yet")
	}
	outcomes := make([]outbox.Outcome, len(a.Writes))
	for i, o := range a.Writes {
		e := o.Error(l.table)
		switch {
		case e == nil:
			outcomes[i] = outbox.Outcome{TxID: o.TxID, Rows: l.batches[i].Rows()}
		case e.Name == api.Expired || e.Name == api.Fenced || e.Name == api.Unavailable:
			return nil, e
		default:
			r := refusalOf(e)
			outcomes[i].Refusal = &r
		}
	}
	return outcomes, nil
}

// throughGateway sends one write until it has an outcome.
func (k carrier) throughGateway(
	ctx context.Context, kept *outbox.Write, id api.ProducerSeq,
) ([]outbox.Outcome, error) {
	w := &write{table: kept.Table, identity: identity{ProducerSeq: id}, payload: Payload{
		Type: MediaType(kept.ContentType), Encoding: kept.Encoding, Data: kept.Payload}}
	w.opts.durability, w.opts.route = Durability(kept.Durability), Gateway
	if kept.Locked {
		w.opts.expected = &kept.Expected
	}
	result, err := k.c.deliver(ctx, w)
	switch {
	case err == nil:
		return []outbox.Outcome{{TxID: result.TxID, Rows: result.Rows}}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case api.IsName(err, api.Expired) || api.IsName(err, api.Fenced):
		return nil, err
	}
	r := refusalOf(err)
	return []outbox.Outcome{{Refusal: &r}}, nil
}

// refusalOf is what is written down of an error that is final.
func refusalOf(err error) outbox.Refusal {
	invalid, e := new(InvalidError), new(api.Error)
	switch {
	case errors.As(err, &invalid):
		return outbox.Refusal{Name: string(api.Invalid), Message: invalid.Message, Line: invalid.Line}
	case errors.As(err, &e):
		r := outbox.Refusal{Name: string(e.Name), Message: e.Message, Line: e.Line, Unknown: e.Name == api.Settled}
		if e.Expected != nil && e.Current != nil {
			r.Expected, r.Current = *e.Expected, *e.Current
		}
		return r
	case errors.Is(err, ErrTooLarge):
		return outbox.Refusal{Name: string(api.TooLarge), Message: err.Error()}
	}
	return outbox.Refusal{Name: string(api.Invalid), Message: err.Error()}
}
