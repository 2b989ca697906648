package sequencer

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// The commands of the scripts that are about the membership.

// version is the one that a decision names: version=N, else that of the store.
func (s *script) version(d *datadriven.TestData) (v uint64) {
	if text := arg(d, "version", ""); text != "" {
		return num(text)
	}
	s.view(func(r kv.Reader) error {
		a, err := Topology(r)
		v = a.Version
		return err
	})
	return v
}

// runFail names the registered epoch unless it is given.
func (s *script) runFail(d *datadriven.TestData) (string, error) {
	r := api.FailNodeRequest{ID: arg(d, "id", ""), Version: s.version(d), StandIn: arg(d, "standin", "")}
	s.view(func(x kv.Reader) error {
		n, err := getNode(x, r.ID)
		if n != nil {
			r.Epoch = n.Epoch
		}
		return err
	})
	if text := arg(d, "epoch", ""); text != "" {
		r.Epoch = num(text)
	}
	return s.changed(func(x kv.Txn) (api.TopologyAnswer, error) { return s.core.FailNode(x, r) })
}

func (s *script) runStandIn(d *datadriven.TestData) (string, error) {
	r := api.StandInRequest{ID: arg(d, "id", ""), StandIn: arg(d, "standin", ""), Version: s.version(d)}
	return s.changed(func(x kv.Txn) (api.TopologyAnswer, error) { return s.core.StandIn(x, r) })
}

func (s *script) runRole(d *datadriven.TestData) (string, error) {
	r := api.RoleRequest{ID: arg(d, "id", ""), Version: s.version(d)}
	change := s.core.Promote
	if d.Cmd == "demote" {
		change = s.core.Demote
	}
	return s.changed(func(x kv.Txn) (api.TopologyAnswer, error) { return change(x, r) })
}

func (s *script) runRemove(d *datadriven.TestData) (string, error) {
	r := api.RemoveRequest{ID: arg(d, "id", ""), Version: s.version(d)}
	return s.changed(func(x kv.Txn) (api.TopologyAnswer, error) { return s.core.Remove(x, r) })
}

// changed prints the topology that a change answers.
func (s *script) changed(change func(kv.Txn) (api.TopologyAnswer, error)) (string, error) {
	var a api.TopologyAnswer
	err := s.try(func(x kv.Txn) (err error) { a, err = change(x); return err })
	if err != nil {
		return "", err
	}
	return printTopology(a.Topology), nil
}

func (s *script) runTopology(*datadriven.TestData) (out string, err error) {
	s.view(func(r kv.Reader) error {
		a, err := Topology(r)
		out = printTopology(a)
		return err
	})
	return out, nil
}

func printTopology(t api.Topology) string {
	var out strings.Builder
	fmt.Fprintf(&out, "version %d\n", t.Version)
	for _, n := range t.Nodes {
		fmt.Fprintf(&out, "%s %s %s epoch %d", n.ID, n.Role, n.State, n.Epoch)
		if n.StandsInFor != "" {
			fmt.Fprintf(&out, ", stands in for %s", n.StandsInFor)
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

// runLease: seen=HOLDER/COUNTER, holder= who bumps it; without one it is read.
func (s *script) runLease(d *datadriven.TestData) (out string, err error) {
	r := api.LeaseRequest{Name: arg(d, "name", ""), Holder: arg(d, "holder", "")}
	if seen := arg(d, "seen", ""); seen != "" {
		holder, counter, _ := strings.Cut(seen, "/")
		r.Seen = api.Lease{Holder: holder, Counter: num(counter)}
	}
	err = s.try(func(x kv.Txn) error {
		a, err := BumpLease(x, r)
		out = fmt.Sprintf("%s/%d, bumped %v\n", a.Lease.Holder, a.Lease.Counter, a.Bumped)
		return err
	})
	return out, err
}
