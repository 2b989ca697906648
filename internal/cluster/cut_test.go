package cluster

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// users is a NATS server with a user for each node, so that single nodes can be kept from subjects.
type users struct {
	t      *testing.T
	server *server.Server
	opts   server.Options
}

func startUsers(t *testing.T, nodes []string) *users {
	t.Helper()
	u := &users{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		MaxPayload: api.NATSMaxPayload, MaxPending: api.NATSMaxPending,
	}}
	for _, name := range append([]string{"anybody"}, nodes...) {
		u.opts.Users = append(u.opts.Users, &server.User{Username: name, Password: name})
	}
	opts := u.opts
	var err error
	if u.server, err = server.NewServer(&opts); err != nil {
		t.Fatal(err)
	}
	u.server.Start()
	if !u.server.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { u.server.Shutdown(); u.server.WaitForShutdown() })
	return u
}

func (u *users) connect(user string, log *slog.Logger) func(string) (*nats.Conn, error) {
	return func(name string) (*nats.Conn, error) {
		return bus.Connect(bus.Options{InProcess: u.server, Name: name, Logger: log,
			Extra: []nats.Option{nats.UserInfo(user, user)}})
	}
}

// deny keeps a user from publishing to a subject; "" lets it publish to all. Its connections are cut, and come back.
func (u *users) deny(user, subject string) {
	u.t.Helper()
	all := u.opts.Users
	u.opts.Users = nil
	for _, old := range all {
		now := &server.User{Username: old.Username, Password: old.Password, Permissions: old.Permissions}
		if old.Username == user {
			now.Permissions = nil
			if subject != "" {
				now.Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{subject}}}
			}
		}
		u.opts.Users = append(u.opts.Users, now)
	}
	opts := u.opts
	if err := u.server.ReloadOptions(&opts); err != nil {
		u.t.Fatal(err)
	}
}

// hang begins a write, and returns how it will have ended.
func (f *failing) hang(subject, key string) (refusal <-chan *api.Error) {
	out := make(chan *api.Error, 1)
	go func() {
		msg, err := f.nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(`cpu key="` + key + `" 1`),
			Header: nats.Header{api.HeaderMsgID: {key}}}, 20*time.Second)
		if err != nil {
			out <- api.Errorf(api.Invalid, "%v", err)
			return
		}
		out <- bus.ReplyError(msg)
	}()
	return out
}

// TestAPrimaryThatIsCutOffSaysSo: from the object store, or from the sequencer. What hangs there goes elsewhere, new
// writes do not go there at all, and when it can again it says so by itself, though nobody writes to it.
func TestAPrimaryThatIsCutOffSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		cut, mend func(f *failing)
		why       string
	}{
		"object store": {
			func(f *failing) { f.cut["p1"].Store(true) }, func(f *failing) { f.cut["p1"].Store(false) },
			"the object store does not answer",
		},
		"sequencer": {
			func(f *failing) { f.users.deny("p1", "braid.sequencer.>") }, func(f *failing) { f.users.deny("p1", "") },
			"the sequencer does not answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFailing(t, "p1", "p2")
			f.accepted("primary.p1.ingest.cpu", "a", "1")
			c.cut(f)
			hanging := f.hang("primary.p1.ingest.cpu", "b")
			h := f.heard("p1", "unable", func(h api.Heartbeat) bool { return h.Unable != "" })
			if !strings.HasPrefix(h.Unable, c.why) || h.State != api.Live {
				t.Fatalf("%+v", h)
			}
			if said := f.get("http://" + h.HTTP + "/readyz"); !strings.Contains(said, c.why) {
				t.Errorf("/readyz says %q", said)
			}
			if e := <-hanging; e == nil || e.Name != api.Unavailable || !strings.Contains(e.Message, c.why) {
				t.Fatalf("told %v", e)
			}
			began := time.Now()
			f.accepted("ingest.cpu", "c", "2")
			t.Logf("a write through the other one took %s", time.Since(began))
			c.mend(f)
			f.heard("p1", "able", func(h api.Heartbeat) bool { return h.State == api.Live && h.Unable == "" })
			f.acceptedSoon("primary.p1.ingest.cpu", "b", "3")
			f.holds("a", "c", "b")
		})
	}
}
