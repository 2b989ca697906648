package primary

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// shard commits its tables' groups in the order in which they were appended, one request at a time: two requests
// under way could arrive in either order.
type shard struct {
	queue    []*group // appended, in no request yet
	asked    []*group // of the request under way
	request  *api.CommitRequest
	failures int           // of the request
	againAt  time.Duration // when it is sent again; 0: an attempt is under way, or there is no request
}

// pump sends the next request of a shard if there is none under way and its next group is durable. It takes as many
// groups as one request holds, also of several segments.
func (c *core) pump(i int) {
	sh := &c.shards[i]
	if sh.request != nil || len(sh.queue) == 0 || sh.queue[0].segment.stage != durable {
		return
	}
	r := &api.CommitRequest{Node: c.node, Epoch: c.epoch}
	bytes := 0
	for _, g := range sh.queue {
		cg := api.CommitGroup{
			Segment: g.segment.sequence, Offset: g.offset, Length: g.length, CRC: g.crc,
			State: api.Confirmed, Header: g.header,
		}
		bytes += cg.Size()
		full := len(r.Groups) == api.CommitGroupsMax || len(r.Groups) > 0 && bytes > api.CommitBytesMax
		if full || g.segment.stage != durable {
			break
		}
		r.Groups = append(r.Groups, cg)
	}
	n := len(r.Groups)
	sh.asked = append(sh.asked[:0], sh.queue[:n]...)
	clear(sh.queue[:n])
	if sh.queue = sh.queue[n:]; len(sh.queue) == 0 {
		sh.queue = nil
	}
	sh.request, sh.failures, sh.againAt = r, 0, 0
	c.emit(effect{kind: doCommit, shard: i, request: r})
}

// committed is the sequencer's answer to a shard's request: one for each group, in order.
func (c *core) committed(now time.Duration, i int, answers []api.GroupAnswer) {
	sh := &c.shards[i]
	if c.mode == stopped || sh.request == nil {
		return
	}
	for k, g := range sh.asked {
		c.decide(g, c.judge(g, answers[k]))
	}
	clear(sh.asked)
	sh.asked, sh.request, sh.againAt = sh.asked[:0], nil, 0
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
	case a.Pending:
		return api.GroupAnswer{Err: api.Errorf(api.Unavailable,
			"the write was sent before and is not in the object store yet; send it again later")}
	case len(a.Writes) != g.writes:
		return api.GroupAnswer{Err: api.Errorf(api.Unavailable,
			"the sequencer answered %d writes of %d; the outcome is unknown", len(a.Writes), g.writes)}
	}
	return a
}

// commitUnknown says that no answer came to a shard's request, which may have been decided: the same request is sent
// again, and nothing of the shard overtakes it.
func (c *core) commitUnknown(now time.Duration, i int) {
	sh := &c.shards[i]
	if c.mode == stopped || sh.request == nil {
		return
	}
	sh.failures++
	sh.againAt = now + backoff(sh.failures)
	c.proceed(now)
}

func (c *core) resend(now time.Duration, i int) {
	sh := &c.shards[i]
	if sh.againAt == 0 || now < sh.againAt {
		return
	}
	sh.againAt = 0
	c.emit(effect{kind: doCommit, shard: i, request: sh.request})
}
