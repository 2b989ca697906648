package gateway_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/segment"
)

// accepts answers a group without looking at its rows: what is measured is the gateway.
func accepts() behaviour {
	var head atomic.Uint64
	return func(_ *cluster, g segment.Group) (api.GroupAnswer, bool) {
		a := api.GroupAnswer{Writes: make([]api.Outcome, len(g.Header.Writes))}
		for i := range a.Writes {
			a.Writes[i] = api.Outcome{Verdict: api.Accepted, TxID: head.Add(1)}
		}
		return a, true
	}
}

// cpuRows is line protocol of the shape of the cpu-only workload.
func cpuRows(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "cpu,hostname=host_%d,region=eu-central-1,datacenter=eu-central-1a,rack=%d,os=Ubuntu15.10,"+
			"arch=x86,team=SF,service=%d,service_version=1,service_environment=test usage_user=%di,usage_system=2i,"+
			"usage_idle=%di,usage_nice=61i,usage_iowait=22i,usage_irq=63i,usage_softirq=6i,usage_steal=%di,"+
			"usage_guest=80i,usage_guest_nice=38i %d\n",
			i%4000, i%100, i%20, i%101, i*7%101, i*13%101, 1451606400000000000+int64(i)*1e6)
	}
	return b.Bytes()
}

// drive keeps inflight requests of data on their way, from several connections, for b's time.
func drive(b *testing.B, c *cluster, subject string, data []byte, inflight int) {
	const connections = 4
	clients := make([]*nats.Conn, connections)
	for i := range clients {
		clients[i] = c.connect("client")
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	for i := range inflight {
		all.Go(func() {
			nc := clients[i%connections]
			for left.Add(-1) >= 0 {
				msg, err := nc.Request(subject, data, 20*time.Second)
				if err != nil {
					b.Error(err)
					return
				}
				if e := bus.ReplyError(msg); e != nil {
					b.Error(e)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkSmall is one row a write from a thousand writers; BenchmarkBareNATS is the same without
// a gateway.
func BenchmarkSmall(b *testing.B) {
	c := newCluster(b, "p1", "p2")
	c.start(gateway.Config{})
	c.does("p1", accepts())
	c.does("p2", accepts())
	drive(b, c, "test.ingest.cpu", cpuRows(1), 1000)
}

func BenchmarkBareNATS(b *testing.B) {
	c := newCluster(b, "p1")
	s, err := bus.NewService(c.connect("echo"), bus.ServiceOptions{Name: "echo", Version: "0.1.0", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte(`{"results":[{"table":"cpu","txid":42,"rows":1000}]}`)
	if err := s.Handle("echo", "echo", bus.Endpoint{}, func(in bus.Incoming) {
		if err := in.Reply(answer, nil); err != nil {
			b.Error(err)
		}
	}); err != nil {
		b.Fatal(err)
	}
	if err := c.nc.Flush(); err != nil {
		b.Fatal(err)
	}
	drive(b, c, "echo", cpuRows(1), 1000)
}

// BenchmarkIdle is the latency of one writer alone.
func BenchmarkIdle(b *testing.B) {
	c := newCluster(b, "p1")
	c.start(gateway.Config{})
	c.does("p1", accepts())
	drive(b, c, "test.ingest.cpu", cpuRows(1), 1)
}

// BenchmarkBulk is 10,000 rows a write.
func BenchmarkBulk(b *testing.B) {
	c := newCluster(b, "p1", "p2")
	c.start(gateway.Config{})
	c.does("p1", accepts())
	c.does("p2", accepts())
	data := cpuRows(10_000)
	b.SetBytes(int64(len(data)))
	drive(b, c, "test.ingest.cpu", data, 8)
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
