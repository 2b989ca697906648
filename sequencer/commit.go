package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Committed is what one transaction decided.
type Committed struct {
	Results []Result // one per request, in their order
	Head    uint64   // of the shard's log, afterwards
	records []stored // by which it grew, the last one at Head
}

// Grew says whether the log did.
func (c *Committed) Grew() bool { return len(c.records) > 0 }

// stored is a commit record as it is in the store.
type stored struct {
	raw   []byte
	state api.RecordState
}

// Result is the answer to one request: an answer per group, or an error for all of it. Fenced tells the primary that
// its epoch is over: it stops, and answers its writers 503, since an earlier copy of the request may have committed.
type Result struct {
	Err     error
	Answers []api.GroupAnswer
}

// Commit decides requests of one shard, in order, each seeing the effects of those before it.
func (c Core) Commit(t kv.Txn, shard int, requests []*Request) (Committed, error) {
	if err := readAhead(t, shard, requests, c.Numbers); err != nil {
		return Committed{}, err
	}
	x, err := c.begin(t, shard)
	if err != nil {
		return Committed{}, err
	}
	out := Committed{Results: make([]Result, len(requests))}
	for i, r := range requests {
		if out.Results[i], err = x.request(r); err != nil {
			return Committed{}, err
		}
	}
	out.Head, out.records = x.logHead, x.records
	return out, x.flush()
}

// commitTx is the state of one commit transaction: everything that it reads it reads once, and what it changes it
// writes once, in flush, but for the log records. Slices beside the maps keep the order of first touch, so that the
// same requests make the same writes.
type commitTx struct {
	core    Core
	t       kv.Txn
	shard   int
	tick    uint64
	logHead uint64
	records []stored // the log's new ones, up to logHead

	nodes      map[string]*node // nil: not registered
	producers  map[string]*producer
	tables     map[string]*tableState
	tableOrder []*tableState
	sequences  map[sequencesOf]*sequences
	seqOrder   []*sequences
	plain      map[plainOf]*plainKey
	plainOrder []*plainKey
	states     map[uint64]api.RecordState // of commit records that answers refer to

	scratch  []byte
	claims   []claim
	touched  []*sequences
	answers  []decided
	repeated []decided
}

type tableState struct {
	table
	name   string
	was    uint64 // the head as stored
	prints map[api.Fingerprint]bool
}

func (c Core) begin(t kv.Txn, shard int) (*commitTx, error) {
	x := &commitTx{
		core: c, t: t, shard: shard,
		nodes: make(map[string]*node), producers: make(map[string]*producer),
		tables: make(map[string]*tableState), sequences: make(map[sequencesOf]*sequences),
		plain: make(map[plainOf]*plainKey), states: make(map[uint64]api.RecordState),
	}
	var err error
	if x.tick, err = Ticks(t); err != nil {
		return nil, err
	}
	x.logHead, err = getNumber(t, appendNumbers(nil, kindLogHead, uint64(shard)))
	return x, err
}

// request decides one request: its epoch first, then its groups.
func (x *commitTx) request(r *Request) (Result, error) {
	n, seen := x.nodes[r.Node]
	if !seen {
		var err error
		if n, err = getNode(x.t, r.Node); err != nil {
			return Result{}, err
		}
		x.nodes[r.Node] = n
	}
	if err := fencedError(n, r.Node, r.Epoch); err != nil {
		return Result{Err: err}, nil
	}
	result := Result{Answers: make([]api.GroupAnswer, len(r.Groups))}
	for i := range r.Groups {
		var err error
		if result.Answers[i], err = x.group(r, &r.Groups[i]); err != nil {
			return Result{}, err
		}
	}
	return result, nil
}

// group decides one group: its producer, its own identity, its schema, then each of its writes.
func (x *commitTx) group(r *Request, g *Group) (api.GroupAnswer, error) {
	tbl, err := x.table(g.Table)
	if err != nil {
		return api.GroupAnswer{}, err
	}
	own, err := x.claim(tbl, &g.ID)
	switch {
	case err != nil:
		return api.GroupAnswer{}, err
	case own.verdict != 0:
		return refuseAll(g, own.verdict), nil
	case own.stored != nil:
		return x.firstAnswer(g, own.stored)
	}
	if known, err := x.knows(tbl, g.Fingerprint); err != nil || !known {
		return api.GroupAnswer{Err: api.Errorf(api.Unavailable,
			"the schema of table %s has no fingerprint %s", g.Table, g.Fingerprint)}, err
	}
	if fits, err := x.claimWrites(tbl, g, own); err != nil || !fits {
		return api.GroupAnswer{Err: api.OverloadedError(overloadedMS,
			"table %s: a producer has %d answers above settled", g.Table, api.AnswersMax)}, err
	}
	return x.decideGroup(r, g, tbl, own)
}

// overloadedMS is how long a writer is told to wait when a bound is reached.
const overloadedMS = 100

func refuseAll(g *Group, v api.Verdict) api.GroupAnswer {
	a := api.GroupAnswer{Writes: make([]api.Outcome, len(g.Writes))}
	for i := range a.Writes {
		a.Writes[i].Verdict = v
	}
	return a
}

// decideGroup decides the writes, and writes the record if one of them is accepted. x.claims has their identities.
func (x *commitTx) decideGroup(r *Request, g *Group, tbl *tableState, own claim) (api.GroupAnswer, error) {
	index := x.logHead + 1
	record := api.LogRecord{
		Table: g.Table, First: tbl.head + 1, State: g.State, Holders: g.Holders,
		Segment: api.SegmentID{Node: r.Node, Epoch: r.Epoch, Sequence: g.Segment},
		Offset:  g.Offset, Length: g.Length, CRC: g.CRC, Writes: uint32(len(g.Writes)),
	}
	pending := uint64(0) // the record's index, for the answers that must look at it again
	if g.State == api.Pending {
		pending = index
		x.states[index] = api.Pending
	}
	mask, accepted := make([]byte, (len(g.Writes)+7)/8), 0
	x.answers = x.answers[:0]
	for i := range g.Writes {
		d, fresh, err := x.decide(&g.Writes[i], &x.claims[i], tbl, pending)
		if err != nil {
			return api.GroupAnswer{}, err
		}
		if fresh {
			mask[i/8] |= 1 << (i % 8)
			accepted++
			record.Rows += uint64(g.Writes[i].Rows)
		}
		x.answers = append(x.answers, d)
	}
	if accepted > 0 {
		if accepted < len(g.Writes) {
			record.Mask = mask
		}
		x.append(&record, index)
	}
	if own.sequences != nil {
		own.sequences.put(g.ID.Sequence, encodeAnswer(x.answers))
	}
	return x.present(x.answers)
}

// decide answers one write; fresh says that it was accepted here and now. Identity comes before the lock: a repeat
// gets its first answer, not a false conflict.
func (x *commitTx) decide(
	w *api.WriteMeta, id *claim, tbl *tableState, pending uint64,
) (d decided, fresh bool, err error) {
	if id.verdict != 0 {
		return decided{Outcome: api.Outcome{Verdict: id.verdict}}, false, nil
	}
	if raw := id.answer(w); raw != nil {
		if x.repeated, err = decodeAnswer(x.repeated[:0], raw); err != nil {
			return d, false, err
		}
		if len(x.repeated) != 1 { // a group's answer under the number of a write
			return decided{Outcome: api.Outcome{Verdict: api.RefusedSettled}}, false, nil
		}
		return x.repeated[0], false, nil
	}
	if w.Locked && w.Expected != tbl.head {
		d.Outcome = api.Outcome{Verdict: api.RefusedConflict, Expected: w.Expected, Current: tbl.head}
	} else {
		tbl.head++
		d = decided{Outcome: api.Outcome{Verdict: api.Accepted, TxID: tbl.head}, record: pending}
		fresh = true
	}
	if id.any() {
		one := [1]decided{d}
		id.remember(w, encodeAnswer(one[:]))
	}
	return d, fresh, nil
}

// append writes a record at the log's end, and into the index of what is not confirmed.
func (x *commitTx) append(r *api.LogRecord, index uint64) {
	x.logHead = index
	x.scratch = appendLogKey(x.scratch[:0], x.shard, index)
	raw := api.AppendLogRecord(make([]byte, 0, 96+len(r.Table)+len(r.Mask)), r)
	x.t.Set(x.scratch, raw)
	x.records = append(x.records, stored{raw, r.State})
	if r.State == api.Pending {
		s := r.Segment
		x.scratch = appendUnstoredKey(x.scratch[:0], s.Node, s.Epoch, s.Sequence, x.shard, index)
		x.t.Set(x.scratch, unstored{since: x.tick}.encode())
	}
}

// firstAnswer answers a group that was decided before.
func (x *commitTx) firstAnswer(g *Group, raw []byte) (api.GroupAnswer, error) {
	var err error
	if x.answers, err = decodeAnswer(x.answers[:0], raw); err != nil {
		return api.GroupAnswer{}, err
	}
	if len(x.answers) != len(g.Writes) { // another group under the same number
		return refuseAll(g, api.RefusedSettled), nil
	}
	return x.present(x.answers)
}

// present makes an answer of what was decided, as the records stand now: a write whose record is pending must not be
// acknowledged at `object` yet, and one whose record is void is gone.
func (x *commitTx) present(ds []decided) (api.GroupAnswer, error) {
	a := api.GroupAnswer{Writes: make([]api.Outcome, len(ds))}
	for i, d := range ds {
		a.Writes[i] = d.Outcome
		if d.record == 0 {
			continue
		}
		state, err := x.recordState(d.record)
		if err != nil {
			return api.GroupAnswer{}, err
		}
		switch state {
		case api.Pending:
			a.Pending = true
		case api.Void:
			a.Writes[i] = api.Outcome{Verdict: api.RefusedVoided}
		}
	}
	return a, nil
}

func (x *commitTx) recordState(index uint64) (api.RecordState, error) {
	state, seen := x.states[index]
	if !seen {
		var err error
		if state, err = RecordState(x.t, x.shard, index); err != nil {
			return 0, err
		}
		x.states[index] = state
	}
	return state, nil
}

// table returns the state of a table, whose id is 0 if there is none.
func (x *commitTx) table(name string) (*tableState, error) {
	if s, seen := x.tables[name]; seen {
		return s, nil
	}
	tbl, err := getTable(x.t, name)
	if err != nil {
		return nil, err
	}
	s := &tableState{table: tbl, name: name, was: tbl.head, prints: make(map[api.Fingerprint]bool)}
	x.tables[name] = s
	x.tableOrder = append(x.tableOrder, s)
	return s, nil
}

// knows says whether a fingerprint names a schema of the table.
func (x *commitTx) knows(tbl *tableState, f api.Fingerprint) (bool, error) {
	n := uint64(f.Columns())
	if n > tbl.columns {
		return false, nil
	}
	known, seen := tbl.prints[f]
	if seen {
		return known, nil
	}
	x.scratch = appendColumnKey(x.scratch[:0], tbl.id, n-1)
	raw, err := x.t.Get(x.scratch)
	if err != nil {
		return false, err
	}
	c, err := decodeColumn(raw)
	if err != nil {
		return false, err
	}
	tbl.prints[f] = c.print == f
	return c.print == f, nil
}

// flush writes what has changed.
func (x *commitTx) flush() error {
	if len(x.records) > 0 {
		x.t.Set(appendNumbers(nil, kindLogHead, uint64(x.shard)), newValue(x.logHead))
	}
	for _, tbl := range x.tableOrder {
		if tbl.head != tbl.was {
			x.t.Set(appendName(nil, kindTable, tbl.name), tbl.encode())
		}
	}
	for _, s := range x.seqOrder {
		x.flushSequences(s)
	}
	for _, p := range x.plainOrder {
		x.flushPlain(p)
	}
	return nil
}
