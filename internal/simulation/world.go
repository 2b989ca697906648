// Package simulation runs the services' code in the world of internal/sim: sequencers on one store, primaries and
// replicas on disks that crash, an object store that fails, a network that loses, and clients that retry. One seed is
// one run. At its end faults are over, the cluster must come to rest, and what clients and nodes saw is judged.
//
// What is real: the sequencer's core on the memory store; gateways from the payload to its answer (gateway.Machine);
// primaries and replicators with their segments, object store requests and tables (primary.Machine, primary.Settle,
// replicator.Machine); nodes' lives and failover (member.Life, failover.Machine); groups and their bytes, and the
// messages of commits. What is written anew here, thin: processes' start and end, the sequencer's queue, timers, and clients that write to gateways and primaries as the SDK does.
//
// It does not promise anything about HTTP, NATS, or repair by a scrub.
package simulation

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/internal/sim"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// Result is what became of a seed.
type Result struct {
	Seed       uint64
	Hash       uint64 // of the trace
	Events     int
	Violations []history.Violation
	Fired      map[sim.Fault]int
	Writes     map[history.Outcome]int
	Changes    map[Change]int
}

// Options of a run.
type Options struct {
	Bug   Bug          // planted; "" in a run that is meant to pass
	Story func(string) // is told the trace, line by line
}

// world is one run.
type world struct {
	e       *sim.Engine
	chaos   *sim.Chaos
	net     *sim.Network
	objects *sim.Objects
	store   *watched
	bug     Bug
	log     *slog.Logger

	shards     int
	wal        float64 // how often a write is at durability `wal`
	walCopies  int
	core       sequencer.Core
	sequencers []*sequencerProcess
	nodes      []*node
	burnt      map[string]*node // that have lost their disks
	failovers  []*failoverProcess
	gateways   []*gatewayProcess
	clients    []*client
	apps       []*application
	tables     []string

	judge
	over    bool // faults are
	quiet   bool // everything has come to rest since
	doubles bool // the network does

	// What planted bugs remember.
	registrations map[[2]any]set // of nodes, by epoch
	repeated      map[string]int // frames
}

// Run runs a seed.
func Run(seed uint64, o Options) Result {
	w := newWorld(seed, o)
	defer w.e.Close()
	w.start()
	w.faults()
	w.e.Run(w.e.Between(4*time.Second, 12*time.Second), w.bad)
	if !w.bad() {
		w.settle()
	}
	for _, a := range w.apps {
		a.judge()
	}
	w.compare()
	r := Result{Seed: seed, Hash: w.e.Hash(), Violations: w.violations, Fired: w.chaos.Fired,
		Changes: w.changes, Writes: make(map[history.Outcome]int)}
	for _, t := range w.history {
		for i := range t.Writes {
			r.Writes[t.Writes[i].Outcome]++
		}
	}
	return r
}

func newWorld(seed uint64, o Options) *world {
	e := sim.New(seed, o.Story)
	w := &world{e: e, chaos: sim.NewChaos(e), bug: o.Bug, log: slog.New(slog.DiscardHandler),
		burnt: make(map[string]*node), registrations: make(map[[2]any]set), repeated: make(map[string]int)}
	o.Bug.force(w.chaos)
	w.net, w.objects = sim.NewNetwork(e, w.chaos), sim.NewObjects(e, w.chaos, o.Bug.disk)
	w.shards = 1 + e.Rand.IntN(3)
	w.core = sequencer.Core{Shards: w.shards, KeyWindow: 1 << 20, ProducerIdle: 1 << 20}
	w.doubles = w.chaos.Exists(sim.Double)
	if w.chaos.Exists(sim.Expire) {
		w.core.ProducerIdle = 2 + e.Rand.Uint64N(4)
	}
	w.judge = newJudge(w)
	w.store = &watched{w: w, Store: memory.New(memory.Options{
		Inject: w.storeFault, Sleep: w.storeSleep, Shards: w.shards,
	})}
	for i := range 1 + e.Rand.IntN(3) {
		w.tables = append(w.tables, fmt.Sprintf("t%d", i))
	}
	for _, f := range w.chaos.Kinds() {
		e.Trace("faults", "%s", f)
	}
	return w
}

func (w *world) start() {
	for i := range 1 + w.e.Rand.IntN(2) {
		s := &sequencerProcess{w: w, id: fmt.Sprintf("s%d", i+1)}
		w.sequencers = append(w.sequencers, s)
		s.start()
	}
	cfg := w.drawFailover()
	for i := range 2 + w.e.Rand.IntN(2) {
		f := &failoverProcess{w: w, id: fmt.Sprintf("f%d", i+1), cfg: cfg}
		f.start()
		w.failovers = append(w.failovers, f)
	}
	primaries := 1 + w.e.Rand.IntN(3)
	for i := range primaries + w.e.Rand.IntN(3) {
		n := &node{w: w, id: fmt.Sprintf("p%d", i+1), role: api.Primary, disk: sim.NewDisk(w.e, w.chaos)}
		if i >= primaries {
			n.id, n.role = fmt.Sprintf("r%d", i-primaries+1), api.Replica
		}
		n.mark = "disk of " + n.id
		n.draw()
		w.nodes = append(w.nodes, n)
		n.start()
	}
	w.drawWAL()
	w.startOperator()
	for i := range 1 + w.e.Rand.IntN(2) {
		g := newGateway(w, fmt.Sprintf("g%d", i+1))
		w.gateways = append(w.gateways, g)
		g.start()
	}
	for i := range 1 + w.e.Rand.IntN(4) {
		c := newClient(w, fmt.Sprintf("c%d", i+1))
		w.clients = append(w.clients, c)
	}
	for i := range w.e.Rand.IntN(3) {
		w.apps = append(w.apps, newApplication(w, fmt.Sprintf("a%d", i+1)))
	}
}

// patience is how long anyone waits for an answer.
func (w *world) patience() time.Duration { return w.e.Between(300*time.Millisecond, 2*time.Second) }

// settle ends the faults and waits until everything has come to rest.
func (w *world) settle() {
	w.over = true
	w.chaos.End()
	w.net.Heal()
	w.e.Trace("faults", "are over")
	w.rest()
	if !w.bad() && (w.e.Rand.IntN(3) == 0 || w.bug.needsFailover()) {
		w.failOver()
		w.rest()
	}
}

func (w *world) rest() {
	rested := w.bad()
	w.e.After(0, func() { w.look(&rested) })
	w.e.Run(w.e.Now()+3*time.Minute, func() bool { return rested || w.bad() })
	if !rested && !w.bad() {
		w.fail(history.Violation{Invariant: 2, Check: "convergence", Detail: "a long time after the faults: " + w.unrest()})
	}
}

func (w *world) look(rested *bool) {
	if *rested = w.unrest() == ""; !*rested {
		w.e.After(100*time.Millisecond, func() { w.look(rested) })
	}
}

// unrest says what is still to be done; "" if nothing is.
func (w *world) unrest() string {
	for _, c := range w.clients {
		if !c.done {
			return c.name + " still writes"
		}
	}
	if n := len(w.pending); n > 0 {
		r := &w.records[w.pending[0]]
		return fmt.Sprintf("%d records are pending, one of table %s, TxID %d, segment %s", n, r.Table, r.First, r.Segment)
	}
	for _, a := range w.apps {
		if s := a.unrest(); s != "" {
			return s
		}
	}
	for _, n := range w.nodes {
		if n.p.Dead() || n.replicator == nil {
			return "node " + n.id + " does not run"
		}
		for shard := range w.shards {
			if n.replicator.Tables().Position(shard) != w.heads[shard] || n.replicator.Lag() > 0 {
				return fmt.Sprintf("node %s lags by %d records", n.id, n.replicator.Lag())
			}
		}
		if n.replicator.Pending() {
			return "tables of node " + n.id + " stand at pending records"
		}
		if n.part != nil && n.part.m.Load().Fraction > 0 {
			return "primary " + n.id + " has undecided groups"
		}
	}
	return w.misplaced()
}

// sequencer returns one that is asked; nil if none lives.
func (w *world) sequencer() *sequencerProcess {
	first := w.e.Rand.IntN(len(w.sequencers))
	for i := range w.sequencers {
		if s := w.sequencers[(first+i)%len(w.sequencers)]; !s.p.Dead() && s.open {
			return s
		}
	}
	return nil
}

var _ kv.Store = (*watched)(nil)
