package sequencer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// oracle is the sequencer as one would write it without a store: maps, and no thought of size.
type oracle struct {
	core      Core
	tick      uint64
	epoch     uint64
	nodes     map[string]uint64
	producers map[string]*oracleProducer
	plain     map[string]oraclePlain // by table and key
	heads     map[string]uint64
	log       []api.LogRecord
}

type oracleProducer struct {
	epoch, renewed uint64
	tables         map[string]*oracleNumbers
}

type oracleNumbers struct {
	settled uint64
	answers map[uint64][]api.Outcome
}

type oraclePlain struct {
	expires uint64
	outcome api.Outcome
}

func newOracle(c Core) *oracle {
	return &oracle{core: c, nodes: map[string]uint64{}, producers: map[string]*oracleProducer{},
		plain: map[string]oraclePlain{}, heads: map[string]uint64{}}
}

func (o *oracle) registerNode(id string) uint64 {
	o.epoch++
	o.nodes[id] = o.epoch
	return o.epoch
}

func (o *oracle) registerProducer(id string) (epoch uint64, known bool) {
	o.epoch++
	p, known := o.producers[id]
	if !known {
		p = &oracleProducer{tables: map[string]*oracleNumbers{}}
		o.producers[id] = p
	}
	p.epoch, p.renewed = o.epoch, o.tick
	return o.epoch, known
}

func (o *oracle) sweep() {
	for id, p := range o.producers {
		if p.renewed+o.core.ProducerIdle <= o.tick {
			delete(o.producers, id)
		}
	}
}

// identity returns where a sequence's answer is kept; a verdict instead if it is refused.
func (o *oracle) identity(table string, id api.ProducerSeq) (*oracleNumbers, api.Verdict) {
	p, ok := o.producers[id.Producer]
	if !ok {
		return nil, api.RefusedExpired
	}
	if o.tick > p.renewed+o.core.ProducerIdle/20 {
		p.renewed = o.tick
	}
	switch {
	case id.Epoch > p.epoch:
		return nil, api.RefusedExpired
	case id.Epoch < p.epoch:
		return nil, api.RefusedFenced
	}
	n := p.tables[table]
	if n == nil {
		n = &oracleNumbers{answers: map[uint64][]api.Outcome{}}
		p.tables[table] = n
	}
	n.settled = max(n.settled, id.Settled)
	if id.Sequence <= n.settled {
		return nil, api.RefusedSettled
	}
	return n, 0
}

func (o *oracle) group(node string, epoch uint64, g *Group) []api.Outcome {
	out := make([]api.Outcome, len(g.Writes))
	var own *oracleNumbers
	if !g.ID.None() {
		n, verdict := o.identity(g.Table, g.ID)
		if verdict != 0 {
			for i := range out {
				out[i].Verdict = verdict
			}
			return out
		}
		if first, ok := n.answers[g.ID.Sequence]; ok {
			return first
		}
		own = n
	}
	r := api.LogRecord{Index: uint64(len(o.log) + 1), Table: g.Table, First: o.heads[g.Table] + 1,
		Segment: api.SegmentID{Node: node, Epoch: epoch, Sequence: g.Segment}, Length: g.Length, CRC: g.CRC,
		Writes: uint32(len(g.Writes)), State: g.State, Mask: make([]byte, (len(g.Writes)+7)/8)}
	for i := range g.Writes { // settled counts from the beginning of a group
		if w := &g.Writes[i]; !w.ID.None() {
			o.identity(g.Table, w.ID)
		}
	}
	accepted := 0
	for i := range g.Writes {
		w, fresh := &g.Writes[i], false
		if out[i], fresh = o.write(g.Table, w); fresh {
			accepted++
			r.Mask[i/8] |= 1 << (i % 8)
			r.Rows += uint64(w.Rows)
		}
	}
	if accepted == len(out) {
		r.Mask = nil
	}
	if accepted > 0 {
		o.log = append(o.log, r)
	}
	if own != nil {
		own.answers[g.ID.Sequence] = out
	}
	return out
}

func (o *oracle) write(table string, w *api.WriteMeta) (api.Outcome, bool) {
	var numbers *oracleNumbers
	key := table + "/" + w.Key
	if !w.ID.None() {
		n, verdict := o.identity(table, w.ID)
		if verdict != 0 {
			return api.Outcome{Verdict: verdict}, false
		}
		if first, ok := n.answers[w.ID.Sequence]; ok {
			return first[0], false
		}
		numbers = n
	} else if p, ok := o.plain[key]; ok && w.Key != "" && p.expires > o.tick {
		return p.outcome, false
	}
	out, fresh := api.Outcome{Verdict: api.RefusedConflict, Expected: w.Expected, Current: o.heads[table]}, false
	if !w.Locked || w.Expected == o.heads[table] {
		o.heads[table]++
		out, fresh = api.Outcome{Verdict: api.Accepted, TxID: o.heads[table]}, true
	}
	if numbers != nil {
		numbers.answers[w.ID.Sequence] = []api.Outcome{out}
	} else if w.Key != "" {
		o.plain[key] = oraclePlain{o.tick + o.core.KeyWindow, out}
	}
	return out, fresh
}

// history is what the outside may check without any oracle, of writes that have a producer's identity: it is theirs
// alone, which a plain key is not.
type history struct {
	t     *testing.T
	told  map[string]api.Outcome // the first final answer of each write
	taken map[string]string      // table and TxID to the write that has it
}

func (h *history) note(table string, w *api.WriteMeta, o api.Outcome) {
	if w.ID.None() || o.Verdict != api.Accepted && o.Verdict != api.RefusedConflict {
		return
	}
	by := fmt.Sprintf("%s/%s/%d", table, w.ID.Producer, w.ID.Sequence)
	if first, ok := h.told[by]; ok && first != o {
		h.t.Errorf("invariant 3: %s was told %+v, then %+v", by, first, o)
	}
	h.told[by] = o
	if o.Verdict != api.Accepted {
		return
	}
	place := fmt.Sprintf("%s/%d", table, o.TxID)
	if other, ok := h.taken[place]; ok && other != by {
		h.t.Errorf("invariant 1: TxID %s belongs to %s and to %s", place, other, by)
	}
	h.taken[place] = by
	if w.Locked && o.TxID != w.Expected+1 {
		h.t.Errorf("invariant 5: %s expected %d and got TxID %d", by, w.Expected, o.TxID)
	}
}

// driver makes requests as clients, gateways and primaries would, and sends old ones again.
type driver struct {
	*world
	rnd     *rand.Rand
	oracle  *oracle
	history *history
	prints  map[string]api.Fingerprint
	epochs  map[string]uint64            // of nodes and producers
	next    map[string]map[string]uint64 // producer, table: the next sequence
	settled map[string]map[string]uint64
	sent    []*Request
	keys    int
}

var (
	driverTables = []string{"cpu", "mem"}
	driverNodes  = []string{"p1", "p2"}
	gateways     = []string{"g1", "g2"}
	clients      = []string{"c1", "c2", "c3"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (d *driver) update(f func(kv.Txn) error) {
	for {
		if err := d.try(f); !errors.Is(err, kv.ErrUnknown) {
			if err != nil {
				d.t.Fatal(err)
			}
			return
		}
	}
}

func (d *driver) registerNode(id string) {
	var a api.RegisterNodeAnswer
	q := api.RegisterNodeRequest{ID: id, Role: api.Primary, Mark: id, Attempt: fmt.Sprint(d.rnd.Uint64())}
	d.update(func(x kv.Txn) (err error) { a, err = d.core.RegisterNode(x, q); return err })
	if want := d.oracle.registerNode(id); a.Epoch != want {
		d.t.Fatalf("node %s: epoch %d, want %d", id, a.Epoch, want)
	}
	d.epochs[id] = a.Epoch
}

func (d *driver) registerProducer(id string) {
	var a api.RegisterProducerAnswer
	q := api.RegisterProducerRequest{ID: id, Attempt: fmt.Sprint(d.rnd.Uint64())}
	d.update(func(x kv.Txn) (err error) { a, err = d.core.RegisterProducer(x, q); return err })
	if epoch, known := d.oracle.registerProducer(id); a.Epoch != epoch || a.Known != known {
		d.t.Fatalf("producer %s: %+v, want epoch %d, known %v", id, a, epoch, known)
	}
	d.epochs[id] = a.Epoch
	if !a.Known || d.next[id] == nil { // numbers anew
		d.next[id], d.settled[id] = map[string]uint64{}, map[string]uint64{}
	}
}

// number is a producer's next identity for a table. What it has sent before this request has its answer.
func (d *driver) number(producer, table string) api.ProducerSeq {
	d.next[producer][table]++
	return api.ProducerSeq{Producer: producer, Epoch: d.epochs[producer], Sequence: d.next[producer][table],
		Settled: d.settled[producer][table]}
}

func (d *driver) newWrite(table string) api.WriteMeta {
	w := api.WriteMeta{Rows: 1 + uint32(d.rnd.IntN(9))}
	if d.rnd.IntN(3) == 0 {
		w.Locked, w.Expected = true, d.oracle.heads[table]+uint64(d.rnd.IntN(2))
	}
	switch d.rnd.IntN(3) {
	case 0:
		w.ID = d.number(pick(d.rnd, clients), table)
	case 1:
		if d.rnd.IntN(2) == 0 || d.keys == 0 {
			d.keys++
		}
		w.Key = fmt.Sprintf("k%d", 1+d.rnd.IntN(d.keys))
	}
	return w
}

func (d *driver) newGroup() api.GroupHeader {
	h := api.GroupHeader{Table: pick(d.rnd, driverTables)}
	h.Fingerprint = d.prints[h.Table]
	if d.rnd.IntN(4) > 0 {
		h.ID = d.number(pick(d.rnd, gateways), h.Table)
	}
	for range 1 + d.rnd.IntN(4) {
		w := d.newWrite(h.Table)
		if d.rnd.IntN(4) == 0 && len(d.sent) > 0 { // a client sends a write again, through another gateway
			old := pick(d.rnd, pick(d.rnd, d.sent).Groups)
			if again := pick(d.rnd, old.Writes); old.Table == h.Table && !again.ID.None() {
				w = again
				if d.rnd.IntN(2) == 0 { // from its next process, which found the write on its disk
					w.ID.Epoch = d.epochs[w.ID.Producer]
				}
			}
		}
		if h.ID.None() && w.ID.None() && w.Key == "" {
			w.Key = "plain"
		}
		h.Writes = append(h.Writes, w)
	}
	return h
}

func (d *driver) newRequest() *Request {
	node := pick(d.rnd, driverNodes)
	r := api.CommitRequest{Node: node, Epoch: d.epochs[node]}
	for range 1 + d.rnd.IntN(3) {
		r.Groups = append(r.Groups, group(d.newGroup(), 1+d.rnd.Uint64N(5)))
	}
	return d.request(r)
}

// commit sends a request until its outcome is known, and compares each answer with the oracle's.
func (d *driver) commit(r *Request) {
	var out Committed
	d.update(func(x kv.Txn) (err error) { out, err = d.core.Commit(x, 0, []*Request{r}); return err })
	result := out.Results[0]
	if d.oracle.nodes[r.Node] != r.Epoch {
		if !api.IsName(result.Err, api.Fenced) {
			d.t.Fatalf("invariant 6: epoch %d of %s is fenced, but: %+v", r.Epoch, r.Node, result)
		}
		return
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		want := d.oracle.group(r.Node, r.Epoch, g)
		if got := result.Answers[i]; got.Err != nil || got.Pending || !reflect.DeepEqual(got.Writes, want) {
			d.t.Fatalf("group %d of %+v:\ngot  %+v\nwant %+v", i, r, got, want)
		}
		for j := range g.Writes {
			d.history.note(g.Table, &g.Writes[j], want[j])
		}
	}
}

// settle lets the producers know that everything they have sent is answered, as it is between requests.
func (d *driver) settle(producer string) {
	for table, n := range d.next[producer] {
		d.settled[producer][table] = n - min(n, uint64(d.rnd.IntN(3)))
	}
}

func (d *driver) sweep() {
	d.update(func(x kv.Txn) error {
		now, err := Ticks(x)
		if err != nil {
			return err
		}
		_, keys := sweepKeys(x, now, 1000)
		_, producers := sweepProducers(x, now, 1000)
		_, leftovers := sweepLeftovers(x, now, 1+d.rnd.IntN(5))
		return errors.Join(keys, producers, leftovers)
	})
	d.oracle.sweep()
}

func (d *driver) step() {
	switch n := d.rnd.IntN(100); {
	case n < 2:
		d.registerNode(pick(d.rnd, driverNodes))
	case n < 4:
		d.registerProducer(pick(d.rnd, clients))
	case n < 8:
		d.settle(pick(d.rnd, append(gateways, clients...)))
	case n < 12:
		for range d.rnd.IntN(40) {
			d.update(func(x kv.Txn) error { x.Set(appendNumbers(nil, kindTick), newValue(d.oracle.tick+1)); return nil })
			d.oracle.tick++
		}
	case n < 15:
		d.sweep()
	case n < 40 && len(d.sent) > 0:
		d.commit(pick(d.rnd, d.sent)) // a late copy, maybe of a fenced epoch
	default:
		r := d.newRequest()
		d.sent = append(d.sent, r)
		d.commit(r)
	}
}

// TestI1I3I5I6_AgainstAnOracle runs random requests, repeats and registrations on a store that conflicts and loses
// results, and compares every answer and the whole log with the oracle's.
func TestI1I3I5I6_AgainstAnOracle(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runOracle(t, seed, 400, 1_000_000) })
	}
}

// TestI3_AgainstAnOracleWithExpiry does the same with producers that are forgotten soon.
func TestI3_AgainstAnOracleWithExpiry(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runOracle(t, 100+seed, 400, 60) })
	}
}

func runOracle(t *testing.T, seed uint64, steps int, idle uint64) {
	faults := rand.New(rand.NewPCG(seed, 1))
	faulty := false
	store := memory.New(memory.Options{Inject: func(uint64) memory.Fault {
		if !faulty {
			return memory.Fault{}
		}
		return memory.Fault{Conflict: faults.IntN(8) == 0, TooOld: max(0, faults.IntN(80)-60),
			Unknown: memory.Unknown(max(0, faults.IntN(12)-9))}
	}})
	w := newWorld(t, store)
	w.core.KeyWindow, w.core.ProducerIdle = 50, idle
	d := &driver{world: w, rnd: rand.New(rand.NewPCG(seed, 2)), oracle: newOracle(w.core),
		prints:  map[string]api.Fingerprint{},
		history: &history{t: t, told: map[string]api.Outcome{}, taken: map[string]string{}},
		epochs:  map[string]uint64{}, next: map[string]map[string]uint64{}, settled: map[string]map[string]uint64{}}
	for _, table := range driverTables {
		d.prints[table] = w.schema(table, "v", api.Int64)
	}
	faulty = true
	for _, id := range driverNodes {
		d.registerNode(id)
	}
	for _, id := range append(gateways, clients...) {
		d.registerProducer(id)
	}
	for range steps {
		if idle < 1_000_000 { // a producer that is forgotten numbers anew: outside the history's checks
			d.history.told, d.history.taken = map[string]api.Outcome{}, map[string]string{}
		}
		d.step()
	}
	faulty = false
	if got := d.log(); !reflect.DeepEqual(got, d.oracle.log) && len(got)+len(d.oracle.log) > 0 {
		t.Errorf("the log differs from the oracle's")
	}
	checkDense(t, d.log(), d.oracle.heads)
}

// checkDense: invariant 1, from the log alone.
func checkDense(t *testing.T, log []api.LogRecord, heads map[string]uint64) {
	t.Helper()
	next := map[string]uint64{}
	for i, r := range log {
		if r.Index != uint64(i+1) || r.First != next[r.Table]+1 {
			t.Fatalf("record %d of %s: index %d, first TxID %d after %d", i, r.Table, r.Index, r.First, next[r.Table])
		}
		next[r.Table] = r.Last()
	}
	for table, head := range heads {
		if next[table] != head {
			t.Errorf("table %s: the log ends at TxID %d, the head is %d", table, next[table], head)
		}
	}
}
