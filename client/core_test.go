package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestI7_GateBoundsUnansweredBytes(t *testing.T) {
	g := newGate(api.UnansweredBytesMax)
	ctx := t.Context()
	if err := g.enter(ctx, api.UnansweredBytesMax-10); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := g.enter(short, 11); !errors.Is(err, ErrOverloaded) {
		t.Fatalf("error is %v", err)
	}
	entered := make(chan error)
	go func() { entered <- g.enter(ctx, 11) }()
	natstest.Eventually(t, "waits", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.waiting.Len() == 1 })
	g.leave(api.UnansweredBytesMax - 10)
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	// Less free than one write takes: what is there goes on, one at a time.
	g.share(0)
	go func() { entered <- g.enter(ctx, 5) }()
	natstest.Eventually(t, "waits", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.waiting.Len() == 1 })
	g.leave(11)
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	g.leave(5)
	if g.used != 0 {
		t.Fatalf("%d bytes are left over", g.used)
	}
}

func TestPickTakesTheLeastLoaded(t *testing.T) {
	p := newPrimaries(nil)
	now := time.Now()
	if _, ok := p.pick("", "", now); ok {
		t.Fatal("picked from nothing")
	}
	p.set(api.Topology{Version: 1, Nodes: []api.Node{
		{ID: "p1", Role: api.Primary, State: api.Live}, {ID: "p2", Role: api.Primary, State: api.Live},
		{ID: "r1", Role: api.Replica, State: api.Live},
	}})
	if id, _ := p.pick("", "p1", now); id != "p2" {
		t.Fatalf("picked %q before the first heartbeats, p1 had failed", id)
	}
	beat := func(id string, load float64) {
		p.heard(api.Heartbeat{ID: id, Role: api.Primary, State: api.Live, Load: load, FreeBytes: 1 << 20}, now)
	}
	beat("p1", 0.9)
	beat("p2", 0.1)
	if id, _ := p.pick("", "", now); id != "p2" {
		t.Fatalf("picked %q", id)
	}
	if id, _ := p.pick("", "", now.Add(time.Hour)); id != "p1" {
		t.Fatalf("picked %q by the topology alone", id)
	}
	for prefer, want := range map[string]string{"p1": "p1", "p2": "p2", "r1": "p2", "gone": "p2"} {
		if id, _ := p.pick(prefer, "", now); id != want {
			t.Errorf("picked %q where %s was wanted", id, prefer)
		}
	}
}

// TestANamedPrimaryIsFollowedToItsStandIn: and to whoever else there is if nobody stands in for it.
func TestANamedPrimaryIsFollowedToItsStandIn(t *testing.T) {
	var seen []uint64
	p := newPrimaries(func(t Topology) { seen = append(seen, t.Version) })
	nodes := func(p1 api.State, r1 api.Role, standsIn string) []api.Node {
		return []api.Node{{ID: "p1", Role: api.Primary, State: p1}, {ID: "p2", Role: api.Primary, State: api.Live},
			{ID: "r1", Role: r1, State: api.Live, StandsInFor: standsIn}}
	}
	through := func(primary, want string) {
		t.Helper()
		if got := p.through(primary); got != want {
			t.Errorf("through %q for %q, want %q", got, primary, want)
		}
	}
	through("p1", "p1") // nothing is known: the gateway knows better
	p.set(api.Topology{Version: 2, Nodes: nodes(api.Live, api.Replica, "")})
	through("p1", "p1")
	through("p9", "p9")
	through("", "")
	p.set(api.Topology{Version: 3, Nodes: nodes(api.Dead, api.Replica, "")})
	through("p1", "")
	p.set(api.Topology{Version: 4, Nodes: nodes(api.Dead, api.Primary, "p1")})
	p.set(api.Topology{Version: 3, Nodes: nodes(api.Dead, api.Replica, "")})
	through("p1", "r1")
	p.set(api.Topology{Version: 5, Nodes: nodes(api.Draining, api.Replica, "")})
	through("p1", "")
	if !slices.Equal(seen, []uint64{2, 3, 4, 5}) {
		t.Errorf("told of versions %d", seen)
	}
}
