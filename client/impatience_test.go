package client

import (
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api/bus"
)

// TestI3_AGatewayThatStandsStillIsLeft: the gateway that has drawn a write says nothing, for minutes. The write is sent
// again under the same identity; which gateway gets it is for NATS to say.
func TestI3_AGatewayThatStandsStillIsLeft(t *testing.T) {
	c := startCluster(t)
	var mu sync.Mutex
	var seen []string
	c.handle("ingest.cpu", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, identityHeaders(r.Header())+string(r.Data()))
		if len(seen) > 1 {
			c.accept(r, "cpu", 7)
		}
	})
	client := c.connect(WithAttemptTimeout(10 * time.Minute))
	answer, err := client.Table("cpu").Write(t.Context(), row)
	if err != nil || answer != (Result{"cpu", 7, 1}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 2 || seen[0] != seen[1] {
		t.Fatalf("attempts: %q", seen)
	}
}

// TestI7_EarlyRepeatsAreFew: however slow a cluster is, few of its writes are sent again early.
func TestI7_EarlyRepeatsAreFew(t *testing.T) {
	r := newRepeats()
	spent := 0
	for range 100_000 { // each would be sent again
		r.earn()
		if r.spend() {
			spent++
		}
	}
	if most := 100_000*repeatShare + repeatsMax; float64(spent) > most || spent < repeatsMax {
		t.Fatalf("%d repeats, at most %v are allowed", spent, most)
	}
}
