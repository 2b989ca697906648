package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/lineproto"
)

// parse unpacks a payload and reads its rows: one entry per table, in order of first appearance. An
// error refuses the request as a whole.
func (s *Service) parse(r *request) (lineproto.Result, *api.Error) {
	start := time.Now()
	defer since(s.metrics.parseSeconds, start)
	data, err := s.unpacker.unpack(r.data, r.packing)
	if err != nil {
		return nil, err
	}
	now := r.arrived.UnixNano()
	switch r.format {
	case lineProtocol:
		return lineproto.Parse(data, lineproto.Options{Precision: r.precision, Now: now, Table: r.table})
	case ndjson:
		return single(r.table, columnar.ParseNDJSON)(data, now)
	}
	return single(r.table, columnar.ParseArrow)(data, now)
}

type parseOne func(data []byte, table string, now int64) (*columnar.Batch, *api.Error)

func single(table string, parse parseOne) func([]byte, int64) (lineproto.Result, *api.Error) {
	return func(data []byte, now int64) (lineproto.Result, *api.Error) {
		if table == "" {
			return nil, api.Errorf(api.Invalid,
				"the payload does not name its table: use ingest.<table> or header %s", api.HeaderTable)
		}
		b, err := parse(data, table, now)
		if err != nil {
			return nil, err.InTable(table)
		}
		if b.Rows() == 0 {
			b.Release()
			return nil, nil
		}
		return lineproto.Result{{Table: table, Batch: b}}, nil
	}
}

// process is a worker's part of a request: from bytes to writes that are on their way.
func (s *Service) process(ctx context.Context, r *request) {
	if s.env.now().Sub(r.arrived) >= s.cfg.RequestTimeout {
		s.refuse(r, s.overloaded()) // it waited here all its time, and has had no effect
		return
	}
	entries, err := s.parse(r)
	r.data = nil
	if err == nil {
		err = s.accountable(r, entries)
	}
	if err != nil {
		entries.Release()
		s.refuse(r, err)
		return
	}
	if len(entries) == 0 {
		s.finish(r, r.answerer.empty)
		return
	}
	r.results = make([]api.WriteResult, len(entries))
	r.open.Store(int32(len(entries)) + 1) // the one more keeps the answer back until all are handed out
	for i := range entries {
		r.results[i].Table = entries[i].Table
		if entries[i].Err != nil {
			s.settle(r, i, 0, 0, entries[i].Err)
			continue
		}
		s.check(ctx, r.newWrite(i, entries[i].Batch))
	}
	s.outcome(r)
}

// accountable refuses what can only be seen once the rows are there, before anything has an effect.
func (s *Service) accountable(r *request, entries lineproto.Result) *api.Error {
	if r.locked && len(entries) > 1 {
		return api.Errorf(api.Invalid, "header %s is about one table, the payload has rows of %d",
			api.HeaderExpectedTxID, len(entries))
	}
	bytes := int64(0)
	for i := range entries {
		if entries[i].Batch != nil {
			bytes += int64(entries[i].Batch.Bytes())
		}
	}
	if more := bytes - r.held; more > 0 {
		if !s.held.grow(more) {
			return s.overloaded()
		}
		r.held = bytes
	}
	return nil
}

// check compares a write with its table's schema. What the remembered schema answers is done at
// once; asking the sequencer is left to a goroutine, so that a table nobody knows holds up no
// other.
func (s *Service) check(ctx context.Context, w *write) {
	schema, known := s.remembered(w.key.table)
	if known {
		missing, err := w.batch.Missing(schema)
		if err != nil {
			s.drop(w, err) // a column never changes its type, so an old schema is right about it
			return
		}
		if len(missing) == 0 && schema.Len() > 0 {
			w.schema = schema
			s.merge(ctx, w)
			return
		}
	}
	s.env.start(func() {
		asking, cancel := context.WithDeadline(ctx, w.arrived.Add(s.cfg.RequestTimeout))
		defer cancel()
		schema, err := s.grow(asking, w)
		if err != nil {
			s.drop(w, err)
			return
		}
		w.schema = schema
		s.merge(ctx, w)
	})
}

// growPause is how long the gateway waits before it asks a sequencer again that did not answer.
const growPause = 100 * time.Millisecond

// growAttempt bounds one question to the sequencer.
const growAttempt = 2 * time.Second

// grow returns a schema that has all columns of the write, adding those that are missing. It asks
// until ctx ends: growing twice is growing once.
func (s *Service) grow(ctx context.Context, w *write) (api.Schema, *api.Error) {
	var last error
	for {
		attempt, cancel := context.WithDeadline(ctx, s.env.now().Add(growAttempt))
		schema, err := s.growOnce(attempt, w)
		cancel()
		if err == nil {
			return schema, nil
		}
		if e := new(api.Error); errors.As(err, &e) && e.Name != api.Unavailable && e.Name != api.Overloaded {
			return api.Schema{}, e.InTable(w.key.table)
		}
		if last = err; !s.env.pause(ctx, growPause) {
			e := unreached("the table's schema cannot be read or grown", last)
			return api.Schema{}, e.InTable(w.key.table)
		}
	}
}

func (s *Service) growOnce(ctx context.Context, w *write) (api.Schema, error) {
	schema, err := s.deps.Catalog.Schema(ctx, w.key.table)
	if err != nil {
		return api.Schema{}, err
	}
	for {
		missing, bad := w.batch.Missing(schema)
		if bad != nil {
			return api.Schema{}, bad
		}
		if len(missing) == 0 {
			if schema.Len() == 0 {
				return api.Schema{}, api.Errorf(api.Invalid, "the rows have no column but the timestamp")
			}
			return schema, nil
		}
		if bad := s.tooLarge(w, schema, missing); bad != nil {
			return api.Schema{}, bad
		}
		grown, err := s.deps.Catalog.Grow(ctx, w.key.table, missing)
		if api.IsName(err, api.Invalid) {
			// Somebody else gave a column another type meanwhile. Compared with that schema the
			// write may still be good (whole numbers in a float column), or gets an error that
			// names its line.
			grown, err = s.afterClash(ctx, w, schema, err)
		}
		if err != nil {
			return api.Schema{}, err
		}
		schema = grown
	}
}

// afterClash reads the schema that a refused growth clashed with. If the table has not changed
// since, the refusal stands.
func (s *Service) afterClash(ctx context.Context, w *write, old api.Schema, refusal error) (api.Schema, error) {
	schema, err := s.deps.Catalog.Refresh(ctx, w.key.table)
	if err == nil && schema.Len() <= old.Len() {
		return api.Schema{}, refusal
	}
	return schema, err
}

// tooLarge refuses a write whose group would be over the limit before it leaves a column behind.
// Only one with many bytes is worth the trial.
func (s *Service) tooLarge(w *write, schema api.Schema, missing []api.Column) *api.Error {
	if w.bytes < api.GroupBytesMax/2 {
		return nil
	}
	columns := append([]api.Column(nil), schema.Columns()...)
	if len(columns) == 0 {
		columns = []api.Column{{Name: api.TimestampColumn, Type: api.Timestamp}}
	}
	grown, err := api.NewSchema(append(columns, missing...))
	if err != nil {
		return api.Errorf(api.Invalid, "%v", err)
	}
	trial := *w
	trial.schema = grown
	frame, e := s.encode(&group{key: w.key, writes: []*write{&trial}}, api.ProducerSeq{})
	if e == nil {
		s.frames.Put(&frame)
	}
	return e
}

// unreached is the end of a wait for somebody who did not answer.
func unreached(what string, err error) *api.Error {
	if e := new(api.Error); errors.As(err, &e) {
		return api.Errorf(e.Name, "%s: %s", what, e.Message)
	}
	if errors.Is(err, bus.ErrNoResponders) {
		return api.Errorf(api.Unavailable, "%s: no sequencer answers", what)
	}
	return api.Errorf(api.Unavailable, "%s: %v", what, err)
}
