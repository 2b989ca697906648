package replicator

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
)

// Hint says that a shard's log has changed. It is no more than a reason to look now.
type Hint struct {
	// Head is how far the log has grown, 0 if that is not known.
	Head uint64
	// Changed is the index of a record that is no longer pending, the lowest of several; 0: there is none.
	Changed uint64
	// Looked says that the sequencer was asked: Head is not less than what it was when that began, also if it is 0.
	Looked bool
}

// And joins two hints into one that says as much, but for Looked.
func (h Hint) And(other Hint) Hint {
	h.Head = max(h.Head, other.Head)
	if h.Changed == 0 || other.Changed != 0 && other.Changed < h.Changed {
		h.Changed = other.Changed
	}
	h.Looked = h.Looked && other.Looked
	return h
}

// parseHint reads a hint: the head in decimal, and behind a space the lowest index that has changed if any has.
// Anything else only says that the log may have grown.
func parseHint(data []byte) (Hint, error) {
	head, changed, two := strings.Cut(string(data), " ")
	var h Hint
	var err error
	if h.Head, err = strconv.ParseUint(head, 10, 64); err == nil && two {
		h.Changed, err = strconv.ParseUint(changed, 10, 64)
	}
	if err != nil {
		return Hint{}, fmt.Errorf("the hint about a log is %s", api.Quote(data))
	}
	return h, nil
}

// hints keeps what was hinted at until somebody looks. Nothing of it is lost, and it takes the room of one hint.
type hints struct {
	signal chan struct{} // has something when there is a hint

	mu  sync.Mutex
	all Hint
	any bool
}

func newHints() *hints { return &hints{signal: make(chan struct{}, 1)} }

// add never blocks.
func (s *hints) add(h Hint) {
	s.mu.Lock()
	if s.any {
		h = s.all.And(h)
	}
	s.all, s.any = h, true
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// take returns what was hinted at since the last take, ok false if nothing was.
func (s *hints) take() (h Hint, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok = s.all, s.any
	s.all, s.any = Hint{}, false
	return h, ok
}
