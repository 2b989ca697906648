package cluster

import (
	"context"
	"math/rand/v2"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// heapMax is what the cluster and its writers may have in use while they are overrun: what the gateway holds (256 MB) and
// what waits in its subscriptions (192), what a primary has admitted (64) and what waits for it (128), and as much again
// that the garbage collector has not come to.
const heapMax = 1280 << 20

// TestI7_WritersOutrunTheDisk: writers send more than the object store takes. They hear 429 and nothing else, memory stays
// bounded, what was accepted is there, and with a faster store all goes on by itself.
func TestI7_WritersOutrunTheDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: it sends for seconds as fast as it can")
	}
	f := newFailing(t, "p1")
	f.slow.Store(int64(time.Second))
	noise := make([]byte, 1<<20) // one that does not compress
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte('#' + rng.IntN(57)) // without quotes and backslashes
	}
	payload := append(append([]byte(`cpu s="`), noise...), `" 1`...)
	run, stop := context.WithTimeout(t.Context(), 6*time.Second)
	defer stop()
	var accepted, overloaded atomic.Uint64
	var writers sync.WaitGroup
	for range 200 {
		writers.Go(func() {
			for run.Err() == nil {
				msg, err := f.nc.RequestMsg(&nats.Msg{Subject: "ingest.cpu", Data: payload}, 30*time.Second)
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				switch e := bus.ReplyError(msg); {
				case e == nil:
					accepted.Add(1)
				case e.Name == api.Overloaded && e.RetryAfterMS > 0:
					overloaded.Add(1)
					await(run, time.Duration(e.RetryAfterMS)*time.Millisecond)
				default:
					t.Errorf("told %v", e)
					return
				}
			}
		})
	}
	highest := uint64(0)
	for run.Err() == nil {
		highest = max(highest, heapInUse())
		await(run, 20*time.Millisecond)
	}
	writers.Wait()
	t.Logf("%d accepted, %d times 429, at most %d MB of heap", accepted.Load(), overloaded.Load(), highest>>20)
	if accepted.Load() == 0 || overloaded.Load() == 0 || highest > heapMax {
		t.Errorf("%d accepted, %d times 429, %d MB of heap", accepted.Load(), overloaded.Load(), highest>>20)
	}
	f.slow.Store(0)
	f.accepted("ingest.cpu", "a", strconv.FormatUint(accepted.Load()+1, 10))
}

func await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func heapInUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
