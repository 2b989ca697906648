package loadtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// baselineTime is how long bare request-reply is measured.
const baselineTime = 3 * time.Second

// measureBaseline is bare NATS request-reply with as many requesters and connections as the run, the same payloads,
// and one responder that answers with a body of the usual size. It is what no write path on NATS can be faster than.
func measureBaseline(
	ctx context.Context, c *Config, src source, connect func() (*nats.Conn, error),
) (*Baseline, error) {
	conns, closeAll, err := connectAll(c.Connections+1, connect)
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	defer closeAll()
	subject := conns[0].NewInbox() // nobody else's
	answer := []byte(`{"results":[{"table":"cpu","txid":1234567,"rows":1}]}`)
	var failed atomic.Pointer[error]
	sub, err := conns[0].Subscribe(subject, func(m *nats.Msg) {
		if err := m.Respond(answer); err != nil {
			failed.Store(&err)
		}
	})
	if err == nil {
		err = conns[0].Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("baseline: %w", err)
	}
	latency, count := newLatencies(), atomic.Uint64{}
	end := time.Now().Add(baselineTime)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range c.Writers * c.InFlight {
		wg.Go(func() {
			var buf []byte
			nc := conns[1+i%c.Connections]
			for time.Now().Before(end) && ctx.Err() == nil {
				var b batch
				b, buf, _ = src.batch(count.Load(), buf)
				sent := time.Now()
				if _, err := nc.Request(subject, b.text, 10*time.Second); err != nil {
					failed.Store(&err)
					return
				}
				latency.record(i, time.Since(start), time.Since(sent), 0)
				count.Add(1)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start).Seconds()
	if err := sub.Unsubscribe(); err != nil {
		failed.Store(&err)
	}
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("baseline: %w", *err)
	}
	all := latency.sum()
	return &Baseline{Seconds: elapsed, RequestsPerS: float64(count.Load()) / elapsed,
		P50: ms(all.ValueAtQuantile(50)), P99: ms(all.ValueAtQuantile(99))}, nil
}

func connectAll(n int, connect func() (*nats.Conn, error)) (conns []*nats.Conn, closeAll func(), err error) {
	closeAll = func() {
		for _, nc := range conns {
			nc.Close()
		}
	}
	for range n {
		nc, err := connect()
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		conns = append(conns, nc)
	}
	return conns, closeAll, nil
}
