package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/hold"
)

// goneTimeout bounds how long a node that is dead or stopped may take to say what it has. It is asked all the same: what
// was declared dead may only be cut off from others. Usually NATS answers at once that nobody is there; where a host has
// vanished, nobody says anything.
const goneTimeout = 3 * time.Second

// settled is what one node has said about a segment.
type settled struct {
	node   api.Node
	answer api.HoldSettleAnswer
	err    error
}

func (s settled) gone() bool { return s.node.State == api.Dead || s.node.State == api.Stopped }

// settleAnywhere asks all nodes at once to bring a segment into the object store, and returns the first that has done
// so, or "" if no node has the segment and neither has the object store. Then deaf names the nodes that are gone and
// have not answered. It is an error if a node has it and has not brought it there, if one that is not gone does not
// answer, or if nobody has looked into the object store.
func settleAnywhere(
	ctx context.Context, ask hold.Ask, nodes []api.Node, id api.SegmentID,
) (by string, deaf []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan settled, len(nodes))
	for _, n := range nodes {
		go func() { answers <- settleAt(ctx, ask, n, id) }()
	}
	looked, silent := 0, []string{}
	for range nodes {
		s := <-answers
		switch {
		case s.err == nil && s.answer.Stored:
			return s.node.ID, nil, nil
		case s.err == nil && s.answer.Held:
			err = fmt.Errorf("node %s has segment %s: nothing is lost; it puts it into the object store", s.node.ID, id)
		case s.err == nil:
			looked++
		case s.gone():
			deaf = append(deaf, fmt.Sprintf("%s (%s)", s.node.ID, s.node.State))
		default:
			silent = append(silent, fmt.Sprintf("%s (%v)", s.node.ID, s.err))
		}
	}
	slices.Sort(silent)
	slices.Sort(deaf)
	switch {
	case err != nil:
	case looked == 0 && len(silent) == 0:
		err = fmt.Errorf("no node lives that could look for segment %s in the object store\n"+
			"Void gives rows up for good, so one has to look first: start one", id)
	case len(silent) > 0:
		err = fmt.Errorf("not every node could say whether segment %s is in the object store or on its disk: %s\n"+
			"Void gives rows up for good, so they are asked first. A node that is gone has to be declared dead (braid status)",
			id, strings.Join(silent, ", "))
	}
	return "", deaf, err
}

// settleAt asks one node, with the patience that its state deserves.
func settleAt(ctx context.Context, ask hold.Ask, n api.Node, id api.SegmentID) settled {
	s := settled{node: n}
	patience := askTimeout
	if s.gone() {
		patience = goneTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.answer, s.err = ask.Settle(ctx, n.ID, id)
	return s
}
