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
	"github.com/seed-551dd829/braid/internal/natstest"
)

// heapMax is what the cluster and its writers may have in use while they are overrun: the gateway holds 256 MB and has
// 192 waiting in a subscription, a primary has 64 admitted and 128 waiting, NATS 256 for each connection; and as much
// again that the garbage collector has not come to.
const heapMax = 3 << 30

// TestI7_WritersOutrunTheDisk: writers send more than the object store takes. They hear 429 and nothing else, memory stays
// bounded, what was accepted is there, and with a faster store all goes on by itself.
func TestI7_WritersOutrunTheDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: it sends for seconds as fast as it can")
	}
	f := newFailing(t, "p1")
	f.slow.Store(int64(time.Second))
	payload := incompressible(1 << 20)
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
	highest := highestHeap(run)
	writers.Wait()
	t.Logf("%d accepted, %d times 429, at most %d MB of heap", accepted.Load(), overloaded.Load(), highest>>20)
	if accepted.Load() == 0 || overloaded.Load() == 0 || highest > heapMax {
		t.Errorf("%d accepted, %d times 429, %d MB of heap", accepted.Load(), overloaded.Load(), highest>>20)
	}
	f.slow.Store(0)
	f.accepted("ingest.cpu", "a", strconv.FormatUint(accepted.Load()+1, 10))
}

// TestI7_AFloodOfPublishes: those that nobody waits for have no answer to slow them down. What is too much is dropped and
// counted, memory stays bounded, and afterwards writes are taken again.
func TestI7_AFloodOfPublishes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: it sends for seconds as fast as it can")
	}
	f := newFailing(t, "p1")
	f.slow.Store(int64(time.Second))
	f.accepted("ingest.cpu", "a", "1")
	payload := incompressible(1 << 20)
	run, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var publishers sync.WaitGroup
	var sent atomic.Uint64
	for range 2 {
		publishers.Go(func() {
			for run.Err() == nil {
				if err := f.nc.Publish("ingest.cpu", payload); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				sent.Add(1)
			}
		})
	}
	highest := highestHeap(run)
	publishers.Wait()
	t.Logf("%d MB published, at most %d MB of heap", sent.Load(), highest>>20)
	if sent.Load() < 100 || highest > heapMax {
		t.Errorf("%d MB published, %d MB of heap", sent.Load(), highest>>20)
	}
	f.slow.Store(0)
	natstest.Eventually(t, "a write is taken", func() bool {
		msg, err := f.nc.Request("ingest.mem", []byte("mem a=1i 1"), 20*time.Second)
		return err == nil && msg.Header.Get(api.HeaderTxID) != ""
	})
}

// incompressible is a row of n bytes.
func incompressible(n int) []byte {
	row := []byte(`cpu s="`)
	rng := rand.New(rand.NewPCG(1, 1))
	for range n {
		row = append(row, byte('#'+rng.IntN(57))) // without quotes and backslashes
	}
	return append(row, `" 1`...)
}

// highestHeap is the most that the heap had in use until ctx ended.
func highestHeap(ctx context.Context) (highest uint64) {
	for ctx.Err() == nil {
		highest = max(highest, heapInUse())
		await(ctx, 20*time.Millisecond)
	}
	return highest
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
