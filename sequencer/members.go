package sequencer

import (
	"slices"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// The changes of the membership that are decided by others than the node: by failover and by operators. Each is one
// transaction, conditional on the version of the topology that it was decided on.

// subject reads the node that a decision is about. It refuses one that was taken on another version of the topology,
// and one about nobody.
func subject(t kv.Txn, id string, version uint64) (*node, error) {
	now, err := getNumber(t, appendNumbers(nil, kindTopology))
	if err != nil {
		return nil, err
	}
	if now != version {
		return nil, api.VersionError(version, now)
	}
	n, err := getNode(t, id)
	if err == nil && n == nil {
		err = api.Errorf(api.NotFound, "node %s is not registered", api.Quote(id))
	}
	return n, err
}

func topologyAnswer(t kv.Txn, err error) (api.TopologyAnswer, error) {
	if err != nil {
		return api.TopologyAnswer{}, err
	}
	topology, err := Topology(t)
	return api.TopologyAnswer{Topology: topology}, err
}

// stepBack makes a stand-in what it is otherwise; it is nothing for other nodes.
func (n *node) stepBack() {
	if n.StandsInFor != "" {
		n.Role, n.StandsInFor = n.ownRole(), ""
	}
}

// decide gives a node a role for good.
func (n *node) decide(role api.Role) {
	n.decided, n.Role, n.StandsInFor = role, role, ""
	if role == n.configured {
		n.decided = ""
	}
}

// standIns are the nodes that stand in for id: one at most, unless the store is damaged.
func standIns(r kv.Reader, id string) ([]*node, error) {
	all, err := nodes(r)
	return slices.DeleteFunc(all, func(n *node) bool { return n.StandsInFor != id }), err
}

// nodes are all members, by id.
func nodes(r kv.Reader) ([]*node, error) {
	pairs, err := r.Range([]byte{byte(kindNode)}, []byte{byte(kindNode) + 1}, 0, false)
	all := make([]*node, 0, len(pairs))
	for _, p := range pairs {
		n, err := decodeNode(string(p.Key[1:]), p.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, &n)
	}
	return all, err
}

// relieve turns the stand-in of id, if it has one, into what it is otherwise.
func relieve(t kv.Txn, id string) error {
	return eachStandIn(t, id, (*node).stepBack)
}

func eachStandIn(t kv.Txn, id string, change func(*node)) error {
	all, err := standIns(t, id)
	for _, n := range all {
		change(n)
		if err := putNode(t, n); err != nil {
			return err
		}
	}
	return err
}

// FailNode declares a node dead, fences its epoch and puts the stand-in in its place. See api.FailNodeRequest.
func (c Core) FailNode(t kv.Txn, r api.FailNodeRequest) (api.TopologyAnswer, error) {
	n, err := subject(t, r.ID, r.Version)
	if err != nil {
		return api.TopologyAnswer{}, err
	}
	if err := fencedError(n, r.ID, r.Epoch); err != nil {
		return api.TopologyAnswer{}, err
	}
	if n.State == api.Stopped {
		return api.TopologyAnswer{}, invalid("node %s has stopped on purpose: nobody stands in for it", r.ID)
	}
	var next *node
	if r.StandIn != "" {
		if next, err = newStandIn(t, n, r.StandIn); err != nil {
			return api.TopologyAnswer{}, err
		}
	}
	n.stepBack()
	n.State, n.fenced = api.Dead, true
	if err = putNode(t, n); err == nil && next != nil {
		err = putNode(t, next)
	}
	return topologyAnswer(t, err)
}

// newStandIn is the replica id, made the stand-in of the failed primary, or of the one for which that stood in.
func newStandIn(t kv.Txn, failed *node, id string) (*node, error) {
	place := failed.ID
	if failed.StandsInFor != "" {
		place = failed.StandsInFor
	}
	if failed.Role != api.Primary {
		return nil, invalid("node %s is a replica: nobody stands in for it", failed.ID)
	}
	others, err := standIns(t, place)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.ID != failed.ID {
			return nil, invalid("node %s stands in for %s already", o.ID, place)
		}
	}
	n, err := getNode(t, id)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, api.Errorf(api.NotFound, "node %s is not registered", api.Quote(id))
	case n.Role != api.Replica || n.State != api.Live || n.ID == place:
		return nil, invalid("node %s is a %s and %s: a live replica stands in for a primary", id, n.Role, n.State)
	}
	n.Role, n.StandsInFor = api.Primary, place
	return n, nil
}

// StandIn puts a stand-in in the place of a primary that is dead. See api.StandInRequest.
func (c Core) StandIn(t kv.Txn, r api.StandInRequest) (api.TopologyAnswer, error) {
	n, err := subject(t, r.ID, r.Version)
	if err != nil {
		return api.TopologyAnswer{}, err
	}
	if n.State != api.Dead {
		return api.TopologyAnswer{}, invalid("node %s is %s: nobody stands in but for a dead primary", r.ID, n.State)
	}
	next, err := newStandIn(t, n, r.StandIn)
	if err == nil {
		err = putNode(t, next)
	}
	return topologyAnswer(t, err)
}

// Promote makes a live replica, or a stand-in, a primary for good. See api.RoleRequest.
func (c Core) Promote(t kv.Txn, r api.RoleRequest) (api.TopologyAnswer, error) {
	return c.changeRole(t, r, api.Primary)
}

// Demote makes a live primary a replica for good, unless it is the last one. See api.RoleRequest.
func (c Core) Demote(t kv.Txn, r api.RoleRequest) (api.TopologyAnswer, error) {
	return c.changeRole(t, r, api.Replica)
}

func (c Core) changeRole(t kv.Txn, r api.RoleRequest, to api.Role) (api.TopologyAnswer, error) {
	n, err := subject(t, r.ID, r.Version)
	switch {
	case err != nil:
		return api.TopologyAnswer{}, err
	case n.State != api.Live:
		return api.TopologyAnswer{}, invalid("node %s is %s: only a live node gets another role", r.ID, n.State)
	case n.StandsInFor != "" && to == api.Replica:
		return api.TopologyAnswer{}, invalid("node %s stands in for %s, and is a replica again once that is back", r.ID,
			n.StandsInFor)
	case n.StandsInFor == "" && n.Role == to:
		return api.TopologyAnswer{}, invalid("node %s is a %s", r.ID, to)
	}
	if to == api.Replica {
		if err := checkLast(t, r.ID); err != nil {
			return api.TopologyAnswer{}, err
		}
	}
	n.decide(to)
	return topologyAnswer(t, putNode(t, n))
}

// checkLast refuses to take the last primary that can be written to.
func checkLast(r kv.Reader, id string) error {
	all, err := nodes(r)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.ID != id && n.Role == api.Primary && n.State == api.Live {
			return nil
		}
	}
	return invalid("node %s is the last live primary: without it nothing can be written", id)
}

// Remove ends a node's membership. See api.RemoveRequest.
func (c Core) Remove(t kv.Txn, r api.RemoveRequest) (api.TopologyAnswer, error) {
	n, err := subject(t, r.ID, r.Version)
	switch {
	case err != nil:
		return api.TopologyAnswer{}, err
	case n.State != api.Stopped && n.State != api.Dead:
		return api.TopologyAnswer{}, invalid("node %s is %s: only one that has stopped or is dead can be removed", r.ID,
			n.State)
	}
	if err := checkHeld(t, r.ID); err != nil {
		return api.TopologyAnswer{}, err
	}
	if err := eachStandIn(t, r.ID, func(s *node) { s.decide(api.Primary) }); err != nil {
		return api.TopologyAnswer{}, err
	}
	t.Clear(appendName(nil, kindNode, r.ID))
	t.Set(appendName(nil, kindRemoved, r.ID), newValue(n.Epoch))
	_, err = increment(t, kindTopology)
	return topologyAnswer(t, err)
}

// heldMax bounds the pending records that removing a node looks at, so that it stays a short transaction.
const heldMax = 2_000

// checkHeld refuses to remove a node while a pending record's segment is on its disk and on no other member's.
func checkHeld(r kv.Reader, id string) error {
	all, err := nodes(r)
	if err != nil {
		return err
	}
	members := make(map[string]*node, len(all))
	for _, n := range all {
		members[n.ID] = n
	}
	pairs, err := r.Range([]byte{byte(kindUnstored)}, []byte{byte(kindUnstored) + 1}, heldMax, false)
	if err != nil {
		return err
	}
	if len(pairs) == heldMax {
		return api.Errorf(api.Unavailable, "%d records or more are pending: nodes are removed when there are fewer", heldMax)
	}
	for _, p := range pairs {
		u, err := readUnstored(p)
		if err != nil {
			return err
		}
		if u.void {
			continue
		}
		record, err := getRecord(r, u.place.Shard, u.place.Index)
		if err != nil {
			return err
		}
		if slices.Contains(record.Holders, id) && !heldWithout(members, &record, id) {
			return api.Errorf(api.Unavailable, "node %s is the last one that holds segment %s, which is not in the object "+
				"store: start it, or give up table %s TxID %d (braid void)", id, record.Segment, record.Table, record.First)
		}
	}
	return nil
}

// heldWithout says whether a record's segment is on the disk of a member other than id. A holder that was removed and
// has joined again may have a new disk: it only counts for segments of epochs since then.
func heldWithout(members map[string]*node, record *api.LogRecord, id string) bool {
	return slices.ContainsFunc(record.Holders, func(h string) bool {
		n := members[h]
		return h != id && n != nil && n.joined <= record.Segment.Epoch
	})
}
