package bus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectRefusesSmallPayloads(t *testing.T) {
	s := natstest.Server(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	_, err := bus.Connect(bus.Options{Servers: s.ClientURL(), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Fatalf("error %v does not name max_payload", err)
	}
}

func TestRequestTellsFailuresApart(t *testing.T) {
	nc := natstest.Connect(t, natstest.Server(t))
	s, err := bus.NewService(nc, bus.ServiceOptions{Name: "test", Version: "0.1.0", Logger: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	handlers := map[string]bus.Handler{
		"answers": func(r bus.Incoming) {
			if err := r.Reply([]byte("yes"), nil); err != nil {
				t.Error(err)
			}
		},
		"refuses": func(r bus.Incoming) {
			if err := r.ReplyError(api.ConflictError("cpu", 1, 2)); err != nil {
				t.Error(err)
			}
		},
		"silent": func(bus.Incoming) {},
	}
	for name, h := range handlers {
		if err := s.Handle(name, name, bus.Endpoint{}, h); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	msg, err := bus.Request(ctx, nc, "answers", nil, nil)
	if err != nil || string(msg.Data) != "yes" {
		t.Fatalf("answers: %v", err)
	}
	_, err = bus.Request(ctx, nc, "refuses", nil, nil)
	e := new(api.Error)
	if !errors.As(err, &e) || e.Name != api.Conflict || *e.Current != 2 || e.Code != 409 {
		t.Fatalf("refuses: %v", err)
	}
	if _, err = bus.Request(ctx, nc, "nobody", nil, nil); !errors.Is(err, bus.ErrNoResponders) {
		t.Fatalf("nobody: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err = bus.Request(short, nc, "silent", nil, nil); !errors.Is(err, bus.ErrUnknown) {
		t.Fatalf("silent: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err = bus.Request(ctx, nc, "answers", nil, nil); !errors.Is(err, bus.ErrNoResponders) {
		t.Fatalf("after Stop: %v", err)
	}
}

// TestI7_MaxPending: what the server has is compared with what Braid needs; a monitoring address that says nothing is an
// error, and none is a warning, once.
func TestI7_MaxPending(t *testing.T) {
	monitored := func(pending int64) string {
		s := natstest.Server(t, func(o *server.Options) { o.MaxPending, o.HTTPHost, o.HTTPPort = pending, "127.0.0.1", -1 })
		return "http://" + s.MonitorAddr().String() + "/"
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for _, c := range []struct {
		url, want string
	}{
		{monitored(api.NATSMaxPending), ""}, {monitored(api.NATSMaxPending - 1), "max_pending: 256MB"},
		{other.URL, "NATS monitoring"}, {"http://127.0.0.1:1", "NATS monitoring"}, {"::", "NATS monitoring"},
	} {
		err := bus.CheckMaxPending(context.Background(), c.url, slog.New(slog.DiscardHandler))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		}
	}
	var log bytes.Buffer
	if err := bus.CheckMaxPending(context.Background(), "", slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Error(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "max_pending") || !strings.Contains(got, "--nats-monitor") {
		t.Errorf("logged %s", got)
	}
}
