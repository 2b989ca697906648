package main

import (
	"encoding/json"
	"flag"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

var heartbeatFor = flag.Duration("heartbeats.for", 0, "how long to measure heartbeats on a machine without a free core")

// TestHeartbeatsWithoutAFreeCore measures how late heartbeats come while every core is busy twice over and the cluster
// takes writes as fast as it can: `make heartbeats`. It is a measurement: slowness fails nothing.
func TestHeartbeatsWithoutAFreeCore(t *testing.T) {
	if *heartbeatFor == 0 {
		t.Skip("SKIPPED: a measurement; make heartbeats runs it")
	}
	c := startProcesses(t)
	nc, err := bus.Connect(bus.Options{Servers: c.nats, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var mu sync.Mutex
	heard := make(map[string][]time.Time)
	if _, err := nc.Subscribe(api.Subjects{}.Heartbeat("*"), func(m *nats.Msg) {
		var h api.Heartbeat
		now := time.Now()
		if json.Unmarshal(m.Data, &h) == nil {
			mu.Lock()
			defer mu.Unlock()
			heard[h.ID] = append(heard[h.ID], now)
		}
	}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	status, stdout, stderr := braid(t, "loadtest", "--server", c.nats, "--duration", heartbeatFor.String())
	close(stop)
	busy.Wait()
	if status != 0 {
		t.Fatalf("load test: status %d\n%s%s", status, stdout, stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, at := range heard {
		var gaps []time.Duration
		for i := 1; i < len(at); i++ {
			gaps = append(gaps, at[i].Sub(at[i-1]))
		}
		slices.Sort(gaps)
		if len(gaps) > 0 {
			t.Logf("%s: %d heartbeats, median gap %s, p99 %s, longest %s", id, len(at), gaps[len(gaps)/2],
				gaps[len(gaps)*99/100], gaps[len(gaps)-1])
		}
	}
}
