package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/sim"
)

// client is a producer that sends groups to primaries itself, and sends again, to whichever, what has no answer.
type client struct {
	w        *world
	p        *sim.Process
	catalog  *schemas
	epoch    uint64
	sequence map[string]uint64 // given, by table
	settled  map[string]uint64
	head     map[string]uint64 // as the client has last heard
	left     int               // batches to write
	gateways float64           // how often it writes through a gateway
	done     bool
}

// write is one write as its client sees it.
type write struct {
	history.Write
	meta    api.WriteMeta
	batch   *columnar.Batch
	lines   string // the same in line protocol
	bare    bool   // it has no identity
	again   bool   // it may be sent again
	waiting bool   // its client is
}

func newClient(w *world, name string) *client {
	c := &client{w: w, p: w.e.Start(name), sequence: make(map[string]uint64), settled: make(map[string]uint64),
		head: make(map[string]uint64), left: 5 + w.e.Rand.IntN(40),
		gateways: []float64{0, 0.5, 1}[w.e.Rand.IntN(3)]}
	c.catalog = &schemas{asker: asker{w, c.p}, known: make(map[string]api.Schema)}
	c.p.Go(c.run)
	return c
}

func (c *client) run(ctx context.Context) {
	for c.epoch == 0 {
		a, err := c.catalog.RegisterProducer(ctx, api.RegisterProducerRequest{ID: c.p.Name, Attempt: "1"})
		if err == nil {
			c.epoch = a.Epoch
		}
	}
	for ; c.left > 0 && !(c.w.over && c.left > 3); c.left-- {
		c.p.Sleep(c.w.e.Between(0, 300*time.Millisecond))
		table := c.w.tables[c.w.e.Rand.IntN(len(c.w.tables))]
		writes := c.invent(table)
		if !c.pursue(ctx, table, writes) {
			return
		}
		for _, w := range writes {
			w.waiting = false
		}
		c.settled[table] = c.sequence[table]
		for _, w := range writes {
			c.w.record(table, w.Write)
		}
	}
	c.done = true
}

// invent makes writes of one table.
func (c *client) invent(table string) (writes []*write) {
	e := c.w.e
	direct := c.gateways < 1
	for range 1 + e.Rand.IntN(3) {
		w := &write{waiting: true, again: true}
		w.Outcome, w.Sent = history.Unknown, int64(e.Now())
		rows := 1 + e.Rand.IntN(3)
		var text, content, lines strings.Builder
		for range rows {
			c.w.values++
			row := fmt.Sprintf(`"a":%d`, c.w.values)
			if e.Rand.IntN(4) == 0 {
				row += fmt.Sprintf(`,"b%d":%d`, e.Rand.IntN(6), c.w.values)
			}
			fmt.Fprintf(&text, "{\"timestamp\":%d,%s}\n", c.w.values, row)
			fmt.Fprintf(&lines, "%s %si %d\n", table, strings.NewReplacer(`"`, "", ":", "=", ",", "i,").Replace(row), c.w.values)
			content.WriteString(strings.ReplaceAll(row, `"`, "") + "\n")
		}
		batch, err := columnar.ParseNDJSON([]byte(text.String()), table, 0)
		if err != nil {
			panic(err)
		}
		w.batch, w.Rows, w.Content, w.lines = batch, uint32(rows), sum(content.String()), lines.String()
		w.meta.Rows = uint32(rows)
		if w.Locked = e.Rand.IntN(3) == 0; w.Locked {
			w.Expected = c.head[table]
			w.meta.Locked, w.meta.Expected = true, w.Expected
		}
		if w.bare = !direct && e.Rand.IntN(4) == 0; w.bare {
			// Whoever sends it once only knows what became of it if there is an answer.
		} else if e.Rand.IntN(4) == 0 {
			w.meta.Key = fmt.Sprintf("%s-%d", c.p.Name, c.w.values)
		} else {
			c.sequence[table]++
			w.meta.ID = api.ProducerSeq{Producer: c.p.Name, Epoch: c.epoch, Sequence: c.sequence[table],
				Settled: c.w.bug.settled(c, table)}
		}
		writes = append(writes, w)
	}
	return writes
}

func sum(content string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(content))
	return h.Sum64()
}

// pursue sends writes until each has an answer, or the client gives up. It says false if something is wrong.
func (c *client) pursue(ctx context.Context, table string, writes []*write) bool {
	schema, ok := c.schema(ctx, table, writes)
	if !ok {
		return true // nothing was sent, which counts as unknown
	}
	open := slices.Clone(writes)
	for range 3 + c.w.e.Rand.IntN(8) {
		n := len(open) // all of them together, or the first few
		if c.w.e.Rand.IntN(3) == 0 {
			n = 1 + c.w.e.Rand.IntN(n)
		}
		if c.w.e.Chance(c.gateways) {
			c.through(ctx, table, open[:n])
			c.p.Sleep(c.w.e.Between(0, 50*time.Millisecond))
		} else if wait, ok := c.attempt(ctx, table, schema, open[:n]); !ok {
			return false
		} else if wait > 0 {
			c.p.Sleep(wait)
		}
		open = slices.DeleteFunc(open, func(w *write) bool { return w.Outcome != history.Unknown || !w.again })
		if len(open) == 0 {
			return true
		}
	}
	return true
}

// schema grows the table's until it has the writes' columns.
func (c *client) schema(ctx context.Context, table string, writes []*write) (api.Schema, bool) {
	for range 20 {
		schema, err := c.catalog.Schema(ctx, table)
		if err == nil {
			schema, err = c.grow(ctx, table, schema, writes)
		}
		if err == nil {
			return schema, true
		}
		c.p.Sleep(50 * time.Millisecond)
	}
	return api.Schema{}, false
}

func (c *client) grow(ctx context.Context, table string, s api.Schema, writes []*write) (api.Schema, error) {
	for _, w := range writes {
		missing, bad := w.batch.Missing(s)
		if bad != nil {
			panic(bad)
		}
		if len(missing) > 0 {
			var err error
			if s, err = c.catalog.Grow(ctx, table, missing); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// attempt sends writes as one group to some primary.
func (c *client) attempt(
	ctx context.Context, table string, schema api.Schema, writes []*write,
) (wait time.Duration, ok bool) {
	frame := encode(table, schema, writes)
	to := c.w.primary()
	if to == nil {
		return 200 * time.Millisecond, true
	}
	call := sim.NewCall[api.GroupAnswer](c.p)
	sent := slices.Clone(writes)
	to.write(c.p, frame, func(a api.GroupAnswer) {
		c.w.answer(c.p.Name, table, sent, &a)
		call.Done(a)
	}, func() { call.Done(api.GroupAnswer{Err: api.Errorf(api.Unavailable, "no responders")}) })
	a, came := call.Wait(ctx, c.w.patience())
	switch {
	case !came:
		return 0, true
	case a.Err != nil:
		c.w.tolerable(table, a.Err)
		return c.w.e.Between(20*time.Millisecond, 200*time.Millisecond), true
	}
	for i, w := range writes {
		c.told(table, w, a.Writes[i])
	}
	return 0, true
}

// told notes a write's outcome.
func (c *client) told(table string, w *write, o api.Outcome) {
	w.Answered = int64(c.w.e.Now())
	switch o.Verdict {
	case api.Accepted:
		w.Outcome, w.TxID = history.Acknowledged, o.TxID
		c.head[table] = max(c.head[table], o.TxID)
	case api.RefusedConflict:
		w.Outcome, w.Current = history.Conflicted, o.Current
		c.head[table] = max(c.head[table], o.Current)
	}
}

func encode(table string, schema api.Schema, writes []*write) []byte {
	h := api.GroupHeader{Table: table}
	var batches []*columnar.Batch
	for _, w := range writes {
		h.Writes = append(h.Writes, w.meta)
		batches = append(batches, w.batch)
	}
	schema = columnar.SmallestPrefix(schema, batches)
	h.Fingerprint = schema.Fingerprint(schema.Len())
	frame, mark := segment.BeginGroup(nil, &h)
	frame, err := columnar.Encode(frame, schema, batches)
	if err != nil {
		panic(err)
	}
	return segment.FinishGroup(frame, mark)
}

// primary draws one that serves, or any other node that was one, now and then.
func (w *world) primary() *node {
	var serving []*node
	for _, n := range w.nodes {
		if n.role == api.Primary && (n.primary != nil || w.e.Rand.IntN(8) == 0) {
			serving = append(serving, n)
		}
	}
	if len(serving) == 0 {
		return nil
	}
	return serving[w.e.Rand.IntN(len(serving))]
}
