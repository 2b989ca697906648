package gateway

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/topology"
)

// router chooses primaries and counts what is unanswered at each. It is a pure core; the caller
// serialises.
type router struct {
	view          *topology.View
	unansweredMax int64
	sent          map[string]*account // of primaries that were candidates
}

// account is what the gateway has at one primary.
type account struct {
	open    int64     // bytes sent and not answered
	atBeat  int64     // open when the last heartbeat arrived: its load and free bytes have them in already
	total   int64     // bytes ever sent: the last tie-break, so that idle primaries take turns
	resting time.Time // not chosen before, because it refused or did not listen
}

// defaultBoundBytes stands in for a primary's admission bound when its heartbeat does not tell it.
const defaultBoundBytes = 64 << 20

func newRouter(unansweredMax int64) *router {
	return &router{view: topology.NewView(), unansweredMax: unansweredMax, sent: make(map[string]*account)}
}

func (r *router) account(id string) *account {
	a := r.sent[id]
	if a == nil {
		a = new(account)
		r.sent[id] = a
	}
	return a
}

// heard takes a heartbeat.
func (r *router) heard(h api.Heartbeat, now time.Time) {
	r.view.Heard(h, now)
	if a, ok := r.sent[h.ID]; ok {
		a.atBeat = a.open
	}
}

// setTopology takes a topology, and drops the accounts of primaries that are no members any more.
func (r *router) setTopology(t api.Topology) {
	if !r.view.SetTopology(t) {
		return
	}
	for id, a := range r.sent {
		if _, member := r.view.Node(id); !member && a.open == 0 {
			delete(r.sent, id)
		}
	}
}

// choice is what choose found.
type choice uint8

const (
	chosen  choice = iota
	none           // no primary is live
	resting        // those that are live have refused or did not listen a moment ago
	full           // none may get more bytes from this gateway now
)

// choose picks the least loaded primary that may take size bytes more. only restricts it to one (""
// for any). Among several reasons why there is none, full goes before resting: bytes that are
// answered make room.
func (r *router) choose(now time.Time, only string, size int) (topology.Candidate, choice) {
	var best topology.Candidate
	var bestAccount *account
	found := none
	for _, c := range r.view.Candidates(now) {
		if only != "" && c.ID != only {
			continue
		}
		a := r.account(c.ID)
		switch {
		case now.Before(a.resting):
			if found == none {
				found = resting
			}
		case !r.room(c, a, int64(size)):
			if found != chosen {
				found = full
			}
		case found != chosen || r.better(c, a, best, bestAccount):
			found, best, bestAccount = chosen, c, a
		}
	}
	return best, found
}

// room says whether the primary may get size bytes more: at most unansweredMax unanswered, and
// since its heartbeat no more than this sender's share of the bytes that it had free then. A sender
// with nothing unanswered may always send what the primary has free as a whole, or a large group
// would never go to one that has many senders.
func (r *router) room(c topology.Candidate, a *account, size int64) bool {
	if a.open == 0 {
		return size <= c.FreeBytes
	}
	share := c.FreeBytes / int64(c.Senders)
	return a.open+size <= r.unansweredMax && a.open-a.atBeat+size <= share
}

func (r *router) better(c topology.Candidate, a *account, than topology.Candidate, b *account) bool {
	if x, y := load(c, a), load(than, b); x != y {
		return x < y
	}
	if a.open != b.open {
		return a.open < b.open
	}
	return a.total < b.total // candidates come by id, so the lower id keeps a tie
}

// load is the primary's own word, and what this gateway has sent since or got answered.
func load(c topology.Candidate, a *account) float64 {
	bound := float64(defaultBoundBytes)
	if free := 1 - c.Load; free > 0 && c.FreeBytes > 0 {
		bound = float64(c.FreeBytes) / free
	}
	return max(0, c.Load+float64(a.open-a.atBeat)/bound)
}

// send counts size bytes to the primary.
func (r *router) send(id string, size int) {
	a := r.account(id)
	a.open += int64(size)
	a.total += int64(size)
}

// answered takes size bytes off again: answered, or given up there.
func (r *router) answered(id string, size int) {
	a := r.account(id)
	a.open -= int64(size)
}

// sign takes what the end of an attempt says of its primary: that it lives, or that nobody listens there.
func (r *router) sign(id string, how reply, now time.Time) {
	switch how {
	case replySilent:
		r.view.NoResponders(id)
	case replyAnswer, replyPending, replyRefused:
		r.view.Answered(id, now)
	}
}

// rest keeps the primary from being chosen until a moment, unless it rests longer already.
func (r *router) rest(id string, until time.Time) {
	if a := r.account(id); a.resting.Before(until) {
		a.resting = until
	}
}

// refusal says why a write that chose its primary cannot go there; nil if it can. It names the
// stand-in, so that the client knows where to go.
func (r *router) refusal(now time.Time, id string) *api.Error {
	if why := r.view.Outdone(id, now); why != "" {
		return api.Errorf(api.Unavailable, "primary %s cannot take writes now (%s); %s", id, why, leaveChoice)
	}
	if _, live := r.view.Candidate(id, now); live {
		return nil
	}
	n, member := r.view.Node(id)
	switch {
	case !member:
		return api.Errorf(api.Unavailable, "there is no primary %q; %s", id, leaveChoice)
	case r.view.StandIn(id) != "":
		return api.Errorf(api.Unavailable, "primary %s is not live; %s stands in for it", id, r.view.StandIn(id))
	case n.Role != api.Primary:
		return api.Errorf(api.Unavailable, "node %s is a %s, not a primary", id, n.Role)
	}
	return api.Errorf(api.Unavailable, "primary %s is not live (%s, or not heard); %s", id, n.State, leaveChoice)
}

const leaveChoice = "ingest.<table> leaves the choice to the gateway"
