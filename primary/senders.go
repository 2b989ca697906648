package primary

import (
	"sync"
	"time"
)

// senders counts who has sent something lately. Senders share the free bytes by this number, so it is a hint and no
// promise.
type senders struct {
	mu   sync.Mutex
	last map[string]time.Duration
}

const (
	senderBytesMax = 128  // of a name
	sendersMax     = 4096 // that are told apart
	senderWindow   = time.Second
)

func (s *senders) heard(name string, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = make(map[string]time.Duration)
	}
	if _, known := s.last[name]; !known && len(s.last) >= sendersMax {
		s.forget(now)
		if len(s.last) >= sendersMax {
			return
		}
	}
	s.last[name] = now
}

func (s *senders) count(now time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	return len(s.last)
}

func (s *senders) forget(now time.Duration) {
	for name, at := range s.last {
		if now-at > senderWindow {
			delete(s.last, name)
		}
	}
}
