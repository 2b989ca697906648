package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestNumbersRiseAndSettle(t *testing.T) {
	var n numbers
	take := func(table string, wantSequence, wantSettled uint64) {
		t.Helper()
		sequence, settled, ok := n.take(table, 3)
		if !ok || sequence != wantSequence || settled != wantSettled {
			t.Fatalf("took %d settled %d, want %d and %d", sequence, settled, wantSequence, wantSettled)
		}
	}
	take("a", 1, 0)
	take("b", 1, 0)
	take("a", 2, 0)
	take("a", 3, 0)
	if _, _, ok := n.take("a", 3); ok {
		t.Fatal("the window has no end")
	}
	if n.done("a", 2) || n.done("a", 3) {
		t.Fatal("the window moved past an open write")
	}
	if _, _, ok := n.take("a", 3); ok {
		t.Fatal("answers above settled do not count")
	}
	if !n.done("a", 1) {
		t.Fatal("the window did not move")
	}
	take("a", 4, 3)
	n.done("a", 4)
	n.done("b", 1)
	if len(n.tables) != 0 {
		t.Fatalf("tables without open writes are kept: %v", n.tables)
	}
	take("a", 5, 4)
	take("b", 5, 4)
}

// TestI7_NumbersStayNearSettled: however much is written to other tables while a write is open, the next one of its
// table is within the window above settled. The cluster refuses what is further away.
func TestI7_NumbersStayNearSettled(t *testing.T) {
	var n numbers
	n.take("slow", 2)
	for range 5000 {
		sequence, _, _ := n.take("busy", 2)
		n.done("busy", sequence)
	}
	if sequence, settled, ok := n.take("slow", 2); !ok || sequence != 2 || settled != 0 {
		t.Fatalf("took %d settled %d", sequence, settled)
	}
	n.done("slow", 2)
	n.done("slow", 1)
	if sequence, settled, _ := n.take("slow", 2); sequence != 5001 || settled != 5000 {
		t.Fatalf("took %d settled %d: a number may be one that another window gave", sequence, settled)
	}
}

func TestI7_GateBoundsUnansweredBytes(t *testing.T) {
	g := newGate()
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

func TestBackoff(t *testing.T) {
	if d := backoff(1, 0, 0); d < time.Millisecond || d > 5*time.Millisecond {
		t.Errorf("first pause %s", d)
	}
	if d := backoff(1000, 0, 0.999); d > time.Second {
		t.Errorf("last pause %s", d)
	}
	if d := backoff(1, 300*time.Millisecond, 0.5); d != 300*time.Millisecond {
		t.Errorf("asked for 300 ms, is %s", d)
	}
}

func TestPickTakesTheLeastLoaded(t *testing.T) {
	p := newPrimaries()
	now := time.Now()
	if _, ok := p.pick("", now); ok {
		t.Fatal("picked from nothing")
	}
	p.set(api.Topology{Version: 1, Nodes: []api.Node{
		{ID: "p1", Role: api.Primary, State: api.Live}, {ID: "p2", Role: api.Primary, State: api.Live},
		{ID: "r1", Role: api.Replica, State: api.Live},
	}})
	if id, _ := p.pick("p1", now); id != "p2" {
		t.Fatalf("picked %q before the first heartbeats, p1 had failed", id)
	}
	beat := func(id string, load float64) {
		p.heard(api.Heartbeat{ID: id, Role: api.Primary, State: api.Live, Load: load, FreeBytes: 1 << 20}, now)
	}
	beat("p1", 0.9)
	beat("p2", 0.1)
	if id, _ := p.pick("", now); id != "p2" {
		t.Fatalf("picked %q", id)
	}
	if id, _ := p.pick("", now.Add(time.Hour)); id != "p1" {
		t.Fatalf("picked %q by the topology alone", id)
	}
}
