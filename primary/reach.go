package primary

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// Times of judging whether what a primary needs can be reached.
const (
	reachSuspect = time.Second            // without a success, until it is suspected
	reachProbe   = 500 * time.Millisecond // between two probes
	reachFresh   = 2 * time.Second        // how long an attempt's error outweighs a probe that succeeds
	reachLook    = 250 * time.Millisecond // how exactly probes are made
)

// reach judges whether a service that the primary cannot do without is there: the sequencer, or the object store. Its
// evidence are the primary's own attempts, which are repeated until one succeeds. An attempt that hangs says nothing yet,
// a put of many bytes may just take long, so a cheap probe is made beside it. It is a pure core.
type reach struct {
	what    string        // is the matter, for people
	trying  int           // attempts under way
	trouble bool          // something has been tried, and nothing has succeeded, since:
	since   time.Duration //
	err     string        // what the last attempt said that has failed since; "" if none has
	failed  time.Duration // when that was
	probing bool
	probed  time.Duration // when the last probe began
	unable  string        // why the primary cannot serve; "" if it can
}

// began says that an attempt has begun.
func (r *reach) began(now time.Duration) {
	if r.trying++; !r.trouble {
		r.trouble, r.since = true, now
	}
}

// ended says that an attempt has ended; nil is a success.
func (r *reach) ended(now time.Duration, err error) {
	r.trying--
	if err == nil {
		r.clear(now)
		return
	}
	r.failed, r.err = now, err.Error()
	if now-r.since >= reachSuspect {
		r.unable = r.what + ": " + r.err
	}
}

// clear forgets all evidence. What is still under way counts from now on.
func (r *reach) clear(now time.Duration) {
	r.trouble, r.since, r.err, r.unable = r.trying > 0, now, "", ""
}

// due says whether a probe is to be made now, which then has begun.
func (r *reach) due(now time.Duration) bool {
	if !r.trouble || r.probing || now-r.since < reachSuspect || r.probed > 0 && now-r.probed < reachProbe {
		return false
	}
	r.probing, r.probed = true, now
	return true
}

// probeEnded is the end of the last probe; nil is a success.
func (r *reach) probeEnded(now time.Duration, err error) {
	r.probing = false
	switch {
	case !r.trouble || r.since > r.probed: // an attempt has succeeded meanwhile
	case err != nil:
		r.unable = r.what + ": " + err.Error()
	case r.err == "" || now-r.failed >= reachFresh:
		r.clear(now)
	}
}

// needs are what a primary cannot do without.
type needs struct {
	mu                 sync.Mutex
	sequencer, objects reach
	shard              atomic.Int64 // whose commit was tried last
}

func newNeeds() *needs {
	return &needs{sequencer: reach{what: "the sequencer does not answer"},
		objects: reach{what: "the object store does not answer"}}
}

// attempt begins an attempt; what it returns ends it.
func (s *Service) attempt(r *reach) (ended func(error)) {
	s.needs.mu.Lock()
	defer s.needs.mu.Unlock()
	r.began(s.now())
	return func(err error) {
		s.needs.mu.Lock()
		defer s.needs.mu.Unlock()
		r.ended(s.now(), err)
	}
}

// unable says why the primary cannot take writes now; "" if it can.
func (n *needs) unable() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sequencer.unable != "" {
		return n.sequencer.unable
	}
	return n.objects.unable
}

// probeLoop probes what is suspected, until ctx ends.
func (s *Service) probeLoop(ctx context.Context) {
	ticker := time.NewTicker(reachLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.probeSuspects()
		}
	}
}

func (s *Service) probeSuspects() {
	s.needs.mu.Lock()
	sequencer, objects := s.needs.sequencer.due(s.now()), s.needs.objects.due(s.now())
	s.needs.mu.Unlock()
	if sequencer {
		s.probe(&s.needs.sequencer, s.probeSequencer)
	}
	if objects {
		s.probe(&s.needs.objects, s.probeObjects)
	}
}

func (s *Service) probe(r *reach, ask func(context.Context) error) {
	s.spawn(func(ctx context.Context) {
		bound, cancel := context.WithTimeout(ctx, reachSuspect)
		defer cancel()
		err := ask(bound)
		s.needs.mu.Lock()
		defer s.needs.mu.Unlock()
		if ctx.Err() == nil {
			r.probeEnded(s.now(), err)
		}
	})
}

// probeSequencer sends a commit request without groups, which the sequencer refuses: so it is there, and lets this node
// ask for commits.
func (s *Service) probeSequencer(ctx context.Context) error {
	shard := int(s.needs.shard.Load())
	_, err := s.deps.Sequencer.Commit(ctx, shard, &api.CommitRequest{Node: s.cfg.ID, Epoch: s.cfg.Epoch})
	return absence(err)
}

// absence is an error that says that the sequencer is not there, or cannot use its store. Any other answer is one.
func absence(err error) error {
	wire := new(api.Error)
	if errors.As(err, &wire) && wire.Name != api.Unavailable {
		return nil
	}
	return err
}

// probeObjects looks for an object that need not be there.
func (s *Service) probeObjects(ctx context.Context) error {
	_, err := s.deps.Objects.Stat(ctx, s.segmentID(1).Key())
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}
