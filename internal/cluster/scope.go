package cluster

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// scope registers the metrics of a part that may run more than once in a process, and takes them away with it.
type scope struct {
	prometheus.Registerer

	mu   sync.Mutex
	mine []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (s *scope) Register(c prometheus.Collector) error {
	if err := s.Registerer.Register(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mine = append(s.mine, c)
	return nil
}

// MustRegister implements prometheus.Registerer.
func (s *scope) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := s.Register(c); err != nil {
			panic(err)
		}
	}
}

func (s *scope) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mine {
		s.Unregister(c)
	}
	s.mine = nil
}
