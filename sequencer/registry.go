package sequencer

import (
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// RegisterNode gives a node's process a new epoch, which fences the node's earlier ones, since a commit must carry the
// registered one. The answer to a registration that is repeated is its first one, unless the node has been declared dead
// meanwhile. Refused: Invalid, Forbidden if the node is known with another disk, and Fenced if it replaces an epoch that
// is not the registered one.
func (c Core) RegisterNode(t kv.Txn, r api.RegisterNodeRequest) (api.RegisterNodeAnswer, error) {
	if err := checkRegistration(r); err != nil {
		return api.RegisterNodeAnswer{}, err
	}
	old, err := getNode(t, r.ID)
	if err != nil {
		return api.RegisterNodeAnswer{}, err
	}
	if old != nil && old.mark != r.Mark {
		return api.RegisterNodeAnswer{}, api.Errorf(api.Forbidden, "node %s is registered with another data folder: "+
			"a new disk is a new node, give it another id", r.ID)
	}
	if r.Replaces != 0 && (old == nil || old.Epoch != r.Replaces && old.attempt != r.Attempt) {
		return api.RegisterNodeAnswer{}, api.Errorf(api.Fenced, "node %s: another process of it has registered since "+
			"epoch %d, or it was removed", r.ID, r.Replaces)
	}
	n := old
	if old == nil || old.attempt != r.Attempt || old.fenced {
		if n, err = newProcess(t, old, r); err != nil {
			return api.RegisterNodeAnswer{}, err
		}
	}
	topology, err := Topology(t)
	return api.RegisterNodeAnswer{Epoch: n.Epoch, Topology: topology}, err
}

// newProcess registers a process of a node under a new epoch. It stands in for nobody, whatever the one before it did.
// old is nil if the node is new.
func newProcess(t kv.Txn, old *node, r api.RegisterNodeRequest) (*node, error) {
	n := &node{mark: r.Mark, attempt: r.Attempt, configured: r.Role}
	n.Node = api.Node{ID: r.ID, State: api.Recovering, HTTP: r.HTTP}
	var err error
	if n.Epoch, err = increment(t, kindEpoch); err != nil {
		return nil, err
	}
	if old != nil {
		n.decided, n.joined = old.decided, old.joined
	} else if removed, err := t.Get(appendName(nil, kindRemoved, r.ID)); err != nil {
		return nil, err
	} else if removed != nil {
		n.joined = n.Epoch
	}
	n.Role = n.ownRole()
	return n, putNode(t, n)
}

func checkRegistration(r api.RegisterNodeRequest) error {
	if err := api.CheckNode(r.ID); err != nil {
		return invalid("%v", err)
	}
	if r.Role != api.Primary && r.Role != api.Replica {
		return invalid("node %s: role %s is neither primary nor replica", r.ID, api.Quote(r.Role))
	}
	if r.Mark == "" || r.Attempt == "" {
		return invalid("node %s: mark and attempt must be given", r.ID)
	}
	return nil
}

// putNode stores a node. Every change of the membership is a version of the topology.
func putNode(t kv.Txn, n *node) error {
	t.Set(appendName(nil, kindNode, n.ID), n.encode())
	_, err := increment(t, kindTopology)
	return err
}

// SetNodeState changes a node's state at its own wish. With Live a node that was dead is again what it was, and its
// stand-in a replica, in one transaction. Refused: Invalid, NotFound, and Fenced unless the epoch is the
// node's registered one.
func (c Core) SetNodeState(t kv.Txn, r api.NodeStateRequest) (api.NodeStateAnswer, error) {
	if r.State != api.Live && r.State != api.Draining && r.State != api.Stopped {
		return api.NodeStateAnswer{}, invalid(
			"node %s: state %s is not one that a node gives itself", r.ID, api.Quote(r.State))
	}
	n, err := getNode(t, r.ID)
	switch {
	case err != nil:
		return api.NodeStateAnswer{}, err
	case n == nil:
		return api.NodeStateAnswer{}, api.Errorf(api.NotFound, "node %s is not registered", r.ID)
	}
	if err := fencedError(n, r.ID, r.Epoch); err != nil {
		return api.NodeStateAnswer{}, err
	}
	if n.State == api.Stopped && r.State != api.Stopped {
		return api.NodeStateAnswer{}, invalid("node %s has stopped; it registers again to come back", r.ID)
	}
	if n.State != r.State {
		if err := changeState(t, n, r.State); err != nil {
			return api.NodeStateAnswer{}, err
		}
	}
	topology, err := Topology(t)
	return api.NodeStateAnswer{Topology: topology}, err
}

// changeState stores a node's state with what follows from it: a node that is live again needs no stand-in, and one
// that has stopped stands in for nobody.
func changeState(t kv.Txn, n *node, to api.State) error {
	n.State = to
	switch to {
	case api.Live:
		if err := relieve(t, n.ID); err != nil {
			return err
		}
	case api.Stopped:
		n.stepBack()
	}
	return putNode(t, n)
}

// fencedError is not nil unless epoch is the registered one of a node that is not fenced. n is nil if it is unknown.
func fencedError(n *node, id string, epoch uint64) error {
	switch {
	case n == nil:
		return api.Errorf(api.Fenced, "node %s is not registered", id)
	case n.Epoch != epoch:
		return api.Errorf(api.Fenced, "node %s: epoch %d is fenced, %d is registered", id, epoch, n.Epoch)
	case n.fenced:
		return api.Errorf(api.Fenced, "node %s: epoch %d is fenced", id, epoch)
	}
	return nil
}

// Topology reads the membership.
func Topology(r kv.Reader) (api.Topology, error) {
	cluster, err := getCluster(r)
	if err != nil {
		return api.Topology{}, err
	}
	version, err := getNumber(r, appendNumbers(nil, kindTopology))
	if err != nil {
		return api.Topology{}, err
	}
	pairs, err := r.Range([]byte{byte(kindNode)}, []byte{byte(kindNode) + 1}, 0, false)
	if err != nil {
		return api.Topology{}, err
	}
	topology := api.Topology{Cluster: cluster.ID, Version: version, Shards: cluster.Shards,
		Nodes: make([]api.Node, 0, len(pairs))}
	for _, p := range pairs {
		n, err := decodeNode(string(p.Key[1:]), p.Value)
		if err != nil {
			return api.Topology{}, err
		}
		topology.Nodes = append(topology.Nodes, n.Node)
	}
	return topology, nil
}
