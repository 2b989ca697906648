// Package deploy_test holds the files beside it against the code and the documentation: every metric and label of a
// dashboard or an alert exists, every expression parses and finds something, every runbook link leads somewhere.
package deploy_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startCluster starts what `braid up` does, and returns where all of it is asked for metrics.
func startCluster(t *testing.T) cluster.Up {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
	go func() {
		ended <- cluster.Run(ctx, cluster.Config{DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0",
			Primaries: 2, Replicas: 1, Sequencers: 1, Failovers: 1}, slog.New(slog.DiscardHandler),
			func(u cluster.Up) { ready <- u })
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case u := <-ready:
		return u
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
		return cluster.Up{}
	}
}

// connect returns a client whose metrics go into r.
func connect(t *testing.T, u cluster.Up, r prometheus.Registerer, o ...client.Option) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, u.NATS, append(o, client.WithMetrics(r))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
