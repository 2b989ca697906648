// Package catalog remembers tables' schemas, so that the sequencer is asked only when a schema grows. A schema only
// ever grows and a column never changes its type, so a remembered one may be short but is never wrong.
package catalog

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Fetch asks the sequencer: bus.Sequencer.Schema.
type Fetch func(context.Context, api.SchemaRequest) (api.SchemaAnswer, error)

// Cache is safe for concurrent use. It keeps the schemas of the tables that were used last.
type Cache struct {
	fetch     Fetch
	tablesMax int

	mu       sync.Mutex
	tables   map[string]*list.Element // of *entry
	recent   list.List                // most recently used first
	readings map[string]*reading      // those that have begun
}

// reading is one question for a table's schema, shared by those who came before it began.
type reading struct {
	next   *reading // begins when this one has ended; for those who came meanwhile
	done   chan struct{}
	schema api.Schema // set before done is closed, like err
	err    error
}

type entry struct {
	table  string
	schema api.Schema
	prefix map[api.Fingerprint]api.Schema // shorter schemas that were asked for
}

// prefixesMax bounds the remembered prefixes of one table; they can be made anew.
const prefixesMax = 64

// refreshTimeout bounds one request of Refresh.
const refreshTimeout = 3 * time.Second

// New returns a cache of at most tablesMax tables.
func New(fetch Fetch, tablesMax int) *Cache {
	return &Cache{fetch: fetch, tablesMax: tablesMax, tables: make(map[string]*list.Element),
		readings: make(map[string]*reading)}
}

// Schema returns the table's schema, remembered or read; the zero Schema if the table has none. Errors are those of
// Fetch.
func (c *Cache) Schema(ctx context.Context, table string) (api.Schema, error) {
	if s, ok := c.lookup(table); ok {
		return s, nil
	}
	return c.Refresh(ctx, table)
}

// Refresh reads the table's schema anew: the answer holds whatever was in the schema before the call. Callers that come
// while one is read share the reading after it, since the one that is under way may have missed what they look for.
// When ctx ends first, the error is api.Unavailable, and ctx's.
func (c *Cache) Refresh(ctx context.Context, table string) (api.Schema, error) {
	r := c.join(ctx, table)
	select {
	case <-r.done:
		return r.schema, r.err
	case <-ctx.Done():
		// Of the wire, or whoever retries would take it for a definite answer.
		late := api.Errorf(api.Unavailable, "the schema was not read in time").InTable(table)
		return api.Schema{}, fmt.Errorf("%w: %w", late, ctx.Err())
	}
}

func (c *Cache) join(ctx context.Context, table string) *reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.readings[table]
	if current == nil {
		current = &reading{done: make(chan struct{})}
		c.readings[table] = current
		// Not the first caller's context: its end must not fail the others.
		go c.read(context.WithoutCancel(ctx), table, current)
		return current
	}
	if current.next == nil {
		current.next = &reading{done: make(chan struct{})}
	}
	return current.next
}

// read answers r, and whoever came meanwhile, until nobody is left.
func (c *Cache) read(ctx context.Context, table string, r *reading) {
	for r != nil {
		// With an end of its own: a lost answer must not keep everybody who comes later.
		attempt, cancel := context.WithTimeout(ctx, refreshTimeout)
		r.schema, r.err = c.ask(attempt, api.SchemaRequest{Table: table})
		cancel()
		answered := r
		c.mu.Lock()
		if r = r.next; r != nil {
			c.readings[table] = r
		} else {
			delete(c.readings, table)
		}
		c.mu.Unlock()
		close(answered.done)
	}
}

// Grow adds the columns that the table has not, and returns the whole schema. A column of another type is refused
// with api.Invalid.
func (c *Cache) Grow(ctx context.Context, table string, columns []api.Column) (api.Schema, error) {
	return c.ask(ctx, api.SchemaRequest{Table: table, Columns: columns})
}

// Resolve returns the schema that a group's fingerprint names. It asks anew if the remembered schema is too short,
// and refuses a fingerprint that names no schema of the table with api.Invalid.
func (c *Cache) Resolve(ctx context.Context, table string, f api.Fingerprint) (api.Schema, error) {
	if s, ok := c.prefix(table, f); ok {
		return s, nil
	}
	s, err := c.Refresh(ctx, table)
	if err != nil {
		return api.Schema{}, err
	}
	if p, ok := s.Prefix(f); ok {
		return p, nil
	}
	return api.Schema{}, api.Errorf(api.Invalid, "table %s has no schema with fingerprint %s", table, f).InTable(table)
}

func (c *Cache) ask(ctx context.Context, r api.SchemaRequest) (api.Schema, error) {
	answer, err := c.fetch(ctx, r)
	if err != nil || len(answer.Columns) == 0 {
		return api.Schema{}, err
	}
	s, err := api.NewSchema(answer.Columns)
	if err != nil {
		return api.Schema{}, fmt.Errorf("schema of table %s: %w", r.Table, err)
	}
	return c.remember(r.Table, s), nil
}

func (c *Cache) lookup(table string) (api.Schema, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.tables[table]
	if !ok {
		return api.Schema{}, false
	}
	c.recent.MoveToFront(el)
	return el.Value.(*entry).schema, true
}

func (c *Cache) prefix(table string, f api.Fingerprint) (api.Schema, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.tables[table]
	if !ok {
		return api.Schema{}, false
	}
	c.recent.MoveToFront(el)
	e := el.Value.(*entry)
	if p, ok := e.prefix[f]; ok {
		return p, true
	}
	p, ok := e.schema.Prefix(f)
	if ok && len(e.prefix) < prefixesMax {
		e.prefix[f] = p
	}
	return p, ok
}

// remember keeps the longer of two schemas: answers may arrive out of order.
func (c *Cache) remember(table string, s api.Schema) api.Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.tables[table]; ok {
		e := el.Value.(*entry)
		if s.Len() > e.schema.Len() {
			e.schema = s
		}
		c.recent.MoveToFront(el)
		return e.schema
	}
	c.tables[table] = c.recent.PushFront(&entry{table: table, schema: s, prefix: make(map[api.Fingerprint]api.Schema)})
	if c.recent.Len() > c.tablesMax {
		oldest := c.recent.Back()
		delete(c.tables, oldest.Value.(*entry).table)
		c.recent.Remove(oldest)
	}
	return s
}
