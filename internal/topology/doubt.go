package topology

import "time"

// Evidence about a node that comes before the cluster's word: what was sent to it, and whether it answers. Nothing here
// is proof that it is dead, so it says only whom to prefer; and whoever sends elsewhere what is open there does so under
// the same identity, which makes the copy harmless.
//
//	nobody listens where it should (NATS says so at once)   ▶ gone, until it is heard again
//	no sign of life for doubtAfter, asked, and no answer    ▶ in doubt, until it gives one
//
// A process that was stopped, or a host that has vanished, looks like one that is slow. It is in doubt after one and a
// half heartbeats, and half the time that a view waits before it counts as silent by itself (HeartbeatMax).
const (
	askAfter    = 50 * time.Millisecond  // the age of an open request at which its node is asked whether it is there
	askEvery    = 100 * time.Millisecond // the least time between two questions to a node
	doubtAfter  = 300 * time.Millisecond // without any sign of life
	answerAfter = 100 * time.Millisecond // how long a question is open before its silence says something
)

// Answered says that a node has answered, whatever it was asked: it lives.
func (v *View) Answered(id string, now time.Time) {
	if n, ok := v.nodes[id]; ok && !n.gone {
		n.sign, n.asked = now, time.Time{}
	}
}

// NoResponders says that nobody listened where a node should. An answer that was under way by then takes nothing of it
// back; a heartbeat does.
func (v *View) NoResponders(id string) {
	if n, ok := v.nodes[id]; ok {
		n.gone = true
	}
}

// ask says whether a node is to be asked now whether it is there; the caller does it.
func (v *View) ask(id string, now time.Time) bool {
	n, ok := v.nodes[id]
	if !ok || now.Sub(n.askedLast) < askEvery {
		return false
	}
	n.askedLast = now
	if n.asked.IsZero() {
		n.asked = now
	}
	return true
}

// doubt says why a node that was heard a moment ago may not be there, "" if nothing speaks for that.
func (n *node) doubt(now time.Time) string {
	switch {
	case n.gone:
		return "nobody listens there"
	case !n.asked.IsZero() && now.Sub(n.asked) >= answerAfter && now.Sub(n.sign) >= doubtAfter:
		return "it is silent"
	}
	return ""
}
