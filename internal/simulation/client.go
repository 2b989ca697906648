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
	"github.com/seed-551dd829/braid/internal/producer"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/internal/sim"
)

// client is a producer that sends groups to primaries itself, and sends again, to whichever, what has no answer. It
// numbers and settles with the SDK's core. Its process may end between any two of its steps: a number is taken, it is
// written down, it is sent, its answer is written down, settled moves.
type client struct {
	w        *world
	name     string
	p        *sim.Process
	starts   int
	core     *producer.Core // of this process
	table    string         // of the open writes; this and the next two are on the client's disk
	open     []*write       // written down and without an answer there
	floor    uint64         // highest sequence that was written down
	catalog  *schemas
	routes   *routes
	epoch    uint64
	expired  bool              // its registration is gone
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
	voided  bool   // it was given up
	waiting bool   // its client is
}

func newClient(w *world, name string) *client {
	c := &client{w: w, name: name, head: make(map[string]uint64), left: 5 + w.e.Rand.IntN(40),
		gateways: []float64{0, 0.5, 1}[w.e.Rand.IntN(3)]}
	c.start()
	return c
}

// start begins a process of the client. What it has written down outlives it: its sequences, and the writes that have
// no answer yet.
func (c *client) start() {
	c.p = c.w.e.Start(c.name)
	c.starts++
	c.catalog = &schemas{asker: asker{c.w, c.p}, known: make(map[string]api.Schema)}
	c.routes = newRoutes(c.w, c.p)
	c.p.OnEnd(func() {
		if !c.done {
			c.w.e.After(c.w.restart(), c.start)
		}
	})
	c.p.Go(c.run)
}

// run registers first, which fences the process before, then sends again what that one has left, then goes on.
func (c *client) run(ctx context.Context) {
	c.core = producer.New(c.name)
	known := c.register(ctx)
	c.restore()
	if len(c.open) > 0 {
		for _, w := range c.open {
			if !w.meta.ID.None() {
				w.meta.ID, _ = c.core.Identity(c.table, w.meta.ID.Sequence)
			}
			// Without the records of what was sent before, nobody could tell a repeat from a new write.
			w.again = w.again && !w.bare && (known || w.meta.ID.None())
		}
		c.finish(ctx)
	}
	for ; c.left > 0 && !(c.w.over && c.left > 3); c.left-- {
		c.p.Sleep(c.w.e.Between(0, 300*time.Millisecond))
		c.table = c.w.tables[c.w.e.Rand.IntN(len(c.w.tables))]
		writes := c.invent(c.table)
		c.step() // an end here takes the numbers along, which nobody has seen
		c.writeDown(writes)
		c.step()
		c.finish(ctx)
		if c.expired {
			c.starts++ // another attempt, for new writes only
			c.register(ctx)
		}
	}
	c.done = true
}

// step is a moment at which the process may end.
func (c *client) step() { c.p.Sleep(c.w.e.Between(0, 20*time.Millisecond)) }

// writeDown puts writes on the client's disk before they are sent.
func (c *client) writeDown(writes []*write) {
	c.open = writes
	for _, w := range writes {
		c.floor = max(c.floor, w.meta.ID.Sequence)
	}
}

// restore tells the core what is on the disk.
func (c *client) restore() {
	kept := producer.Kept{Table: c.table}
	for _, w := range c.open {
		if s := w.meta.ID.Sequence; s > 0 {
			kept.Open, kept.Last = append(kept.Open, s), s
		}
	}
	var all []producer.Kept
	if len(kept.Open) > 0 {
		all = append(all, kept)
	}
	if err := c.core.Restore(c.w.bug.floor(c.floor, kept.Last), all); err != nil {
		panic(err)
	}
}

// register says whether the store still has what it knew of the producer.
func (c *client) register(ctx context.Context) (known bool) {
	for {
		a, err := c.catalog.RegisterProducer(ctx,
			api.RegisterProducerRequest{ID: c.name, Attempt: fmt.Sprint(c.starts), Last: c.epoch})
		if err == nil {
			c.core.Registered(a, true)
			c.epoch, c.expired = a.Epoch, false
			return a.Known
		}
		c.p.Sleep(50 * time.Millisecond)
	}
}

// finish pursues the open writes, and settles them.
func (c *client) finish(ctx context.Context) {
	c.pursue(ctx, c.table, c.open)
	c.step()
	writes := c.open
	for _, w := range writes {
		w.waiting = false
		c.w.record(c.table, w.Write)
	}
	c.open = nil // the answers are written down
	c.step()
	for _, w := range writes {
		if !w.meta.ID.None() {
			c.core.Done(c.table, w.meta.ID.Sequence)
		}
	}
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
			w.meta.Key = fmt.Sprintf("%s-%d", c.name, c.w.values)
		} else {
			w.meta.ID, _ = c.core.Identity(table, c.core.Take(table))
			w.meta.ID.Settled = c.w.bug.settled(w.meta.ID)
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

// pursue sends writes until each has an answer, or the client gives up.
func (c *client) pursue(ctx context.Context, table string, writes []*write) {
	schema, ok := c.schema(ctx, table, writes)
	if !ok {
		return // nothing was sent, which counts as unknown
	}
	for range 3 + c.w.e.Rand.IntN(8) {
		open := slices.DeleteFunc(slices.Clone(writes), func(w *write) bool {
			return w.Outcome != history.Unknown || !w.again
		})
		if len(open) == 0 {
			return
		}
		n := len(open) // all of them together, or the first few
		if c.w.e.Rand.IntN(3) == 0 {
			n = 1 + c.w.e.Rand.IntN(n)
		}
		if c.w.e.Chance(c.gateways) {
			c.through(ctx, table, open[:n])
			c.p.Sleep(c.w.e.Between(0, 50*time.Millisecond))
		} else {
			c.p.Sleep(c.attempt(ctx, table, schema, open[:n]))
		}
	}
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

// attempt sends writes as one group to some primary. It returns how long to wait before the next.
func (c *client) attempt(ctx context.Context, table string, schema api.Schema, writes []*write) time.Duration {
	frame := encode(table, schema, writes, c.w.durability())
	to := c.routes.pick()
	if to == nil {
		return 200 * time.Millisecond
	}
	call := sim.NewCall[api.GroupAnswer](c.p)
	sent := slices.Clone(writes)
	to.write(c.p, frame, func(a api.GroupAnswer) {
		c.w.answer(c.name, table, sent, &a)
		call.Done(a)
	}, func() { call.Done(api.GroupAnswer{Err: api.Errorf(api.Unavailable, "no responders")}) })
	a, came := call.Wait(ctx, c.w.patience())
	switch {
	case !came:
		return 0
	case a.Err != nil:
		c.w.tolerable(table, a.Err)
		return c.w.e.Between(20*time.Millisecond, 200*time.Millisecond)
	}
	for i, w := range writes {
		c.told(table, w, a.Writes[i])
	}
	return 0
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
	case api.RefusedVoided:
		w.again, w.voided = false, true
	case api.RefusedExpired, api.RefusedFenced:
		w.again, c.expired = false, true
		c.w.chaos.Happened(sim.Expire)
	}
}

func encode(table string, schema api.Schema, writes []*write, d api.Durability) []byte {
	h := api.GroupHeader{Table: table, Durability: d}
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
