package producer

import (
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// Verdict is what the end of one attempt means for its write.
type Verdict int

const (
	// Final: the answer is definite.
	Final Verdict = iota
	// Harmless: nothing happened. Again.
	Harmless
	// Unclear: it may have happened. Again, under the same identity only.
	Unclear
)

// Judge says what a refusal means and how long the cluster asks to wait before the next attempt.
func Judge(e *api.Error) (Verdict, time.Duration) {
	switch e.Name {
	case api.Overloaded:
		return Harmless, time.Duration(e.RetryAfterMS) * time.Millisecond
	case api.Unavailable:
		return Unclear, time.Duration(e.RetryAfterMS) * time.Millisecond
	}
	return Final, 0
}

// Flight is one write from its first attempt to its answer.
type Flight struct {
	// Once: an attempt that may have had its effect is the last one, for the write has no identity.
	Once bool

	attempts int
	maybe    bool
}

// Failed takes the verdict on an attempt that brought no definite answer. again says whether another is safe, after
// the pause. asked is what the cluster asks for; jitter is in [0, 1).
func (f *Flight) Failed(v Verdict, asked time.Duration, jitter float64) (pause time.Duration, again bool) {
	f.attempts++
	f.maybe = f.maybe || v == Unclear
	return Backoff(f.attempts, asked, jitter), !(f.Once && v == Unclear)
}

// Maybe says whether one of the attempts so far may have had its effect.
func (f *Flight) Maybe() bool { return f.maybe }

// Backoff of attempts that fail at once, as they do while a service restarts.
const (
	backoffMin = 2 * time.Millisecond
	backoffMax = 500 * time.Millisecond
)

// Backoff is the pause after the given number of failed attempts, from 1; jitter is in [0, 1).
func Backoff(attempt int, asked time.Duration, jitter float64) time.Duration {
	pause := backoffMax
	if attempt < 10 {
		pause = min(backoffMin<<attempt, backoffMax)
	}
	pause = max(pause, asked)
	return pause/2 + time.Duration(jitter*float64(pause))
}
