package gateway

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// courseConfig says how long a group is pursued.
type courseConfig struct {
	overloadWait time.Duration // how long a group waits for room before its writers get 429
	noneWait     time.Duration // how long it waits for any live primary before its writers get 503
	rest         time.Duration // how long a primary that refused or did not listen is left alone
	pendingWait  time.Duration // before a group whose record is pending is asked about again
}

// course is the way of one group through its attempts: the same bytes under the same identity, to
// one primary after another, until there is an answer or the deadline has passed. It is a pure
// core.
type course struct {
	cfg      courseConfig
	only     string // the primary that the client chose
	size     int
	deadline time.Time

	attempts   int
	unknown    bool      // an attempt may have been stored
	pending    bool      // it is stored, but not where its durability says
	overloaded time.Time // since when there has been no room; zero: there was
	without    time.Time // since when no primary has been live; zero: one was
	notBefore  time.Time
	retryAfter int        // milliseconds, as a primary asked for
	last       *api.Error // what the last attempt said
}

// step is what to do next. Exactly one of its three kinds is set.
type step struct {
	primary string     // send there, under epoch
	epoch   uint64     //
	wait    time.Time  // ask again then, or as soon as something has changed
	err     *api.Error // give up: nobody waits for the group any more
}

// retryAfterMS is what an overloaded writer is told when no primary said anything.
const retryAfterMS = 100

// next decides on the next step, which the caller must do: bytes of a send are counted here.
func (c *course) next(r *router, now time.Time) step {
	if !now.Before(c.deadline) {
		return step{err: c.expired()}
	}
	if c.only != "" {
		if err := r.refusal(now, c.only); err != nil {
			return step{err: c.doubt(err)}
		}
	}
	if now.Before(c.notBefore) {
		return step{wait: c.soonest(c.notBefore)}
	}
	p, found := r.choose(now, c.only, c.size)
	switch found {
	case chosen:
		c.without = time.Time{}
		c.attempts++
		r.send(p.ID, c.size)
		return step{primary: p.ID, epoch: p.Epoch}
	case none:
		return c.noPrimary(now)
	case full:
		return c.noRoom(now)
	}
	// All are resting. If one of them was overloaded, this is part of that wait.
	if !c.overloaded.IsZero() {
		return c.noRoom(now)
	}
	return step{wait: c.soonest(now.Add(c.cfg.rest))}
}

func (c *course) noPrimary(now time.Time) step {
	if c.without.IsZero() {
		c.without = now
	}
	until := c.without.Add(c.cfg.noneWait)
	if now.Before(until) {
		return step{wait: c.soonest(until)}
	}
	return step{err: c.doubt(api.Errorf(api.Unavailable, "no primary is live"))}
}

func (c *course) noRoom(now time.Time) step {
	if c.overloaded.IsZero() {
		c.overloaded = now
	}
	until := c.overloaded.Add(c.cfg.overloadWait)
	if c.unknown || c.pending {
		// "Come back later" is no answer to what may be stored; asking again until the deadline may bring one.
		until = c.deadline
	}
	if now.Before(until) {
		return step{wait: c.soonest(minTime(until, now.Add(c.cfg.rest)))}
	}
	return step{err: c.doubt(atBound(max(c.retryAfter, retryAfterMS)))}
}

func atBound(retryAfterMS int) *api.Error {
	return api.OverloadedError(retryAfterMS, "every primary is at its bound")
}

func (c *course) soonest(t time.Time) time.Time { return minTime(t, c.deadline) }

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// expired is the end at the deadline.
func (c *course) expired() *api.Error {
	switch {
	case c.attempts == 0 && !c.overloaded.IsZero():
		return atBound(retryAfterMS)
	case c.attempts == 0:
		return api.Errorf(api.Unavailable, "no primary could be reached in time")
	case c.last != nil:
		return c.doubt(api.Errorf(api.Unavailable, "no primary answered in time: %s", c.last.Message))
	}
	return c.doubt(api.Errorf(api.Unavailable, "no primary answered in time"))
}

// doubt turns an end that says "not stored" into 503 if an attempt may have been stored after all.
func (c *course) doubt(e *api.Error) *api.Error {
	switch {
	case c.pending:
		return api.Errorf(api.Unavailable, "the write is accepted but not yet in the object store (%s); "+
			"send it again under the same identity", e.Message)
	case c.unknown:
		return api.Errorf(api.Unavailable, "%s; whether the write was stored is unknown", e.Message)
	}
	return e
}

// reply is how an attempt ended.
type reply uint8

const (
	replyAnswer  reply = iota // every write has its outcome
	replyPending              // the same, but the record is not confirmed yet
	replySilent               // nobody listened: nothing happened there
	replyLost                 // no answer came, or the primary went away: it may have happened
	replyRefused              // an error for the whole group
)

// ended takes the end of an attempt at a primary. It returns whether the course is over: with err
// nil the answer counts, else its writers get err. refusal is set for replyRefused.
func (c *course) ended(
	r *router, now time.Time, primary string, how reply, refusal *api.Error,
) (over bool, err *api.Error) {
	r.answered(primary, c.size)
	r.sign(primary, how, now)
	c.last = refusal
	switch how {
	case replyAnswer:
		return true, nil
	case replyPending:
		c.pending, c.overloaded = true, time.Time{}
		c.notBefore = now.Add(c.cfg.pendingWait)
		return false, nil
	case replySilent:
		r.rest(primary, now.Add(c.cfg.rest))
		return false, nil
	case replyLost:
		c.unknown, c.overloaded = true, time.Time{}
		r.rest(primary, now.Add(c.cfg.rest))
		return false, nil
	}
	return c.refused(r, now, primary, refusal)
}

func (c *course) refused(
	r *router, now time.Time, primary string, e *api.Error,
) (over bool, err *api.Error) {
	rest := max(c.cfg.rest, time.Duration(e.RetryAfterMS)*time.Millisecond)
	switch e.Name {
	case api.Overloaded:
		if c.overloaded.IsZero() {
			c.overloaded = now
		}
		c.retryAfter = e.RetryAfterMS
		r.rest(primary, now.Add(min(rest, c.cfg.overloadWait/2)))
		return false, nil
	case api.Unavailable:
		c.unknown, c.overloaded = true, time.Time{}
		r.rest(primary, now.Add(c.cfg.rest))
		return false, nil
	}
	return true, c.doubt(e)
}
