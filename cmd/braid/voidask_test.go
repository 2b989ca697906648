package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestVoidAsksAllNodesAtOnce: however many hosts have vanished, the answer takes as long as the slowest is waited for; a
// node that is gone is waited for three seconds, and one that should live for ten.
func TestVoidAsksAllNodesAtOnce(t *testing.T) {
	nothing, stored, held := api.HoldSettleAnswer{}, api.HoldSettleAnswer{Held: true, Stored: true},
		api.HoldSettleAnswer{Held: true}
	for name, c := range map[string]struct {
		nodes   map[string]api.State
		answers map[string]api.HoldSettleAnswer // the others have vanished without a word
		by      string
		deaf    []string
		err     string
		took    time.Duration
	}{
		"two dead hosts have vanished": {
			nodes:   map[string]api.State{"p1": api.Dead, "p2": api.Dead, "r1": api.Live},
			answers: map[string]api.HoldSettleAnswer{"r1": nothing},
			deaf:    []string{"p1 (dead)", "p2 (dead)"}, took: goneTimeout,
		},
		"a dead one was only cut off, and has it": {
			nodes:   map[string]api.State{"p1": api.Dead, "p2": api.Dead, "r1": api.Live},
			answers: map[string]api.HoldSettleAnswer{"r1": nothing, "p2": stored},
			by:      "p2",
		},
		"one has it and cannot store it": {
			nodes:   map[string]api.State{"p1": api.Dead, "r1": api.Live},
			answers: map[string]api.HoldSettleAnswer{"r1": held},
			err:     "r1 has segment p1/1/7: nothing is lost", took: goneTimeout,
		},
		"one that lives does not answer": {
			nodes:   map[string]api.State{"p1": api.Dead, "p2": api.Live, "r1": api.Live},
			answers: map[string]api.HoldSettleAnswer{"r1": nothing},
			err:     "has to be declared dead", took: askTimeout,
		},
		"nobody lives": {
			nodes: map[string]api.State{"p1": api.Dead, "r1": api.Stopped},
			err:   "no node lives that could look", took: goneTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var nodes []api.Node
				for id, state := range c.nodes {
					nodes = append(nodes, api.Node{ID: id, State: state})
				}
				ask := func(ctx context.Context, node string, _ []byte) ([]byte, error) {
					if a, ok := c.answers[node]; ok {
						return json.Marshal(a)
					}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				began := time.Now()
				by, deaf, err := settleAnywhere(t.Context(), ask, nodes, api.SegmentID{Node: "p1", Epoch: 1, Sequence: 7})
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if by != c.by || c.err == "" && !slices.Equal(deaf, c.deaf) {
					t.Errorf("by %q, deaf %q", by, deaf)
				}
				if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) ||
					errors.Is(err, context.Canceled) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				synctest.Wait()
			})
		})
	}
}
