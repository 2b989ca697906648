package simulation

import (
	"fmt"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/history"
)

// failoverIn bounds how long a death may go unnoticed when nothing else goes wrong: the instance that acts may be paused
// since the faults, another has to take the lease, and both give time when much was silent just now.
const failoverIn = 15 * time.Second

// failOver kills a primary when nothing else goes wrong: it is declared dead, its stand-in is found by all who write, and
// whoever writes meanwhile is served. The primary returns later, or soon.
func (w *world) failOver() {
	w.quiet = true
	var primaries []*node
	for _, n := range w.nodes {
		if n.role == api.Primary {
			primaries = append(primaries, n)
		}
	}
	victim := primaries[w.e.Rand.IntN(len(primaries))]
	w.e.Trace("faults", "are over, but %s is killed once more", victim.id)
	w.latecomer()
	victim.down = true
	victim.p.End()
	why := ""
	w.e.Run(w.e.Now()+failoverIn, func() bool {
		why = w.unreplaced(victim.id)
		return why == "" || w.bad()
	})
	if why != "" && !w.bad() {
		w.fail(history.Violation{Check: "failover", Node: victim.id,
			Detail: fmt.Sprintf("%s after it was killed: %s", failoverIn, why)})
	}
	w.latecomer()
	victim.down = false
	w.e.After(w.e.Between(0, 3*time.Second), victim.start)
}

// latecomer is a client that begins now.
func (w *world) latecomer() {
	c := newClient(w, fmt.Sprintf("c%d", len(w.clients)+1))
	c.left = 1 + w.e.Rand.IntN(3)
	w.clients = append(w.clients, c)
}

// unreplaced says what is missing of a failover; "" if it is done.
func (w *world) unreplaced(id string) string {
	if n, _ := w.members.Node(id); n.State != api.Dead {
		return "it is " + string(n.State)
	}
	standIn := ""
	for _, n := range w.members.Nodes {
		if n.StandsInFor == id {
			standIn = n.ID
		}
	}
	if standIn == "" {
		for _, n := range w.nodes {
			if n.role == api.Replica {
				return "nobody stands in for it"
			}
		}
		return ""
	}
	for _, g := range w.gateways {
		if !g.m.Writable(standIn) {
			return fmt.Sprintf("gateway %s does not write to its stand-in %s", g.id, standIn)
		}
	}
	for _, c := range w.clients {
		if _, ok := c.routes.view.Candidate(standIn, c.routes.p.Clock()); !ok && !c.done {
			return fmt.Sprintf("client %s does not write to its stand-in %s", c.name, standIn)
		}
	}
	return ""
}
