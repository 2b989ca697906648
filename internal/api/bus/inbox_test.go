package bus_test

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// TestRepliesGoToInboxesOnly: what wants its answer on a subject that is no inbox does not reach the handler, by whichever
// way it comes, and is counted; nothing is published there.
func TestRepliesGoToInboxesOnly(t *testing.T) {
	srv := natstest.Server(t)
	nc, asks := natstest.Connect(t, srv), natstest.Connect(t, srv)
	registry := prometheus.NewRegistry()
	s, err := bus.NewService(nc, bus.ServiceOptions{Name: "test", Version: "0.1.0", Logger: slog.New(slog.DiscardHandler),
		Registerer: registry, Inboxes: api.Inboxes{api.UserInboxes}})
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan bus.Incoming, 10)
	answer := func(r bus.Incoming) {
		handled <- r
		if err := r.Reply([]byte("yes"), nil); err != nil {
			t.Error(err)
		}
	}
	if err := s.Handle("endpoint", "endpoint", bus.Endpoint{}, answer); err != nil {
		t.Fatal(err)
	}
	listener, err := s.Listen("listener", bus.Endpoint{Queue: "q"}, answer)
	if err != nil {
		t.Fatal(err)
	}
	heard, err := asks.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"endpoint", "listener"} {
		for _, reply := range []string{"braid.topology", "endpoint", "_INBOX.x", "_INBOX.>", "_INBOX.bob.x"} {
			if err := asks.PublishRequest(subject, reply, []byte(reply)); err != nil {
				t.Fatal(err)
			}
		}
		in := <-handled // in order: those before it did not come
		if string(in.Data()) != "_INBOX.bob.x" || in.User() != "bob" {
			t.Errorf("%s: handled %s of user %q", subject, in.Data(), in.User())
		}
	}
	for answers := 0; answers < 2; {
		m, err := heard.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case string(m.Data) != "yes":
		case m.Subject == "_INBOX.bob.x":
			answers++
		default:
			t.Errorf("answered on %s", m.Subject)
		}
	}
	if n := counter(t, registry, "braid_bus_foreign_replies_total"); n != 8 {
		t.Errorf("%v requests counted", n)
	}
	if err := listener.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// counter is a registered counter's value.
func counter(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestUsersHaveInboxesOfTheirOwn: a user with a password asks from its own inbox, whichever way it says who it is; a token
// is not told to anybody.
func TestUsersHaveInboxesOfTheirOwn(t *testing.T) {
	users := natstest.Server(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "alice", Password: "p"}, {Username: "a.b", Password: "p"}}
	})
	tokens := natstest.Server(t, func(o *server.Options) { o.Authorization = "s3cr3t" })
	at := func(s *server.Server, user *url.Userinfo) string {
		u, err := url.Parse(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = user
		return u.String()
	}
	for name, c := range map[string]struct {
		servers string
		extra   []nats.Option
		want    string
	}{
		"URL":            {at(users, url.UserPassword("alice", "p")), nil, "_INBOX.alice"},
		"several URLs":   {at(users, url.UserPassword("alice", "p")) + ",nats://127.0.0.1:1", nil, "_INBOX.alice"},
		"option":         {users.ClientURL(), []nats.Option{nats.UserInfo("alice", "p")}, "_INBOX.alice"},
		"its own prefix": {at(users, url.UserPassword("alice", "p")), []nats.Option{nats.CustomInboxPrefix("mine")}, "mine"},
		"no token":       {at(users, url.UserPassword("a.b", "p")), nil, ""},
		"a secret":       {at(tokens, url.User("s3cr3t")), nil, ""},
	} {
		nc, err := bus.Connect(bus.Options{Servers: c.servers, Extra: c.extra, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if nc.Opts.InboxPrefix != c.want {
			t.Errorf("%s: inbox prefix %q, want %q", name, nc.Opts.InboxPrefix, c.want)
		}
		if _, err := bus.Request(context.Background(), nc, "nobody", nil, nil); err == nil {
			t.Errorf("%s: somebody answers", name)
		}
		nc.Close()
	}
}
