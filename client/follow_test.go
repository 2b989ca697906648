package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/natstest"
)

// followed reads a table on until a TxID, and returns the names of the rows.
func followed(t *testing.T, c *Client, from, to uint64) (names []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for row, err := range c.Table("cpu").Follow(ctx, from, ToTxID(to)) {
		if err != nil {
			return names, err
		}
		names = append(names, named(t, row))
	}
	return names, nil
}

func TestI4_FollowGoesOnAtEveryTxID(t *testing.T) {
	table := &fakeTable{void: map[uint64]bool{5: true, 6: true, 20: true}}
	_, c, _ := fakeNodes(t, table, 20, 20)
	for from := uint64(0); from <= 20; from++ {
		got, err := followed(t, c, from, 20)
		if want := table.between(max(from, 1), 20); err != nil || !slices.Equal(got, want) {
			t.Errorf("from %d: %q, %v, want %q", from, got, err, want)
		}
	}
}

// TestI4_FollowThroughAnswersThatBreakOff at any byte, of any node: every row comes, once, in its order.
func TestI4_FollowThroughAnswersThatBreakOff(t *testing.T) {
	table := &fakeTable{void: map[uint64]bool{9: true}}
	_, c, nodes := fakeNodes(t, table, 60, 60, 60)
	rng := rand.New(rand.NewPCG(7, 7))
	for _, n := range nodes {
		n.change(func(n *fakeNode) {
			n.spoil = func(q url.Values, a []byte) []byte {
				n.mu.Lock()
				defer n.mu.Unlock()
				if q.Get("wait") == "" || rng.IntN(2) == 0 {
					return a
				}
				return a[:rng.IntN(len(a))]
			}
		})
	}
	for range 3 {
		got, err := followed(t, c, 1, 60)
		if want := table.between(1, 60); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d rows, %v, want %d: %q", len(got), err, len(want), got)
		}
	}
}

// TestI4_FollowThroughTheDeathOfEveryNode that is read from, one after the other, while rows are committed.
func TestI4_FollowThroughTheDeathOfEveryNode(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 3, 3, 3)
	var names []string
	const to = 30
	for row, err := range c.Table("cpu").Follow(t.Context(), 1, ToTxID(to)) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, named(t, row))
		if !row.Last() || row.TxID()%3 != 0 {
			continue
		}
		switch row.TxID() {
		case 9:
			nodes[0].stop()
		case 18:
			nodes[1].stop()
		}
		for _, n := range nodes {
			n.apply(min(row.TxID()+3, to))
		}
	}
	if want := table.between(1, to); !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// TestFollowLeavesANodeThatFallsSilent: it takes the connection and says nothing, as a host does that has vanished.
func TestFollowLeavesANodeThatFallsSilent(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 9, 0)
	nodes[0].change(func(n *fakeNode) {
		n.spoil, n.hang = func(_ url.Values, a []byte) []byte { return a[:len(a)-9] }, true
	})
	go func() {
		natstest.Eventually(t, "the first node is asked", func() bool { return len(nodes[0].questions()) > 0 })
		nodes[0].quiet.Do(func() { close(nodes[0].dead) })
		nodes[1].apply(9)
	}()
	got, err := followed(t, c, 1, 9)
	if want := table.between(1, 9); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// TestFollowLeavesANodeThatGetsNothingNew: it lives and answers, and is cut off from the cluster.
func TestFollowLeavesANodeThatGetsNothingNew(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 4, 9)
	c.opts.followWait = 50 * time.Millisecond
	nodes[1].change(func(n *fakeNode) { n.lag = 1 }) // so that the other one is asked first
	got, err := followed(t, c, 1, 9)
	if want := table.between(1, 9); err != nil || !slices.Equal(got, want) || len(nodes[0].questions()) == 0 {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// TestFollowDoesNotPoll: while there is nothing new, one question waits at one node.
func TestFollowDoesNotPoll(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	for _, err := range c.Table("cpu").Follow(ctx, 1) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	if n := len(nodes[0].questions()); n != 1 {
		t.Errorf("%d questions while nothing happened", n)
	}
	go func() {
		natstest.Eventually(t, "it waits", func() bool { return len(nodes[0].questions()) > 1 })
		nodes[0].apply(2)
	}()
	if got, err := followed(t, c, 1, 2); err != nil || !slices.Equal(got, table.between(1, 2)) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestI4_FollowAsksAnotherNodeWhenOneIsWrong, and gives up when all are.
func TestI4_FollowAsksAnotherNodeWhenOneIsWrong(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 9, 9)
	nodes[1].change(func(n *fakeNode) { n.lag = 1 })
	wrong := func(n *fakeNode) { n.leave = func(txid uint64) bool { return txid == 5 } }
	nodes[0].change(wrong)
	got, err := followed(t, c, 1, 9)
	if want := table.between(1, 9); err != nil || !slices.Equal(got, want) {
		t.Errorf("one is wrong: %q, %v, want %q", got, err, want)
	}
	garbage := func(n *fakeNode) { n.spoil = func(url.Values, []byte) []byte { return make([]byte, 1<<16) } }
	nodes[0].change(garbage)
	nodes[1].change(garbage)
	if got, err := followed(t, c, 1, 9); !errors.Is(err, ErrCorrupt) {
		t.Errorf("all are wrong: %q, %v", got, err)
	}
}

func TestFollowEnds(t *testing.T) {
	table := &fakeTable{}
	_, c, nodes := fakeNodes(t, table, 3)
	for _, err := range c.Table("a b").Follow(t.Context(), 1) {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("a table that cannot be: %v", err)
		}
	}
	for _, err := range c.Table("cpu").Follow(t.Context(), 1, FromNode("n9")) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a node that is not there: %v", err)
		}
	}
	go func() {
		natstest.Eventually(t, "it waits", func() bool { return len(nodes[0].questions()) > 1 })
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	var last error
	for _, last = range c.Table("cpu").Follow(t.Context(), 3) {
	}
	if !errors.Is(last, ErrClosed) {
		t.Errorf("the client is closed: %v", last)
	}
}
