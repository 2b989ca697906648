// Package natstest is what the services' tests share: a NATS server in the test's process, connections to it, and
// waiting for what comes about by itself. Tests alone import it.
package natstest

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// patience bounds every wait. It is generous: how fast the machine is decides about no test.
const patience = 60 * time.Second

// Server runs a NATS server on a free port until the test ends, with the limits that Braid ships, as change left them.
func Server(t testing.TB, change ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxPayload: api.NATSMaxPayload, MaxPending: api.NATSMaxPending,
		NoLog: true, NoSigs: true,
	}
	for _, f := range change {
		f(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

// Connect gives a connection through memory, closed when the test ends.
func Connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(bus.Options{InProcess: s, Name: t.Name(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Eventually asks until the answer is yes, and fails the test with what it waited for.
func Eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	EventuallyNil(t, what, func() error {
		if ask() {
			return nil
		}
		return errNotYet
	})
}

var errNotYet = errors.New("not yet")

// EventuallyNil asks until the answer is nil, and fails the test with the last error.
func EventuallyNil(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline, poll := time.After(patience), time.NewTicker(2*time.Millisecond)
	defer poll.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}
