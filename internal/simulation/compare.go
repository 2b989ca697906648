package simulation

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/columnar"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/segment"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// compare judges the end: every node has every acknowledged write, in one order, and the bytes are there.
func (w *world) compare() {
	for _, name := range w.tables {
		seen := make(map[uint64][]history.Seen) // by first TxID
		for i := range w.records {
			if w.records[i].Table == name && w.records[i].State == api.Confirmed {
				seen[w.records[i].First] = w.decode(&w.records[i])
			}
		}
		var nodes []history.Node
		digests := make(map[string]string)
		for _, n := range w.nodes {
			if n.replicator == nil {
				continue // which was judged when it did not come to rest
			}
			nodes = append(nodes, w.view(n, name, seen))
			d, err := n.replicator.Tables().Digest(name, 0)
			if err != nil {
				w.fail(history.Violation{Invariant: 4, Check: "digest", Table: name, Node: n.id, Detail: err.Error()})
			}
			digests[d.Digest] = n.id
		}
		if len(digests) > 1 {
			w.fail(history.Violation{Invariant: 4, Check: "digest", Table: name, Detail: fmt.Sprint(digests)})
		}
		v := history.Check(*w.table(name), nodes)
		for _, violation := range v.Violations {
			w.fail(violation)
		}
	}
	for _, n := range w.nodes {
		if n.disk.AfterFailure > 0 {
			w.fail(history.Violation{Invariant: 2, Check: "failed sync", Node: n.id,
				Detail: fmt.Sprintf("%d operations on the disk after a sync of it failed", n.disk.AfterFailure)})
		}
	}
}

// view is what a node has of a table: its own records, with the rows that they name.
func (w *world) view(n *node, table string, seen map[uint64][]history.Seen) history.Node {
	tables := n.replicator.Tables()
	v := history.Node{ID: n.id, Applied: tables.AppliedTxID(table)}
	for r, err := range tables.Read(table, 1, math.MaxUint64) {
		if err != nil {
			w.fail(history.Violation{Invariant: 4, Check: "read", Table: table, Node: n.id, Detail: err.Error()})
			break
		}
		decoded := seen[r.First]
		if w.other(&r) {
			w.fail(history.Violation{Invariant: 4, Check: "record", Table: table, Node: n.id, TxID: r.First,
				Detail: "the node has another record than the log"})
		}
		if w.void(&r) {
			continue
		}
		if len(decoded) == 0 || decoded[len(decoded)-1].TxID != r.Last() {
			w.fail(history.Violation{Invariant: 4, Check: "record", Table: table, Node: n.id, TxID: r.First,
				Detail: "the node has a record that is not in the log"})
			continue
		}
		v.Seen = append(v.Seen, decoded...)
		w.local(n, &r)
	}
	return v
}

// void says of a node's record that it is given up, in the log too.
func (j *judge) void(r *api.LogRecord) bool {
	return r.State == api.Void && slices.ContainsFunc(j.records, func(x api.LogRecord) bool {
		return x.Table == r.Table && x.First == r.First && x.State == api.Void
	})
}

// other says whether a node's record is not the log's.
func (j *judge) other(r *api.LogRecord) bool {
	for i := range j.records {
		if x := &j.records[i]; x.Table == r.Table && x.First == r.First {
			return x.Segment != r.Segment || x.Offset != r.Offset || x.Count() != r.Count()
		}
	}
	return true
}

// local compares a group's bytes on a node's disk, where they are, with those in the object store (I9).
func (w *world) local(n *node, r *api.LogRecord) {
	f, err := n.disk.Open(segment.Path(segmentsDir, r.Segment))
	if err != nil {
		return // lost in a crash, and not needed since: it is fetched again when it is
	}
	defer f.Close()
	mine, err := segment.ReadGroup(f, r.Offset, r.Length, r.CRC)
	if err != nil {
		return // the same, torn
	}
	if stored, err := w.object(r); err == nil && !bytes.Equal(mine, stored) {
		w.fail(history.Violation{Invariant: 9, Check: "bytes", Table: r.Table, Node: n.id, TxID: r.First,
			Detail: "the object store has other bytes than the disk"})
	}
}

// decode is what a record's accepted writes hold, from the object store (I9).
func (w *world) decode(r *api.LogRecord) (seen []history.Seen) {
	missing := func(err error) []history.Seen {
		w.fail(history.Violation{Invariant: 9, Check: "referenced", Table: r.Table, TxID: r.First, Detail: err.Error()})
		return nil
	}
	frame, err := w.object(r)
	if err != nil {
		return missing(err)
	}
	g, err := segment.ParseGroup(frame)
	if err != nil {
		return missing(err)
	}
	schema, err := w.prefix(&g.Header)
	if err != nil {
		return missing(err)
	}
	rows, err := columnar.Decode(g.Arrow, schema)
	if err != nil {
		return missing(err)
	}
	defer rows.Release()
	from, txid := 0, r.First
	for i := range g.Header.Writes {
		n := int(g.Header.Writes[i].Rows)
		if r.Accepted(i) {
			seen = append(seen, history.Seen{TxID: txid, Rows: uint32(n), Content: content(rows, schema, from, from+n)})
			txid++
		}
		from += n
	}
	return seen
}

func (w *world) prefix(h *api.GroupHeader) (schema api.Schema, err error) {
	err = w.store.View(context.Background(), func(r kv.Reader) error {
		a, err := sequencer.Schema(r, h.Table)
		if err != nil {
			return err
		}
		whole, err := api.NewSchema(a.Columns)
		if err != nil {
			return err
		}
		p, ok := whole.Prefix(h.Fingerprint)
		if schema = p; !ok {
			return fmt.Errorf("no schema has the group's fingerprint %s", h.Fingerprint)
		}
		return nil
	})
	return schema, err
}

// content is the checksum of rows as invent makes it.
func content(rows *columnar.Rows, schema api.Schema, from, to int) uint64 {
	var b strings.Builder
	for row := from; row < to; row++ {
		first := true
		for c, column := range schema.Columns() {
			if column.Type == api.Timestamp || rows.IsNull(c, row) {
				continue
			}
			if !first {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%s:%v", column.Name, rows.Value(c, row))
			first = false
		}
		b.WriteByte('\n')
	}
	return sum(b.String())
}
