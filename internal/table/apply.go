package table

import (
	"errors"
	"fmt"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// Applied is what one call of Apply has done.
type Applied struct {
	Records, TxIDs, Rows uint64
	// Gaps are the tables whose records did not follow from what is here. They are stalled behind their last good
	// record, so that the log is read again from there.
	Gaps []*GapError
	// Failed are the errors of tables whose files could not be written. These tables are stalled, alone.
	Failed []error
}

// GapError says that a record was not applied because TxIDs are missing in front of it.
type GapError struct {
	Table       string
	Applied     uint64 // TxID
	First, Last uint64 // TxIDs of the record
	Index       uint64 // of the record in the log
}

func (e *GapError) Error() string {
	return fmt.Sprintf("table %s: log record %d has TxIDs %d to %d, but %d was applied last",
		e.Table, e.Index, e.First, e.Last, e.Applied)
}

// Apply enters a piece of a shard's log, records with consecutive indexes in log order, into the tables. held, if not
// nil, says of each record why its bytes cannot be had now, nil if they are here. The piece may begin at any index up
// to Position+1; what tables already have is skipped.
//
// A table stops at a record that is pending or held, or that its file does not take, and takes nothing behind it,
// while all others go on: it is stalled, and goes on when Apply gets the log from that record again. After an error,
// which is about the piece and not about a table, nothing of the piece counts as applied; it may be given again.
func (s *Store) Apply(shard int, records []api.LogRecord, held []error) (Applied, error) {
	if len(records) == 0 {
		return Applied{}, nil
	}
	sh := s.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if first := records[0].Index; first > sh.position+1 {
		return Applied{}, fmt.Errorf("shard %d: log piece begins at %d, but only %d was applied", shard, first, sh.position)
	}
	p := &piece{s: s, sh: sh, shard: shard, from: records[0].Index, to: records[len(records)-1].Index,
		plans: make(map[string]*plan)}
	for i := range records {
		if records[i].Index != p.from+uint64(i) {
			return Applied{}, fmt.Errorf("shard %d: log piece from %d has index %d at place %d",
				shard, p.from, records[i].Index, i)
		}
		var why error
		if held != nil {
			why = held[i]
		}
		if err := p.take(&records[i], why); err != nil {
			return Applied{}, err
		}
	}
	p.write()
	p.publish()
	return p.done, nil
}

// piece is one call of Apply: it plans for each table what to append, writes all of it, and then makes it visible.
type piece struct {
	s        *Store
	sh       *shardState
	shard    int
	from, to uint64
	plans    map[string]*plan
	order    []*plan // as tables came up
	done     Applied
}

// plan is what a piece does to one table.
type plan struct {
	t       *tab
	after   state
	entries []byte
	marks   []noted
	blocked uint64 // log index from which the table has to be read again; 0: nowhere
	why     error  // it is blocked
	from    uint64 // log index of the first record in entries
	passed  uint64 // confirmed records that were passed over for the first time
	applied uint64 // records
}

// noted is a planned record, as the sparse index and the counts need it.
type noted struct {
	before      state
	index       uint64 // in the log
	first       uint64
	size        int64
	txids, rows uint64
}

func (p *piece) plan(table string) (*plan, error) {
	if pl := p.plans[table]; pl != nil {
		return pl, nil
	}
	t := p.s.find(table)
	if t == nil {
		if want := api.Shard(table, p.s.cfg.Shards); want != p.shard {
			return nil, fmt.Errorf("log of shard %d has table %s, which belongs to shard %d", p.shard, table, want)
		}
		t = p.s.newTab(table)
	}
	pl := &plan{t: t, after: t.state}
	// A table that waits elsewhere in the log takes nothing of this piece.
	if t.stalledAt != 0 && (t.stalledAt < p.from || t.stalledAt > p.to) {
		pl.blocked, pl.why = t.stalledAt, t.why
	}
	p.plans[table] = pl
	p.order = append(p.order, pl)
	return pl, nil
}

func (p *piece) take(r *api.LogRecord, held error) error {
	pl, err := p.plan(r.Table)
	if err != nil {
		return err
	}
	switch {
	case r.Last() <= pl.after.applied:
		return nil
	case pl.blocked != 0:
	case r.State == api.Pending:
		pl.blocked, pl.why = r.Index, errPending
	case held != nil:
		pl.blocked, pl.why = r.Index, held
	case r.First != pl.after.applied+1:
		gap := &GapError{Table: r.Table, Applied: pl.after.applied, First: r.First, Last: r.Last(), Index: r.Index}
		pl.blocked, pl.why = pl.after.index+1, gap
		p.done.Gaps = append(p.done.Gaps, gap)
	default:
		p.append(pl, r)
		return nil
	}
	if r.Index > p.sh.position && r.State != api.Pending {
		pl.passed++
	}
	return nil
}

func (p *piece) append(pl *plan, r *api.LogRecord) {
	if len(pl.entries) == 0 {
		pl.from = r.Index
	}
	before := pl.after
	digest, start := chain(before.digest, r), len(pl.entries)
	pl.entries = appendEntry(pl.entries, &entry{
		shard: p.shard, rows: before.rows + accepted(r), digest: digest, record: *r,
	})
	size := int64(len(pl.entries) - start)
	pl.marks = append(pl.marks, noted{before: before, index: r.Index, first: r.First, size: size,
		txids: r.Count(), rows: accepted(r)})
	pl.after.add(r, digest, size)
	pl.applied++
	p.done.Records++
	p.done.TxIDs += r.Count()
	p.done.Rows += accepted(r)
}

// write appends what was planned. A table whose file does not take it stands, and no other with it.
func (p *piece) write() {
	for _, pl := range p.order {
		if len(pl.entries) == 0 {
			continue
		}
		err := p.writeTable(pl)
		if err == nil {
			pl.show()
			continue
		}
		at, why := pl.from, err
		if corrupt := new(CorruptError); errors.As(err, &corrupt) {
			if err = p.s.repair(p.sh, pl.t); err == nil {
				at, why = pl.t.state.index+1, errRereading
			}
		}
		if err != nil {
			p.done.Failed = append(p.done.Failed, fmt.Errorf("append to table %s: %w", pl.t.name, err))
		}
		p.drop(pl, at, why)
	}
}

// drop takes back what was planned for a table: it is read again from the log, from index at.
func (p *piece) drop(pl *plan, at uint64, why error) {
	for _, n := range pl.marks {
		p.done.Records--
		p.done.TxIDs -= n.txids
		p.done.Rows -= n.rows
		if n.index > p.sh.position {
			pl.passed++
		}
	}
	pl.applied, pl.marks = 0, nil
	pl.blocked, pl.why = at, why
}

func (p *piece) writeTable(pl *plan) error {
	t := pl.t
	if t.state.size == 0 {
		if err := t.create(p.s.cfg.FS); err != nil {
			return err
		}
		p.s.adopt(t)
		pl.shift(t.state.size)
	}
	t.dirty = true
	return p.s.files.with(t.path(), func(f disk.File) error {
		if err := t.tidy(f); err != nil {
			return err
		}
		_, err := f.Write(pl.entries)
		t.torn = err != nil
		return err
	})
}

// tidy cuts off what an append that failed has left, and notices a file that somebody else has changed.
func (t *tab) tidy(f disk.File) error {
	if t.torn {
		if err := f.Truncate(t.state.size); err != nil {
			return err
		}
		t.torn = false
	}
	size, err := f.Size()
	if err != nil || size == t.state.size {
		return err
	}
	return &CorruptError{Path: t.path(), Offset: min(size, t.state.size),
		Reason: fmt.Sprintf("the file has %d bytes, %d were written", size, t.state.size)}
}

// shift moves the planned entries behind a header that was not there when they were planned.
func (pl *plan) shift(header int64) {
	pl.after.size += header
	for i := range pl.marks {
		pl.marks[i].before.size += header
	}
}

// show makes what was written visible to readers.
func (pl *plan) show() {
	pl.t.mu.Lock()
	defer pl.t.mu.Unlock()
	for i := range pl.marks {
		pl.t.note(&pl.marks[i].before, pl.marks[i].first, pl.marks[i].size)
	}
	pl.t.state = pl.after
}

// publish moves the shard's position, and settles which tables are stalled where.
func (p *piece) publish() {
	position := max(p.sh.position, p.to)
	for t := range p.sh.stalled {
		if t.stalledAt < p.from || t.stalledAt > p.to {
			continue
		}
		pl := p.plans[t.name]
		if pl == nil || pl.blocked == 0 {
			p.settle(t, p.to+1, position)
		}
	}
	for _, pl := range p.order {
		t := pl.t
		t.behind = t.behind + pl.passed - min(t.behind, pl.applied)
		if pl.blocked != 0 {
			p.stall(t, pl.blocked, pl.why)
		}
	}
	p.sh.position = position
}

// settle lets a stalled table go on at log index at; it is stalled no longer if that is past the position.
func (p *piece) settle(t *tab, at, position uint64) {
	t.stalledAt, t.why = at, errRereading
	if at > position {
		t.stalledAt, t.behind, t.why = 0, 0, nil
		delete(p.sh.stalled, t)
	}
}

func (p *piece) stall(t *tab, at uint64, why error) {
	p.s.adopt(t) // its very first record may be the one it waits for: then it has no file yet
	t.stalledAt, t.why = at, why
	p.sh.stalled[t] = struct{}{}
}
