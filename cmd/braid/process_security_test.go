package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// secured is a cluster of processes on the users of deploy/nats, each service its own.
type secured struct {
	t    *testing.T
	dir  string
	nats string // without a user
	all  map[string]*proc
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{t: t, dir: t.TempDir(), all: make(map[string]*proc)}
	accounts, err := filepath.Abs("../../deploy/nats/accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	// An include is read from the folder of the file that has it.
	relative, err := filepath.Rel(s.dir, accounts)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\nmax_payload: %d\nmax_pending: %d\ninclude %q\n", api.NATSMaxPayload,
		api.NATSMaxPending, relative)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.nats = start(t, "nats", asBraid, "nats", "--conf", config).get("nats")
	s.service("sequencer-1", "sequencer", "--store", "embedded:"+filepath.Join(s.dir, "sequencer"))
	objects := "dir:" + filepath.Join(s.dir, "objects")
	for _, id := range []string{"primary-1", "primary-2"} {
		s.service(id, "primary", "--data", filepath.Join(s.dir, id), "--objects", objects)
	}
	s.service("replica-1", "replicator", "--data", filepath.Join(s.dir, "replica-1"), "--objects", objects)
	s.service("failover-1", "failover")
	s.service("gateway-1", "gateway")
	return s
}

func (s *secured) service(user, command string, args ...string) {
	s.t.Helper()
	args = append([]string{command, "--id", user, "--server", s.as(user), "--inboxes", api.UserInboxes, "--json",
		"--http", "127.0.0.1:0"}, args...)
	s.all[user] = start(s.t, user, asBraid, args...)
}

// as is the server's URL for a user.
func (s *secured) as(user string) string {
	u, err := url.Parse(s.nats)
	if err != nil {
		s.t.Fatal(err)
	}
	u.User = url.UserPassword(user, "development")
	return u.String()
}

func (s *secured) connect(user string) *nats.Conn {
	s.t.Helper()
	nc, err := bus.Connect(bus.Options{Servers: s.as(user), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// metric is a counter of a service, over all its labels.
func (s *secured) metric(service, name string) (sum float64) {
	s.t.Helper()
	answer, err := http.Get("http://" + s.all[service].get("http") + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{.*\} (.*)$`).FindAllStringSubmatch(string(page), -1) {
		var v float64
		if _, err := fmt.Sscan(m[1], &v); err != nil {
			s.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// TestSecuredCluster: on NATS users with no more than their rights a cluster does all that it does, an application and an
// operator do what is theirs, and nobody gets an answer sent to where it may not publish.
func TestSecuredCluster(t *testing.T) {
	s := startSecured(t)
	defer http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	t.Run("sdk", func(t *testing.T) { s.writes(ctx, "app", client.Gateway) })
	t.Run("direct", func(t *testing.T) { s.writes(ctx, "loadtest", client.Direct) })
	t.Run("a producer has its tables", func(t *testing.T) {
		agent := s.connect("agent")
		for subject, want := range map[string]bool{"ingest.cpu": true, "primary.primary-2.ingest.cpu": true,
			"ingest.disk": false, "ingest": false} {
			short, cancel := context.WithTimeout(ctx, map[bool]time.Duration{true: patience, false: 300 * time.Millisecond}[want])
			_, err := bus.Request(short, agent, subject, nil, []byte("cpu n=1i 1"))
			cancel()
			if (err == nil) != want {
				t.Errorf("%s: %v", subject, err)
			}
		}
	})
	t.Run("a producer's id is one user's", func(t *testing.T) {
		for _, c := range []struct {
			user  string
			mayBe bool
		}{{"app", true}, {"loadtest", false}, {"app", true}} {
			err := s.registers(ctx, c.user, "importer")
			if c.mayBe != (err == nil) || err != nil && !errors.Is(err, client.ErrUnauthorized) {
				t.Errorf("%s: %v", c.user, err)
			}
		}
	})
	t.Run("no answer goes to the cluster's own subjects", s.repliesElsewhere)
	t.Run("operator", func(t *testing.T) {
		for _, args := range [][]string{{"status"}, {"tables"}, {"verify"}, {"drain", "primary-2"}} {
			if status, out, errs := braid(t, append(args, "--server", s.as("operator"))...); status != 0 {
				t.Errorf("braid %s: status %d\n%s%s", args, status, out, errs)
			}
		}
		if status, out, _ := braid(t, "status", "--server", s.as("agent")); status == 0 {
			t.Errorf("a producer is told the cluster's state:\n%s", out)
		}
		if status, _, _ := braid(t, "status", "--server", s.nats); status == 0 {
			t.Error("who is no user is told the cluster's state")
		}
	})
	for name, p := range s.all {
		log, err := os.ReadFile(p.log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(string(log)), "permissions violation") {
			t.Errorf("%s lacks a right that it needs:\n%s", name, log)
		}
	}
}

// writes writes rows and reads them back, as a user that may.
func (s *secured) writes(ctx context.Context, user string, route client.Route) {
	s.t.Helper()
	c, err := client.Connect(ctx, s.as(user), client.WithRoute(route), client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	rows := client.NewRows()
	rows.Symbol("host", "a").Int64("n", 1).AtNow()
	result, err := c.Table("by-"+user).Write(ctx, rows)
	if err != nil {
		s.t.Fatal(err)
	}
	read := 0
	for row, err := range c.Table("by-"+user).Follow(ctx, 1) {
		if err != nil {
			s.t.Fatal(err)
		}
		if read++; row.TxID() == result.TxID && row.Last() {
			break
		}
	}
	if read != result.Rows {
		s.t.Errorf("%d rows read, %d written", read, result.Rows)
	}
}

// registers writes under a stable producer id.
func (s *secured) registers(ctx context.Context, user, producer string) error {
	c, err := client.Connect(ctx, s.as(user), client.WithProducer(producer), client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer c.Close()
	rows := client.NewRows()
	rows.Int64("n", 1).AtNow()
	_, err = c.Table("imported").Write(ctx, rows)
	return err
}

// repliesElsewhere: NATS lets a producer name any reply subject; the gateway does not answer there, and does not write.
func (s *secured) repliesElsewhere(t *testing.T) {
	agent, service := s.connect("agent"), s.connect("replica-1")
	heard, err := service.SubscribeSync("braid.topology")
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"braid.topology", "braid.registry.lease", "ingest.mem", "_INBOX.x"} {
		if err := agent.PublishRequest("ingest.mem", reply, []byte("mem n=1i 1")); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, "four dropped requests", func() bool {
		return s.metric("gateway-1", "braid_bus_foreign_replies_total") == 4
	})
	if n, _, err := heard.Pending(); n != 0 || err != nil {
		t.Errorf("%d messages on braid.topology, %v", n, err)
	}
	if _, out, _ := braid(t, "tables", "--server", s.as("dashboard")); strings.Contains(out, "mem") {
		t.Errorf("a dropped request has written:\n%s", out)
	}
}
