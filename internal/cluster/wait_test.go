package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) count(piece string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), piece)
}

// TestServicesWaitForEachOther: node, gateway, failover and sequencer are started in the wrong order and without NATS. They say
// what they wait for, and go on by themselves when it is there.
func TestServicesWaitForEachOther(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	var log lines
	env := Env{Logger: slog.New(slog.NewTextHandler(&log, nil)), Registry: NewRegistry(),
		Connect: func(name string) (*nats.Conn, error) {
			return bus.Connect(bus.Options{Servers: fmt.Sprintf("nats://127.0.0.1:%d", port), Name: name,
				Logger: slog.New(slog.DiscardHandler)})
		}}
	dir := t.TempDir()
	ready := make(chan Ready, 4)
	s, q := newStack(), newStack() // the sequencer's own: it stops last
	defer func() {
		if err := errors.Join(s.stop(), q.stop()); err != nil {
			t.Error(err)
		}
	}()
	is := func(r Ready) { ready <- r }
	s.start(t.Context(), "node", func(ctx context.Context) error {
		return RunNode(ctx, NodeConfig{ID: "p1", Role: api.Primary, DataDir: filepath.Join(dir, "p1"),
			Objects: "dir:" + filepath.Join(dir, "objects"), HTTP: "127.0.0.1:0"}, env, is)
	})
	s.start(t.Context(), "gateway", func(ctx context.Context) error {
		return RunGateway(ctx, GatewayConfig{HTTP: "127.0.0.1:0"}, env, is)
	})
	s.start(t.Context(), "failover", func(ctx context.Context) error {
		return RunFailover(ctx, FailoverConfig{ID: "f1"}, env, is)
	})
	natstest.Eventually(t, "all say that they wait for NATS", func() bool { return log.count("waiting for NATS") >= 3 })
	natstest.Server(t, func(o *server.Options) { o.Port = port })
	natstest.Eventually(t, "the node waits for the sequencer", func() bool {
		return log.count("waiting for the sequencer") >= 1
	})
	q.start(t.Context(), "sequencer", func(ctx context.Context) error {
		return RunSequencer(ctx, SequencerConfig{ID: "s1", Store: "embedded:" + filepath.Join(dir, "sequencer")}, env, is)
	})
	for range 4 {
		select {
		case r := <-ready:
			t.Logf("%s %s is ready", r.Service, r.ID)
		case p := <-s.ended:
			t.Fatal(p.failure())
		case p := <-q.ended:
			t.Fatal(p.failure())
		case <-time.After(60 * time.Second):
			t.Fatal("not ready")
		}
	}
}

// TestAServiceThatWaitsCanBeStopped, and says no error then. A server that is there and not fit is no reason to wait.
func TestAServiceThatWaitsCanBeStopped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"away":  {nats.ErrNoServers, ""},
		"unfit": {errors.New("max_payload is too low"), "max_payload is too low"},
		"login": {nats.ErrAuthorization, "authorization"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		env := Env{Logger: slog.New(slog.DiscardHandler), Registry: NewRegistry(),
			Connect: func(string) (*nats.Conn, error) {
				if tries++; tries == 2 {
					cancel()
				}
				return nil, c.err
			}}
		err := RunNode(ctx, NodeConfig{ID: "p1", DataDir: t.TempDir()}, env, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		cancel()
	}
}
