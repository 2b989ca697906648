package gateway

import (
	"sync"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/topology"
)

// routes is the router with what it needs to be shared: a lock, word of changes to those who wait,
// and an end to attempts at primaries that went away.
type routes struct {
	now func() time.Time

	mu      sync.Mutex
	core    *router
	changed chan struct{} // closed and replaced when there may be room or a primary that was not there
	open    topology.Open
}

func newRoutes(core *router, now func() time.Time) *routes {
	return &routes{core: core, now: now, changed: make(chan struct{})}
}

// change wakes everybody who waits. The caller holds the lock.
func (r *routes) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *routes) next(c *course) (step, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.next(r.core, r.now()), r.changed
}

func (r *routes) ended(c *course, primary string, how reply, refusal *api.Error) (bool, *api.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over, err := c.ended(r.core, r.now(), primary, how, refusal)
	if how == replySilent {
		r.open.GiveUp(r.core.view, r.now()) // what was sent there before waits in vain
	}
	r.change()
	return over, err
}

// cancel takes back a step that is not done.
func (r *routes) cancel(c *course, primary string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.answered(primary, c.size)
	r.change()
}

func (r *routes) heard(h api.Heartbeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.heard(h, r.now())
	r.change()
}

func (r *routes) setTopology(t api.Topology) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.setTopology(t)
	r.change()
	r.open.GiveUp(r.core.view, r.now()) // a death that was announced ends attempts at once
}

// begin says that a request is under way at the process of a primary that a step names. giveUp is called when it is to
// go elsewhere.
func (r *routes) begin(st step, giveUp func()) *topology.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open.Begin(st.primary, st.epoch, r.now(), giveUp)
}

func (r *routes) end(o *topology.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open.End(o)
}

// sweep gives up what is open at primaries that are silent, replaced or perhaps not there, and returns those that are to
// be asked whether they are.
func (r *routes) sweep() (ask []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open.GiveUp(r.core.view, r.now())
	return r.open.Ask(r.core.view, r.now())
}

// asked takes what came of asking a primary whether it is there: an answer, or that nobody listens.
func (r *routes) asked(primary string, listens bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if listens {
		r.core.view.Answered(primary, r.now())
		return
	}
	r.core.view.NoResponders(primary)
	r.open.GiveUp(r.core.view, r.now())
}

func (r *routes) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.view.Settled(r.now())
}

// ready says whether a primary can be written to.
func (r *routes) ready() bool {
	return r.usable() > 0
}

// usable is the number of primaries that can be written to.
func (r *routes) usable() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.core.view.Candidates(r.now()))
}

// version is that of the topology; 0: none is known.
func (r *routes) version() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, _ := r.core.view.Topology()
	return t.Version
}

func (r *routes) writable(primary string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.core.view.Candidate(primary, r.now())
	return ok
}

func (r *routes) unanswered() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.core.sent {
		n += a.open
	}
	return n
}

// address returns where to read from: the node id, or the one furthest ahead for "".
func (r *routes) address(id string) (addr string, err *api.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id == "" {
		n, ok := r.core.view.Reader(r.now())
		if !ok || n.HTTP == "" {
			return "", api.Errorf(api.Unavailable, "no node that could be read from is live")
		}
		return n.HTTP, nil
	}
	addr, ok := r.core.view.Address(id)
	switch {
	case !ok:
		return "", api.Errorf(api.NotFound, "there is no node %q", id)
	case addr == "":
		return "", api.Errorf(api.Unavailable, "node %s has no HTTP address", id)
	}
	return addr, nil
}
