package topology_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/topology"
)

// TestScenarios runs the scripts in testdata. Commands:
//
//	topology version=N          one node a line: id role state epoch [http] [standsin=id]
//	heartbeat at=MS             one heartbeat a line: id role state epoch [load=F] [free=N] [senders=N] [lag=N] [http=A] [unable]
//	show at=MS                  candidates, reader, and whether the view is stale and settled
//	node id=ID                  address and stand-in of a node
//	begin id=NAME node=ID [epoch=N] at=MS    a request is sent; without an epoch, to the process that is known
//	end id=NAME
//	sweep at=MS                 what is given up, and who is to be asked
//	answered node=ID at=MS      it has answered something
//	noresponders node=ID        nobody listens there
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		v, start := topology.NewView(), time.Unix(0, 0)
		open := requests{all: map[string]*topology.Request{}}
		at := func(d *datadriven.TestData) time.Time {
			var ms int
			d.ScanArgs(t, "at", &ms)
			return start.Add(time.Duration(ms) * time.Millisecond)
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "topology":
				topo := api.Topology{Shards: 1}
				d.ScanArgs(t, "version", &topo.Version)
				for line := range strings.Lines(d.Input) {
					topo.Nodes = append(topo.Nodes, parseNode(t, line))
				}
				return fmt.Sprintf("newer: %v\n", v.SetTopology(topo))
			case "heartbeat":
				for line := range strings.Lines(d.Input) {
					v.Heard(parseBeat(t, line), at(d))
				}
				return ""
			case "show":
				return show(v, at(d))
			case "node":
				var id string
				d.ScanArgs(t, "id", &id)
				addr, ok := v.Address(id)
				return fmt.Sprintf("member: %v address: %q stand-in: %q\n", ok, addr, v.StandIn(id))
			case "begin":
				open.begin(t, v, d, at(d))
				return ""
			case "end":
				open.open.End(open.all[name(t, d, "id")])
				return ""
			case "sweep":
				return open.sweep(v, at(d))
			case "answered":
				v.Answered(name(t, d, "node"), at(d))
				return ""
			case "noresponders":
				v.NoResponders(name(t, d, "node"))
				return ""
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// requests are those that a script has open.
type requests struct {
	open    topology.Open
	all     map[string]*topology.Request
	givenUp []string
}

func name(t *testing.T, d *datadriven.TestData, key string) (s string) {
	d.ScanArgs(t, key, &s)
	return s
}

func (r *requests) begin(t *testing.T, v *topology.View, d *datadriven.TestData, now time.Time) {
	id, node := name(t, d, "id"), name(t, d, "node")
	giveUp := func() { r.givenUp = append(r.givenUp, id) }
	if !d.HasArg("epoch") {
		r.all[id] = r.open.BeginAt(v, node, now, giveUp)
		return
	}
	var epoch uint64
	d.ScanArgs(t, "epoch", &epoch)
	r.all[id] = r.open.Begin(node, epoch, now, giveUp)
}

func (r *requests) sweep(v *topology.View, now time.Time) string {
	r.givenUp = nil
	r.open.GiveUp(v, now)
	ask := r.open.Ask(v, now)
	return fmt.Sprintf("%d open, given up: %v, ask: %v\n", r.open.Len(), r.givenUp, ask)
}

func show(v *topology.View, now time.Time) string {
	var b strings.Builder
	for _, c := range v.Candidates(now) {
		fmt.Fprintf(&b, "candidate %s epoch %d load %.2f free %d senders %d http %q\n",
			c.ID, c.Epoch, c.Load, c.FreeBytes, c.Senders, c.HTTP)
	}
	for _, n := range []string{"p1", "p2", "r1"} {
		if why := v.Outdone(n, now); why != "" {
			fmt.Fprintf(&b, "%s is outdone: %s\n", n, why)
		}
		for epoch := uint64(5); epoch <= 9; epoch++ {
			if v.Answers(n, epoch, now) {
				fmt.Fprintf(&b, "%s still answers under epoch %d\n", n, epoch)
			}
		}
	}
	if n, ok := v.Reader(now); ok {
		fmt.Fprintf(&b, "reader %s http %q", n.ID, n.HTTP)
		for _, other := range v.Readers(now)[1:] {
			fmt.Fprintf(&b, ", then %s", other.ID)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "stale: %v settled: %v\n", v.Stale(now), v.Settled(now))
	return b.String()
}

func parseNode(t *testing.T, line string) api.Node {
	f := strings.Fields(line)
	n := api.Node{ID: f[0], Role: api.Role(f[1]), State: api.State(f[2]), Epoch: number(t, f[3])}
	for _, arg := range f[4:] {
		if id, ok := strings.CutPrefix(arg, "standsin="); ok {
			n.StandsInFor = id
		} else {
			n.HTTP = arg
		}
	}
	return n
}

func parseBeat(t *testing.T, line string) api.Heartbeat {
	f := strings.Fields(line)
	h := api.Heartbeat{ID: f[0], Role: api.Role(f[1]), State: api.State(f[2]), Epoch: number(t, f[3])}
	for _, arg := range f[4:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "load":
			load, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			h.Load = load
		case "free":
			h.FreeBytes = int64(number(t, value))
		case "senders":
			h.Senders = int(number(t, value))
		case "lag":
			h.Lag = number(t, value)
		case "http":
			h.HTTP = value
		case "unable":
			h.Unable = "cut off"
		default:
			t.Fatalf("unknown argument %s", arg)
		}
	}
	return h
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestI7_HeartbeatsAreBounded: a sender that invents ids cannot make the view grow forever.
func TestI7_HeartbeatsAreBounded(t *testing.T) {
	v := topology.NewView()
	now := time.Unix(0, 0)
	v.SetTopology(api.Topology{Version: 1, Nodes: []api.Node{
		{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1}}})
	for i := range 10_000 {
		v.Heard(api.Heartbeat{ID: fmt.Sprintf("x%d", i), Epoch: 1}, now)
	}
	later := now.Add(topology.HeartbeatMax)
	v.Heard(api.Heartbeat{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1}, later)
	if _, ok := v.Candidate("p1", later); !ok {
		t.Fatal("p1 is not a candidate after the invented ids went silent")
	}
}
