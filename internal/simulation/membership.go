package simulation

import (
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/history"
	"github.com/seed-551dd829/braid/sequencer"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// Change is something that becomes of a member.
type Change string

// The changes that are counted.
const (
	Died      Change = "declared dead"
	Replaced  Change = "a stand-in takes the place"
	Relieved  Change = "a stand-in is a replica again"
	Returned  Change = "a dead node is live again"
	Survived  Change = "a living process learns that it is dead, and registers anew"
	DiedAsOne Change = "a stand-in dies"
	Removed   Change = "a node that has lost its disk is removed"
	Refused   Change = "an empty disk is refused under its old id"
	GivenUp   Change = "a record is given up"
)

// Changes lists all.
var Changes = []Change{Died, Replaced, Relieved, Returned, Survived, DiedAsOne, Removed, Refused, GivenUp}

func (j *judge) count(before, now api.Node) {
	count := func(c Change, happened bool) {
		if happened {
			j.changes[c]++
		}
	}
	died := now.State == api.Dead && before.State != api.Dead
	count(Died, died)
	count(DiedAsOne, died && before.StandsInFor != "")
	count(Replaced, now.StandsInFor != "" && before.StandsInFor == "")
	count(Relieved, now.StandsInFor == "" && before.StandsInFor != "" && !died)
	if died {
		j.dead[now.ID] = true
	}
	count(Returned, j.dead[now.ID] && now.State == api.Live)
	j.dead[now.ID] = j.dead[now.ID] && now.State != api.Live
}

// publishedIn is how soon a change of the topology is published when nothing goes wrong.
const publishedIn = 500 * time.Millisecond

// watchTopology sees what the last transaction has made of the topology. When nothing goes wrong, it must be published.
func (j *judge) watchTopology(r kv.Reader) error {
	t, err := sequencer.Topology(r)
	if err != nil || t.Version == j.members.Version {
		return err
	}
	for _, n := range t.Nodes {
		if before, _ := j.members.Node(n.ID); before != n {
			j.w.e.Trace("store", "%s: %s %s, epoch %d, stands in for %q", n.ID, n.State, n.Role, n.Epoch, n.StandsInFor)
			j.count(before, n)
		}
	}
	for _, n := range j.members.Nodes {
		if _, member := t.Node(n.ID); !member {
			j.w.e.Trace("store", "%s is no member any more", n.ID)
			j.changes[Removed]++
		}
	}
	j.members = t
	if j.w.quiet {
		j.w.e.After(publishedIn, func() { j.mustBePublished(t) })
	}
	return nil
}

func (j *judge) mustBePublished(t api.Topology) {
	if j.known < t.Version {
		j.fail(history.Violation{Check: "published", Detail: fmt.Sprintf("version %d of the topology was not published in %s, "+
			"the newest was %d", t.Version, publishedIn, j.known)})
	}
}

// published notes that a topology is told to everybody.
func (j *judge) published(t api.Topology) { j.known = max(j.known, t.Version) }

// misplaced says what is not as before the faults: a node that is not live, a primary that has not got its place back, a
// stand-in that has not stepped back; "" if all is.
func (w *world) misplaced() string {
	for _, n := range w.nodes {
		self, _ := n.self()
		own, _ := w.members.Node(n.id)
		switch {
		case self.State != api.Live:
			return fmt.Sprintf("node %s is %q", n.id, self.State)
		case own.State != api.Live || own.Epoch != self.Epoch:
			return fmt.Sprintf("node %s is live under epoch %d, for the registry it is %s under %d", n.id, self.Epoch,
				own.State, own.Epoch)
		case own.Role != n.role || own.StandsInFor != "":
			return fmt.Sprintf("node %s is a %s, for %q, and was a %s", n.id, own.Role, own.StandsInFor, n.role)
		case self.Role != n.role:
			return fmt.Sprintf("node %s works as a %s, and was a %s", n.id, self.Role, n.role)
		}
	}
	for _, n := range w.members.Nodes {
		if w.burnt[n.ID] != nil {
			return fmt.Sprintf("node %s has lost its disk, and is not removed", n.ID)
		}
	}
	for _, f := range w.failovers {
		if !f.p.Dead() && f.m.Leads() {
			return ""
		}
	}
	return "no failover instance acts"
}
