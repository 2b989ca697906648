package sequencer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// TestNodeOfVersion1IsRead: what an earlier version of Braid wrote of a node. Never change these bytes.
func TestNodeOfVersion1IsRead(t *testing.T) {
	raw, err := hex.DecodeString("010300077072696d617279046c6976650b3132372e302e302e313a3900016d0161")
	if err != nil {
		t.Fatal(err)
	}
	n, err := decodeNode("p1", raw)
	want := node{Node: api.Node{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 3, HTTP: "127.0.0.1:9"},
		mark: "m", attempt: "a", configured: api.Primary}
	if err != nil || n != want {
		t.Fatalf("%+v, %v", n, err)
	}
	if again, err := decodeNode("p1", n.encode()); err != nil || again != want {
		t.Fatalf("written anew: %+v, %v", again, err)
	}
	for _, damaged := range [][]byte{raw[:len(raw)-1], append([]byte{3}, raw[1:]...), append([]byte{2}, raw[1:]...)} {
		if _, err := decodeNode("p1", damaged); err == nil {
			t.Errorf("%x passed", damaged)
		}
	}
}

// membership drives random decisions about a few nodes, many of them refused.
type membership struct {
	*world
	r       *rand.Rand
	attempt int
	epochs  map[string]uint64 // what each node's newest process was given
	given   map[uint64]bool
}

func (m *membership) step() string {
	ids := []string{"p1", "r1", "r2"}
	id, other := ids[m.r.IntN(3)], ids[m.r.IntN(3)]
	before := m.topology()
	version := before.Version - uint64(m.r.IntN(8)/7)
	n, _ := before.Node(id)
	var what string
	err := m.try(func(x kv.Txn) (err error) {
		switch m.r.IntN(12) {
		case 0:
			what, err = "register", m.register(x, id)
		case 1, 2, 3, 4:
			to := []api.State{api.Live, api.Live, api.Live, api.Draining, api.Stopped}[m.r.IntN(5)]
			what = string(to)
			_, err = m.core.SetNodeState(x, api.NodeStateRequest{ID: id, Epoch: m.epochs[id], State: to})
		case 5:
			what = "fail"
			if m.r.IntN(4) == 0 {
				other = ""
			}
			r := api.FailNodeRequest{ID: id, Epoch: n.Epoch, Version: version, StandIn: other}
			_, err = m.core.FailNode(x, r)
		case 6, 7, 8, 9:
			what = "standin"
			_, err = m.core.StandIn(x, api.StandInRequest{ID: id, StandIn: other, Version: version})
		case 10:
			what = "promote"
			if m.r.IntN(4) > 0 {
				_, err = m.core.Demote(x, api.RoleRequest{ID: id, Version: version})
			} else {
				_, err = m.core.Promote(x, api.RoleRequest{ID: id, Version: version})
			}
		case 11:
			what = "remove"
			_, err = m.core.Remove(x, api.RemoveRequest{ID: id, Version: version})
		}
		return err
	})
	return fmt.Sprintf("%s %s %s at %d: %v", what, id, other, version, err)
}

func (m *membership) register(x kv.Txn, id string) error {
	role := api.Primary
	if id[0] == 'r' {
		role = api.Replica
	}
	m.attempt++
	a, err := m.core.RegisterNode(x, api.RegisterNodeRequest{ID: id, Role: role, Mark: id, Attempt: fmt.Sprint(m.attempt)})
	if m.given[a.Epoch] {
		return fmt.Errorf("epoch %d was given twice", a.Epoch)
	}
	m.given[a.Epoch], m.epochs[id] = true, a.Epoch
	return err
}

func (m *membership) topology() (t api.Topology) {
	m.view(func(r kv.Reader) (err error) { t, err = Topology(r); return err })
	return t
}

// check compares two topologies, one decision apart.
func (m *membership) check(before, after api.Topology) error {
	changed := fmt.Sprint(before.Nodes) != fmt.Sprint(after.Nodes)
	if changed != (before.Version < after.Version) {
		return fmt.Errorf("version %d became %d", before.Version, after.Version)
	}
	taken := map[string]bool{}
	for _, n := range after.Nodes {
		if n.StandsInFor == "" {
			continue
		}
		failed, known := after.Node(n.StandsInFor)
		gone := n.State == api.Dead || n.State == api.Stopped
		if !known || failed.State == api.Live || n.Role != api.Primary || taken[n.StandsInFor] || gone {
			return fmt.Errorf("%+v stands in for %+v", n, failed)
		}
		taken[n.StandsInFor] = true
	}
	return nil
}

// TestI6_MembershipInAnyOrder: whatever is decided, in whatever order, every change is a new version, no epoch is given
// twice, a primary has one stand-in at most, only while it is not live, and that one is a primary.
func TestI6_MembershipInAnyOrder(t *testing.T) {
	for seed := range uint64(40) {
		m := &membership{world: newMemoryWorld(t), r: rand.New(rand.NewPCG(seed, 1)),
			epochs: map[string]uint64{}, given: map[uint64]bool{}}
		for range 300 {
			before := m.topology()
			what := m.step()
			if err := m.check(before, m.topology()); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, what, err)
			}
		}
	}
}

// TestFailureIsPublished: the topology after a change is announced, and the same request again is refused with the
// version that there is now.
func TestFailureIsPublished(t *testing.T) {
	c := startCluster(t, memory.New(memory.Options{}), 1)
	topology, err := c.seq.Topology(c.ctx())
	if err != nil {
		t.Fatal(err)
	}
	heard, err := c.nc.SubscribeSync(api.Subjects{}.Topology())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := api.FailNodeRequest{ID: "p1", Epoch: c.epoch, Version: topology.Version}
	a, err := c.seq.FailNode(c.ctx(), r)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := heard.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var published api.Topology
	if err := json.Unmarshal(msg.Data, &published); err != nil {
		t.Fatal(err)
	}
	if n, _ := published.Node("p1"); n.State != api.Dead || published.Version != a.Topology.Version {
		t.Errorf("published %+v", published)
	}
	_, err = c.seq.FailNode(c.ctx(), r)
	if e := api.AsError(err); e.Name != api.Conflict || *e.Expected != r.Version || *e.Current != a.Topology.Version {
		t.Errorf("a second time: %v", err)
	}
	answer, err := c.seq.Lease(context.Background(), api.LeaseRequest{Name: api.FailoverLease, Holder: "f1"})
	if err != nil || !answer.Bumped || answer.Lease.Counter != 1 {
		t.Errorf("lease: %+v, %v", answer, err)
	}
}
