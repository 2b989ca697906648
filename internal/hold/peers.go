package hold

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/topology"
)

// Peers knows which other nodes live, and so may be asked to hold a segment: primaries and replicas alike.
type Peers struct {
	self string
	now  func() time.Time

	mu    sync.Mutex
	heard map[string]peer
	live  atomic.Pointer[[]string]
}

type peer struct {
	state api.State
	at    time.Time
}

// peersMax bounds the ids that are remembered, so that a broken sender cannot make them grow for ever.
const peersMax = 4096

// NewPeers knows nobody yet.
func NewPeers(self string, now func() time.Time) *Peers {
	p := &Peers{self: self, now: now, heard: make(map[string]peer)}
	p.live.Store(new([]string))
	return p
}

// Heard takes a heartbeat.
func (p *Peers) Heard(h api.Heartbeat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.heard[h.ID]; !known && len(p.heard) >= peersMax || h.ID == p.self {
		return
	}
	p.heard[h.ID] = peer{state: h.State, at: p.now()}
	p.refresh()
}

// Refresh forgets whoever has been silent.
func (p *Peers) Refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
}

func (p *Peers) refresh() {
	now := p.now()
	live := make([]string, 0, len(p.heard))
	for id, peer := range p.heard {
		switch {
		case now.Sub(peer.at) >= topology.HeartbeatMax:
			delete(p.heard, id)
		case peer.state == api.Live:
			live = append(live, id)
		}
	}
	slices.Sort(live)
	p.live.Store(&live)
}

// Live returns the ids of the nodes that live, sorted. The caller must not change it. It never blocks.
func (p *Peers) Live() []string { return *p.live.Load() }
