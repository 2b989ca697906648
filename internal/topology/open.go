package topology

import (
	"container/list"
	"time"
)

// Open are the requests that a sender has open at nodes. It finds those that are to be given up, because their node
// cannot answer any more or another one could sooner. It is a pure value, and not safe for concurrent use.
type Open struct {
	all list.List // of *Request, in the order in which they began
}

// Request is one request, open at one process of a node.
type Request struct {
	node   string
	epoch  uint64
	begun  time.Time
	unseen bool // the node was not heard when the request began
	giveUp func()
	place  *list.Element
}

// Begin adds a request that is sent now. giveUp ends it; it may be called several times, must not block, and must not
// call Open.
func (o *Open) Begin(node string, epoch uint64, now time.Time, giveUp func()) *Request {
	r := &Request{node: node, epoch: epoch, begun: now, giveUp: giveUp}
	r.place = o.all.PushBack(r)
	return r
}

// BeginAt is Begin at a node as the view knows it now. Where only the topology names it, as after connecting, it has
// HeartbeatMax to be heard.
func (o *Open) BeginAt(v *View, node string, now time.Time, giveUp func()) *Request {
	if c, heard := v.Candidate(node, now); heard {
		return o.Begin(node, c.Epoch, now, giveUp)
	}
	n, _ := v.Node(node)
	r := o.Begin(node, n.Epoch, now, giveUp)
	r.unseen = true
	return r
}

// End takes a request off, once, however it ended.
func (o *Open) End(r *Request) { o.all.Remove(r.place) }

// Len is how many are open.
func (o *Open) Len() int { return o.all.Len() }

// GiveUp gives up the requests at nodes that are silent or replaced, or that cannot go on or may not be there while
// another one can. It is called often, and as soon as something was learnt that speaks against a node.
func (o *Open) GiveUp(v *View, now time.Time) {
	outdone := make(map[string]bool) // thousands of requests, a few nodes
	for e := o.all.Front(); e != nil; e = e.Next() {
		r := e.Value.(*Request)
		if _, seen := outdone[r.node]; !seen {
			outdone[r.node] = v.Outdone(r.node, now) != ""
		}
		if outdone[r.node] || !v.Answers(r.node, r.epoch, now) && !r.early(v, now) {
			r.giveUp()
		}
	}
}

// early says that it means nothing yet that the node is not heard: it was not when the request began, and there has been
// no time for it, or no other primary is heard either.
func (r *Request) early(v *View, now time.Time) bool {
	return r.unseen && (now.Sub(r.begun) < HeartbeatMax || len(v.Candidates(now)) == 0)
}

// Ask returns the nodes that the caller is to ask now whether they are there, because requests are open at them for
// longer than an answer usually takes. View.Answered or View.NoResponders is what comes of it, or nothing.
func (o *Open) Ask(v *View, now time.Time) (nodes []string) {
	for e := o.all.Front(); e != nil; e = e.Next() {
		r := e.Value.(*Request)
		if now.Sub(r.begun) < askAfter {
			break // those behind it are younger
		}
		if v.ask(r.node, now) {
			nodes = append(nodes, r.node)
		}
	}
	return nodes
}
