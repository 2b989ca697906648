package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// watched is a member as this instance hears it, under the epoch that the topology says.
type watched struct {
	epoch  uint64
	beat   api.Heartbeat // the last one of that epoch, if beaten is set
	beaten bool
	since  time.Duration // the last sign of life, or when its silence began to count
	quiet  bool          // it gives no heartbeats but answers, and the log has that
	told   bool          // it is silent, and the log has that
	asking bool
	asked  time.Duration // when it was asked last
	sound  bool          // the connection was known to work then
	failed *failure      // the newest time that it was asked in vain since its last sign of life
}

// failure is a question to which there was no good answer.
type failure struct {
	sent time.Duration
	why  string
}

// begin lets silence count from now on.
func (w *watched) begin(now time.Duration) {
	w.since, w.failed, w.asked, w.told = now, nil, never, false
}

// alive notes a sign of life.
func (w *watched) alive(now time.Duration) { w.begin(now) }

// concerns says whether a node in this state is failover's concern: stopped ones have left on purpose, dead ones are
// fenced already.
func concerns(s api.State) bool { return s == api.Live || s == api.Draining || s == api.Recovering }

// overdue says whether a node has been silent for so long that it is asked.
func (c *core) overdue(n api.Node, now time.Duration) bool {
	return concerns(n.State) && now-c.nodes[n.ID].since >= c.cfg.FailureTimeout-c.cfg.AskTimeout
}

// questions asks those nodes whose time is nearly over. All instances do, so that one that takes the lease need not
// begin from nothing.
func (c *core) questions(now time.Duration) (todo []action) {
	for _, n := range c.topology.Nodes {
		w := c.nodes[n.ID]
		if w.asking || !c.overdue(n, now) {
			continue
		}
		if now-w.asked < c.cfg.AskTimeout {
			continue
		}
		if !w.told && !w.quiet {
			w.told = true
			c.say(false, "node is silent: asking it", "node", n.ID, "epoch", n.Epoch, "silent", now-w.since)
		}
		w.asking, w.asked, w.sound = true, now, now-c.answered <= 2*c.cfg.LeaseInterval
		todo = append(todo, ask{n.ID, n.Epoch})
	}
	return todo
}

// asked takes the outcome of a question that was sent at a time; why there was no answer, "" if there was. Only the registered process's answer is a sign of
// life.
func (c *core) asked(a ask, sent time.Duration, info api.NodeInfo, why string, now time.Duration) {
	w := c.nodes[a.id]
	if w == nil || w.epoch != a.epoch {
		return // it is another process's turn
	}
	w.asking = false
	switch {
	case why == "" && info.Epoch == w.epoch:
		w.alive(now)
		if !w.quiet {
			w.quiet = true
			c.say(true, "node gives no heartbeats, but answers when asked: it is not declared dead", "node", a.id,
				"epoch", a.epoch)
		}
	case why == "" && info.Epoch > w.epoch:
		w.alive(now)
		c.lookSoon(now)
	case sent >= w.since && w.sound:
		if why == "" {
			why = fmt.Sprintf("an older process answers, of epoch %d", info.Epoch)
		}
		w.failed = &failure{sent, why}
	}
}

// dead returns the nodes that are silent for too long and could not be reached, primaries first, then by id.
func (c *core) dead(now time.Duration) []api.Node {
	limit := c.limit(now)
	var all []api.Node
	for _, n := range c.topology.Nodes {
		if concerns(n.State) && c.nodes[n.ID].judged(now, limit, c) {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b api.Node) int {
		if a.Role != b.Role {
			return strings.Compare(string(a.Role), string(b.Role)) // primary before replica
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// judged says whether a node is silent for limit and was asked in vain just now, by an instance that was not cut off
// itself: the sequencer has answered it just before the question, and something that was sent after the question.
func (w *watched) judged(now, limit time.Duration, c *core) bool {
	return now-w.since >= limit && w.failed != nil && now-w.failed.sent <= 3*c.cfg.AskTimeout &&
		c.proved >= w.failed.sent
}

// limit is how long a node may be silent now. When most are silent at once, the reason is more likely between them and
// here, and time is given for that to pass: also to those that come back last.
func (c *core) limit(now time.Duration) time.Duration {
	silent, all := 0, 0
	for _, n := range c.topology.Nodes {
		if !concerns(n.State) {
			continue
		}
		all++
		if c.overdue(n, now) {
			silent++
		}
	}
	if silent > 1 && 2*silent > all {
		if now >= c.patient {
			c.say(true, "most nodes are silent at once: they are given twice the time", "silent", silent, "of", all)
		}
		c.patient = now + c.cfg.FailureTimeout
	}
	if now < c.patient {
		return 2 * c.cfg.FailureTimeout
	}
	return c.cfg.FailureTimeout
}
