package lease_test

import (
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/lease"
)

// TestLease: another instance takes a lease only after it has stood still for its own time.
func TestLease(t *testing.T) {
	l := lease.Lease{Self: "b", TTL: 3 * time.Second}
	steps := []struct {
		at   time.Duration
		view api.Lease
		may  bool
	}{
		{0, api.Lease{}, true},
		{time.Second, api.Lease{Holder: "a", Counter: 1}, false},
		{3 * time.Second, api.Lease{Holder: "a", Counter: 2}, false},
		{5 * time.Second, api.Lease{Holder: "a", Counter: 2}, false},
		{6 * time.Second, api.Lease{Holder: "a", Counter: 2}, true},
		{7 * time.Second, api.Lease{Holder: "a", Counter: 3}, false}, // it was only slow
		{11 * time.Second, api.Lease{Holder: "b", Counter: 4}, true},
	}
	for i, s := range steps {
		if got := l.May(s.at, s.view); got != s.may {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
