package gateway

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// mergeKey is what writes must share to travel in one group.
type mergeKey struct {
	table      string
	durability api.Durability
	primary    string // that the client chose; "" leaves it to the gateway
}

// mergeConfig bounds a merged group.
type mergeConfig struct {
	interval      time.Duration // how long a write waits for others while a group of its key is on its way
	writesMax     int
	identityBytes int
	groupBytes    int // of the writes' rows in memory, which is above what they take encoded
	largeBytes    int // a write of this many bytes gains nothing from company
}

// merger decides which writes share a group. It is a pure core: the caller serialises and tells the
// time.
//
// A write that comes while nothing of its key is on its way leaves at once, so that an idle gateway
// adds no latency; while something is, writes gather until the interval is over, the group is full,
// or the way is free again. Within one key groups leave in the order in which their writes came.
type merger struct {
	cfg  mergeConfig
	keys map[mergeKey]*gathering
	// order holds the gatherings by the time of their first write; an entry whose writes have left
	// is stale.
	order []gatheringSince
}

type gathering struct {
	key        mergeKey
	writes     []*write
	bytes      int
	identities int
	since      time.Time // of the first write
	flying     int       // groups of the key that have left and not landed
}

type gatheringSince struct {
	g     *gathering
	since time.Time
}

func newMerger(cfg mergeConfig) *merger {
	return &merger{cfg: cfg, keys: make(map[mergeKey]*gathering)}
}

// add takes a write and returns the groups that leave now.
func (m *merger) add(now time.Time, w *write) (leave []*group) {
	g := m.keys[w.key]
	if g == nil {
		g = &gathering{key: w.key}
		m.keys[w.key] = g
	}
	if !m.fits(g, w) {
		leave = append(leave, m.leave(g))
	}
	g.writes = append(g.writes, w)
	g.bytes += w.bytes
	g.identities += w.meta.IdentityBytes()
	if g.flying == 0 || m.cfg.interval <= 0 || w.bytes >= m.cfg.largeBytes ||
		len(g.writes) >= m.cfg.writesMax {
		return append(leave, m.leave(g))
	}
	if len(g.writes) == 1 {
		g.since = now
		m.order = append(m.order, gatheringSince{g, now})
	}
	return leave
}

// fits says whether w may join what has gathered. A large write never does: it follows in a group
// of its own.
func (m *merger) fits(g *gathering, w *write) bool {
	return len(g.writes) == 0 || w.bytes < m.cfg.largeBytes &&
		len(g.writes) < m.cfg.writesMax &&
		g.bytes+w.bytes <= m.cfg.groupBytes &&
		g.identities+w.meta.IdentityBytes() <= m.cfg.identityBytes
}

func (m *merger) leave(g *gathering) *group {
	out := &group{key: g.key, writes: g.writes, bytes: g.bytes}
	g.writes, g.bytes, g.identities = nil, 0, 0
	g.flying++
	return out
}

// landed says that a group of key has its answer, and returns what leaves in its place.
func (m *merger) landed(key mergeKey) (leave []*group) {
	g := m.keys[key]
	g.flying--
	if g.flying > 0 {
		return nil
	}
	if len(g.writes) > 0 {
		return []*group{m.leave(g)}
	}
	delete(m.keys, key)
	return nil
}

// due returns the groups whose interval is over at now.
func (m *merger) due(now time.Time) (leave []*group) {
	for len(m.order) > 0 {
		first := m.order[0]
		if !m.stale(first) {
			if now.Before(first.since.Add(m.cfg.interval)) {
				break
			}
			leave = append(leave, m.leave(first.g))
		}
		m.order = m.order[1:]
	}
	return leave
}

func (m *merger) stale(e gatheringSince) bool {
	return len(e.g.writes) == 0 || !e.g.since.Equal(e.since)
}

// next returns when due has something to return, false if nothing waits.
func (m *merger) next() (time.Time, bool) {
	for len(m.order) > 0 && m.stale(m.order[0]) {
		m.order = m.order[1:]
	}
	if len(m.order) == 0 {
		return time.Time{}, false
	}
	return m.order[0].since.Add(m.cfg.interval), true
}
