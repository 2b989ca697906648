package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/lineproto"
	"github.com/seed-551dd829/braid/internal/producer"
)

// TableResult is what became of one table's rows: an answer, or the error that refused them.
type TableResult struct {
	Result
	Err error
}

// WriteAll commits line protocol of many tables: one transaction a table, each for itself. The results are in the order
// in which the tables first appear. They travel through a gateway in one request, but with WithProducer or WithDirectory
// each table's rows are parsed here and are a write of their own, numbered or kept like every other. Of the options,
// ExpectTxID is for rows of one table only, and Via, Key and Anonymous are for Write.
//
// The error is for the rows as a whole, and one of those of Write; each result has its own.
func (c *Client) WriteAll(ctx context.Context, rows Rows, opts ...WriteOption) ([]TableResult, error) {
	results, err := c.writeAll(ctx, rows, opts)
	if err != nil {
		c.metrics.refused(err)
	}
	return results, err
}

func (c *Client) writeAll(ctx context.Context, rows Rows, opts []WriteOption) ([]TableResult, error) {
	o := writeOptions{durability: c.opts.durability}
	for _, opt := range opts {
		opt(&o)
	}
	payload, err := rows.Payload()
	if err != nil {
		return nil, err
	}
	if o.route != "" || o.key != "" || o.anonymous || payload.Type != TypeLineProtocol {
		return nil, &InvalidError{Message: "rows of many tables are line protocol, without Via, Key and Anonymous"}
	}
	if c.journal != nil || c.opts.producer != "" {
		return c.writeApart(ctx, payload, opts, o.expected != nil)
	}
	return c.writeTogether(ctx, payload, &o)
}

// apartMax bounds the tables that writeApart writes to at once.
const apartMax = 100

// writeApart makes each table's rows a write of their own. A stable producer needs that: the sequence of a request holds
// in all of its tables, and would have to be one that none of them has given.
func (c *Client) writeApart(ctx context.Context, p Payload, opts []WriteOption, locked bool) ([]TableResult, error) {
	if p.Encoding != "" {
		return nil, &InvalidError{Message: "with WithProducer or WithDirectory, rows of many tables must not be compressed"}
	}
	entries, refusal := lineproto.Parse(p.Data, lineproto.Options{Now: time.Now().UnixNano()})
	if refusal != nil {
		return nil, publicRefusal(refusal)
	}
	defer entries.Release()
	switch {
	case len(entries) == 0:
		return nil, &InvalidError{Message: "no rows"}
	case locked && len(entries) > 1:
		return nil, &InvalidError{Message: "an expected TxID is for rows of one table"}
	}
	results := make([]TableResult, len(entries))
	places := make(chan struct{}, apartMax)
	var all sync.WaitGroup
	for i, e := range entries {
		results[i].Table = e.Table
		if e.Err != nil {
			results[i].Err = publicRefusal(e.Err.InTable(e.Table))
			c.metrics.refused(results[i].Err)
			continue
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			r, err := c.Table(e.Table).Write(ctx, &Builder{columns: e.Batch}, opts...)
			if results[i].Err = err; err == nil {
				results[i].Result = r
			}
		})
	}
	all.Wait()
	return results, nil
}

// writeTogether sends all rows in one request.
func (c *Client) writeTogether(ctx context.Context, payload Payload, o *writeOptions) ([]TableResult, error) {
	began, size := time.Now(), int64(len(payload.Data))
	// One window for all tables: the sequence counts in whichever of them the rows name.
	ctx, id, leave, err := c.admit(ctx, size, c.manyNumbers, "", false)
	if err != nil {
		return nil, err
	}
	defer leave()
	gate := c.primaries.gate("")
	if err := gate.enter(ctx, size); err != nil {
		return nil, err
	}
	defer gate.leave(size)
	header := payload.header()
	o.add(header)
	id.add(header)
	c.traced(ctx, header)
	var results []TableResult
	err = c.retry(ctx, func(ctx context.Context) (err error) {
		results, err = impatiently(ctx, c, func(ctx context.Context) ([]TableResult, error) {
			return c.requestAll(ctx, &nats.Msg{Subject: c.subjects.Ingest(), Header: header, Data: payload.Data})
		})
		return err
	})
	if err != nil {
		return nil, c.public(ctx, c.manyNumbers.refused(id, err))
	}
	for _, r := range results {
		c.metrics.ended(began, r.Rows, r.Err)
	}
	return results, nil
}

// requestAll is one attempt. A refused table among accepted ones makes the whole answer an error to micro's
// convention, with results as its body: so they are looked for first.
func (c *Client) requestAll(ctx context.Context, request *nats.Msg) ([]TableResult, error) {
	msg, err := c.nc.RequestMsgWithContext(ctx, request)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("request to %s: %w", request.Subject, bus.ErrNoResponders)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, api.Errorf(api.TooLarge, "%d bytes are more than the NATS server takes", len(request.Data))
	case err != nil:
		return nil, fmt.Errorf("request to %s: %w: %w", request.Subject, bus.ErrUnknown, err)
	}
	results, err := parseResults(msg.Data)
	if errors.Is(err, errNoResults) {
		if e := bus.ReplyError(msg); e != nil {
			return nil, e
		}
	}
	return results, err
}

var errNoResults = errors.New("the answer has no results")

// parseResults is an error only if the request must be sent again: a table of unknown outcome is asked for again
// together with the others, which then get their first answers.
func parseResults(data []byte) ([]TableResult, error) {
	var a api.WriteAnswer
	if err := json.Unmarshal(data, &a); err != nil || len(a.Results) == 0 {
		return nil, fmt.Errorf("%w: %w: %.200q", bus.ErrUnknown, errNoResults, data)
	}
	results := make([]TableResult, len(a.Results))
	for i, r := range a.Results {
		results[i].Result = Result{r.Table, r.TxID, r.Rows}
		if r.Error == nil {
			continue
		}
		if v, _ := judge(r.Error); v != producer.Final {
			return nil, r.Error
		}
		results[i].Err = public(r.Error)
	}
	return results, nil
}
