// Package topology is what a sender knows of the cluster: the newest topology, the last heartbeat
// of each node, and who may be written to or read from now. It is a pure value: time comes in as an
// argument, and it knows nothing of NATS. It does not promise that a candidate still lives, only
// that it was heard a moment ago.
package topology

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// HeartbeatMax is how old a node's last heartbeat may be for the node to count as reachable. It is
// three heartbeats, and shorter than failover's --failure-timeout, because a host that vanishes
// leaves half-open connections behind that answer nothing.
const HeartbeatMax = 600 * time.Millisecond

// View is not safe for concurrent use.
type View struct {
	topology api.Topology
	known    bool
	nodes    map[string]*node // as many as heartbeats were heard from; nodesMax bounds them
}

type node struct {
	beat  api.Heartbeat
	heard time.Time

	sign      time.Time // its last sign of life: a heartbeat, or an answer
	asked     time.Time // since when it has been asked whether it is there, without an answer; zero: it has not
	askedLast time.Time
	gone      bool // nobody listened where it should, and it was not heard since
}

// nodesMax bounds the ids that heartbeats are kept of, so that a broken sender cannot make the view
// grow forever.
const nodesMax = 4096

// Candidate is a primary that may be written to.
type Candidate struct {
	ID        string
	Epoch     uint64
	Load      float64 // 0 to 1, as its heartbeat says
	FreeBytes int64   // what it would admit when the heartbeat was sent
	Senders   int     // distinct senders that it heard in the second before, at least 1
	HTTP      string
	Unable    string    // why it cannot take writes now, or may not be there; "" if nothing is known of that
	Heard     time.Time // when its heartbeat arrived
}

// NewView returns a view that knows nobody.
func NewView() *View { return &View{nodes: make(map[string]*node)} }

// SetTopology takes a topology and says whether it was newer than the one before. An older one
// changes nothing, so that announcements and answers may arrive in any order.
func (v *View) SetTopology(t api.Topology) bool {
	if v.known && t.Version <= v.topology.Version {
		return false
	}
	v.topology, v.known = t, true
	return true
}

// Topology returns the newest topology, and whether there is any yet.
func (v *View) Topology() (api.Topology, bool) { return v.topology, v.known }

// Heard takes a heartbeat that arrived now. One of an older epoch than the last is of a process
// that has been replaced, and changes nothing; nor does one whose id no node can have.
func (v *View) Heard(h api.Heartbeat, now time.Time) {
	if api.CheckNode(h.ID) != nil {
		return
	}
	n, ok := v.nodes[h.ID]
	if !ok {
		if len(v.nodes) >= nodesMax {
			v.forget(now)
		}
		if len(v.nodes) >= nodesMax {
			return
		}
		n = new(node)
		v.nodes[h.ID] = n
	}
	if h.Epoch >= n.beat.Epoch {
		n.beat, n.heard = h, now
		n.sign, n.asked, n.gone = now, time.Time{}, false
	}
}

func (v *View) forget(now time.Time) {
	for id, n := range v.nodes {
		if !n.fresh(now) {
			delete(v.nodes, id)
		}
	}
}

func (n *node) fresh(now time.Time) bool { return now.Sub(n.heard) < HeartbeatMax }

// Node returns what the topology says of a node, and whether it is a member.
func (v *View) Node(id string) (api.Node, bool) { return v.topology.Node(id) }

// StandIn returns the node that stands in for id, "" if none does.
func (v *View) StandIn(id string) string {
	for i := range v.topology.Nodes {
		if v.topology.Nodes[i].StandsInFor == id {
			return v.topology.Nodes[i].ID
		}
	}
	return ""
}

// member joins the two sources about one node: ok is false if the node is unknown, silent, or heard
// under an epoch that the topology has replaced. A heartbeat of a newer epoch is ahead of the
// topology, and is believed; with the same epoch both must agree, because a node that was declared
// dead may not know it yet.
func (v *View) member(id string, now time.Time) (role api.Role, state api.State, n *node, ok bool) {
	n, heard := v.nodes[id]
	t, known := v.topology.Node(id)
	if !heard || !known || !n.fresh(now) || n.beat.Epoch < t.Epoch {
		return "", "", nil, false
	}
	role, state = n.beat.Role, n.beat.State
	if n.beat.Epoch == t.Epoch {
		if t.Role != role {
			role = api.Replica
		}
		if t.State != state && state == api.Live {
			state = t.State
		}
	}
	return role, state, n, true
}

// Candidate returns the primary id, and whether it may be written to now.
func (v *View) Candidate(id string, now time.Time) (Candidate, bool) {
	role, state, n, ok := v.member(id, now)
	if !ok || role != api.Primary || state != api.Live {
		return Candidate{}, false
	}
	return Candidate{
		ID: id, Epoch: n.beat.Epoch, Load: n.beat.Load, FreeBytes: n.beat.FreeBytes,
		Senders: max(n.beat.Senders, 1), HTTP: n.beat.HTTP, Heard: n.heard,
		Unable: cmp.Or(n.beat.Unable, n.doubt(now)),
	}, true
}

// Answers says whether what was sent to node id under epoch can still be answered: the same process
// is heard, and the topology has not given it up. Draining nodes finish what they have.
func (v *View) Answers(id string, epoch uint64, now time.Time) bool {
	n, heard := v.nodes[id]
	t, known := v.topology.Node(id)
	return heard && known && n.fresh(now) && n.beat.Epoch == epoch && t.Epoch <= epoch &&
		(t.Epoch < epoch || t.State != api.Dead)
}

// Candidates returns the primaries that may be written to now, sorted by id. Those that say that they cannot take
// writes, or may not be there (Answered, NoResponders), are among them only if that is so of all.
func (v *View) Candidates(now time.Time) []Candidate {
	var all []Candidate
	for i := range v.topology.Nodes {
		if c, ok := v.Candidate(v.topology.Nodes[i].ID, now); ok {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Candidate) int { return cmp.Compare(a.ID, b.ID) })
	if slices.ContainsFunc(all, Candidate.able) {
		all = slices.DeleteFunc(all, func(c Candidate) bool { return !c.able() })
	}
	return all
}

func (c Candidate) able() bool { return c.Unable == "" }

// Outdone says why primary id cannot take writes while another one can; "" if it can, or none can.
func (v *View) Outdone(id string, now time.Time) (why string) {
	c, ok := v.Candidate(id, now)
	if !ok || c.able() || !slices.ContainsFunc(v.Candidates(now), Candidate.able) {
		return ""
	}
	return c.Unable
}

// Reader returns the node to read from, the first of Readers. ok is false if there is none at all.
func (v *View) Reader(now time.Time) (best api.Node, ok bool) {
	if all := v.Readers(now); len(all) > 0 {
		return all[0], true
	}
	return api.Node{}, false
}

// Readers returns the nodes that may be read from, the best first: live ones, of these the ones that
// are furthest ahead (smallest lag, then id). Draining nodes still serve reads, and come last.
func (v *View) Readers(now time.Time) []api.Node {
	type reader struct {
		node api.Node
		rank int
		lag  uint64
	}
	var all []reader
	for _, t := range v.topology.Nodes {
		_, state, n, heard := v.member(t.ID, now)
		rank := readRank(state)
		if !heard || rank == 0 {
			continue
		}
		if n.beat.HTTP != "" {
			t.HTTP = n.beat.HTTP
		}
		all = append(all, reader{t, rank, n.beat.Lag})
	}
	slices.SortFunc(all, func(a, b reader) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.lag, b.lag), cmp.Compare(a.node.ID, b.node.ID))
	})
	nodes := make([]api.Node, len(all))
	for i := range all {
		nodes[i] = all[i].node
	}
	return nodes
}

func readRank(s api.State) int {
	switch s {
	case api.Live:
		return 2
	case api.Draining:
		return 1
	}
	return 0
}

// Address returns where a member serves reads: what it said last itself, else what the topology
// says.
func (v *View) Address(id string) (addr string, ok bool) {
	t, ok := v.topology.Node(id)
	if n, heard := v.nodes[id]; ok && heard && n.beat.HTTP != "" && n.beat.Epoch >= t.Epoch {
		return n.beat.HTTP, true
	}
	return t.HTTP, ok
}

// Stale says that a node speaks of itself as the topology does not: under a newer epoch, or as
// another role or state. The announcement may be on its way or lost; whoever keeps the view then
// asks for the topology.
func (v *View) Stale(now time.Time) bool {
	for id, n := range v.nodes {
		if !n.fresh(now) {
			continue
		}
		t, ok := v.topology.Node(id)
		if !ok || n.beat.Epoch > t.Epoch ||
			n.beat.Epoch == t.Epoch && (n.beat.Role != t.Role || n.beat.State != t.State) {
			return true
		}
	}
	return false
}

// Settled says that every node which the topology calls live has been heard: a view that is younger
// than a heartbeat knows nobody, and must not be mistaken for a cluster without primaries.
func (v *View) Settled(now time.Time) bool {
	if !v.known {
		return false
	}
	for _, t := range v.topology.Nodes {
		if t.State != api.Live {
			continue
		}
		if n, ok := v.nodes[t.ID]; !ok || !n.fresh(now) {
			return false
		}
	}
	return true
}
