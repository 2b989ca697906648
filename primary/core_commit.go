package primary

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// lane commits a shard's groups of one level in the order in which they were appended, one request at a time: two
// requests under way could arrive in either order.
type lane struct {
	queue    []*group // appended, in no request yet
	asked    []*group // of the request under way
	request  *api.CommitRequest
	failures int           // of the request
	againAt  time.Duration // when it is sent again; 0: an attempt is under way, or there is no request
}

// laneOf is the lane of a group.
func (c *core) laneOf(g *group) int { return int(g.level)*c.shards + g.shard }

// pump sends the next request of a lane if there is none under way and its next group is durable. It takes as many
// groups as one request holds, also of several segments.
func (c *core) pump(i int) {
	l := &c.lanes[i]
	if l.request != nil || len(l.queue) == 0 || l.queue[0].segment.stage != durable {
		return
	}
	r := &api.CommitRequest{Node: c.node, Epoch: c.epoch}
	bytes := 0
	for _, g := range l.queue {
		cg := api.CommitGroup{
			Segment: g.segment.sequence, Offset: g.offset, Length: g.length, CRC: g.crc,
			State: api.Confirmed, Header: g.header,
		}
		if !g.segment.stored {
			cg.State, cg.Holders = api.Pending, g.segment.holders(c.node)
		}
		bytes += cg.Size()
		full := len(r.Groups) == api.CommitGroupsMax || len(r.Groups) > 0 && bytes > api.CommitBytesMax
		if full || g.segment.stage != durable {
			break
		}
		r.Groups = append(r.Groups, cg)
	}
	n := len(r.Groups)
	l.asked = append(l.asked[:0], l.queue[:n]...)
	clear(l.queue[:n])
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	l.request, l.failures, l.againAt = r, 0, 0
	c.emit(effect{kind: doCommit, lane: i, shard: i % c.shards, request: r})
}

// committed is the sequencer's answer to a lane's request: one for each group, in order.
func (c *core) committed(now time.Duration, i int, answers []api.GroupAnswer) {
	l := &c.lanes[i]
	if c.mode == stopped || l.request == nil {
		return
	}
	for k, g := range l.asked {
		// Whatever the answer is: a repeat may hear that its sequence is settled, and its first attempt have made the
		// record.
		if l.request.Groups[k].State == api.Pending {
			g.segment.unconfirmed = true
		}
		c.decide(g, c.judge(g, answers[k]))
	}
	for _, g := range l.asked {
		c.confirm(g.segment)
	}
	clear(l.asked)
	l.asked, l.request, l.againAt = l.asked[:0], nil, 0
	c.forget()
	c.pump(i)
	c.proceed(now)
}

// judge turns the sequencer's answer into the sender's. Pending cannot be acknowledged at `object`: the group repeats
// one whose record waits for its segment, so its sender has to ask again.
func (c *core) judge(g *group, a api.GroupAnswer) api.GroupAnswer {
	switch {
	case a.Err != nil:
		return a
	case a.Pending && g.level == api.DurabilityObject:
		return api.GroupAnswer{Err: api.Errorf(api.Unavailable,
			"the write was sent before and is not in the object store yet; send it again later")}
	case len(a.Writes) != g.writes:
		return api.GroupAnswer{Err: api.Errorf(api.Unavailable,
			"the sequencer answered %d writes of %d; the outcome is unknown", len(a.Writes), g.writes)}
	}
	return a
}

// commitUnknown says that no answer came to a lane's request, which may have been decided: the same request is sent
// again, and nothing of the lane overtakes it.
func (c *core) commitUnknown(now time.Duration, i int) {
	l := &c.lanes[i]
	if c.mode == stopped || l.request == nil {
		return
	}
	l.failures++
	l.againAt = now + backoff(l.failures)
	c.proceed(now)
}

func (c *core) resend(now time.Duration, i int) {
	l := &c.lanes[i]
	if l.againAt == 0 || now < l.againAt {
		return
	}
	l.againAt = 0
	c.emit(effect{kind: doCommit, lane: i, shard: i % c.shards, request: l.request})
}
