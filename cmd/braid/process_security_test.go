package main

import (
	"context"
	"crypto/tls"
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
	"github.com/seed-551dd829/braid/internal/bearer"
	"github.com/seed-551dd829/braid/internal/certs"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// secured is a cluster of processes on the users of deploy/nats, each service its own, with TLS and tokens wherever
// there can be such.
type secured struct {
	t    *testing.T
	dir  string
	nats string // without a user
	all  map[string]*proc
	http *http.Client
}

// Bearer tokens of the cluster. Nodes send the first to each other.
const (
	readToken  = "reads-0123456789abcdef"
	writeToken = "writes-0123456789abcdef"
)

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
	if status, _, errs := braid(t, "security", "certs", s.path("certs")); status != 0 {
		t.Fatal(errs)
	}
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\nmax_payload: %d\nmax_pending: %d\ninclude %q\n"+
		"tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n", api.NATSMaxPayload, api.NATSMaxPending, relative,
		s.path("certs/server.pem"), s.path("certs/server.key"), s.path("certs/ca.pem"))
	tokens := "read " + readToken + "\nwrite " + writeToken + "\n"
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600),
		os.WriteFile(s.path("tokens"), []byte(tokens), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.http = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: s.trust(), DisableKeepAlives: true}}
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
		"--http", "127.0.0.1:0", "--http-tls-cert", s.path("certs/server.pem"), "--http-tls-key", s.path("certs/server.key"),
		"--http-tokens", s.path("tokens"), "--http-token", readToken}, args...)
	s.all[user] = start(s.t, user, asBraid, append(args, s.tlsFlags()...)...)
}

func (s *secured) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *secured) tlsFlags() []string {
	return []string{"--tls-ca", s.path("certs/ca.pem"), "--tls-cert", s.path("certs/client.pem"), "--tls-key",
		s.path("certs/client.key")}
}

func (s *secured) trust() *tls.Config {
	s.t.Helper()
	c, err := certs.Client(s.path("certs/ca.pem"), s.path("certs/client.pem"), s.path("certs/client.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// run runs a command as a user.
func (s *secured) run(user string, args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	args = append(args, "--server", s.nats)
	if user != "" {
		args[len(args)-1] = s.as(user)
	}
	return braid(s.t, append(args, s.tlsFlags()...)...)
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
	nc, err := bus.Connect(bus.Options{Servers: s.as(user), Extra: []nats.Option{nats.Secure(s.trust())}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// metric is a counter of a service, over all its labels.
func (s *secured) metric(service, name string) (sum float64) {
	s.t.Helper()
	answer, err := s.http.Get(s.all[service].get("http") + "/metrics")
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
		}{{"importer", true}, {"app", false}, {"importer", true}} {
			// importer has no right to hear heartbeats: gateways and the topology have to do.
			err := s.registers(ctx, c.user, "importer")
			if c.mayBe != (err == nil) || err != nil && !errors.Is(err, client.ErrUnauthorized) {
				t.Errorf("%s: %v", c.user, err)
			}
		}
	})
	t.Run("no answer goes to the cluster's own subjects", s.repliesElsewhere)
	t.Run("HTTP", func(t *testing.T) { s.overHTTP(ctx) })
	t.Run("nothing in the clear", s.inTheClear)
	t.Run("operator", func(t *testing.T) {
		for _, args := range [][]string{{"status"}, {"tables"}, {"verify"}, {"drain", "primary-2"}} {
			if status, out, errs := s.run("operator", args...); status != 0 {
				t.Errorf("braid %s: status %d\n%s%s", args, status, out, errs)
			}
		}
		if status, out, _ := s.run("agent", "status"); status == 0 {
			t.Errorf("a producer is told the cluster's state:\n%s", out)
		}
		if status, _, _ := s.run("", "status"); status == 0 {
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

func (s *secured) options() []client.Option {
	return []client.Option{client.WithLogger(slog.New(slog.DiscardHandler)), client.WithTLS(s.trust()),
		client.WithNATSOptions(nats.Secure(s.trust())), client.WithHTTPToken(readToken)}
}

// overHTTP: with tokens nobody writes or reads without one, at the gateway or at a node, nor with one for something else.
func (s *secured) overHTTP(ctx context.Context) {
	gateway, node := s.all["gateway-1"].get("http"), s.all["replica-1"].get("http")
	for _, c := range []struct {
		method, url, token string
		want               int
	}{
		{"POST", gateway + "/write", "", 401}, {"POST", gateway + "/write", "wrong-0123456789abcdef", 401},
		{"POST", gateway + "/write", readToken, 403}, {"POST", gateway + "/write", writeToken, 204},
		{"GET", gateway + "/tables", "", 401}, {"GET", gateway + "/tables", writeToken, 403},
		{"GET", gateway + "/tables", readToken, 200}, {"GET", gateway + "/tables/http?node=primary-1&wait=30s", "", 401},
		{"GET", gateway + "/tables/http?node=primary-1&wait=30s", readToken, 200},
		{"GET", node + "/tables", "", 401}, {"GET", node + "/tables/http?wait=30s", "wrong-0123456789abcdef", 401},
		{"GET", node + "/tables/http?wait=30s", readToken, 200}, {"GET", node + "/segments/primary-1/1/1", "", 401},
	} {
		r, err := http.NewRequestWithContext(ctx, c.method, c.url, strings.NewReader("http n=1i 1"))
		if err != nil {
			s.t.Fatal(err)
		}
		bearer.Set(r, c.token)
		answer, err := s.http.Do(r)
		if err != nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.want {
			s.t.Errorf("%s %s with token %q: %d %s, %v, want %d", c.method, c.url, c.token, answer.StatusCode, body, err, c.want)
		}
		if c.want == 200 && strings.Contains(c.url, "/tables/http") && string(body) != "{\"timestamp\":1,\"n\":1}\n" {
			s.t.Errorf("%s: rows %s", c.url, body)
		}
	}
	if status, out, errs := s.run("dashboard", "rows", "http", "--http-token", readToken); status != 0 {
		s.t.Errorf("braid rows: %s%s", out, errs)
	}
	if status, out, _ := s.run("dashboard", "rows", "http"); status == 0 {
		s.t.Errorf("braid rows without a token: %s", out)
	}
	if status, _, errs := braid(s.t, "health", gateway+"/readyz", "--tls-ca", s.path("certs/ca.pem")); status != 0 {
		s.t.Errorf("braid health: %s", errs)
	}
}

// inTheClear: no port speaks anything but TLS, to nobody who does not trust the authority, and NATS to nobody without a
// certificate.
func (s *secured) inTheClear(t *testing.T) {
	user := nats.UserInfo("app", "development")
	untrusted, err := certs.Client(s.path("certs/ca.pem"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]nats.Option{
		"no TLS": nats.Name("x"), "without a certificate": nats.Secure(untrusted), "another authority": nats.Secure(new(tls.Config)),
	} {
		if nc, err := nats.Connect(s.nats, user, option); err == nil {
			nc.Close()
			t.Errorf("NATS, %s: connected", name)
		}
	}
	plain := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for name, p := range s.all {
		at := p.get("http")
		if !strings.HasPrefix(at, "https://") {
			t.Errorf("%s serves at %s", name, at)
			continue
		}
		if _, err := plain.Get(at + "/healthz"); err == nil {
			t.Errorf("%s: taken without trusting its authority", name)
		}
		answer, err := plain.Get("http://" + strings.TrimPrefix(at, "https://") + "/healthz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s answers in the clear: %d", name, answer.StatusCode)
		}
	}
}

// writes writes rows and reads them back, as a user that may.
func (s *secured) writes(ctx context.Context, user string, route client.Route) {
	s.t.Helper()
	c, err := client.Connect(ctx, s.as(user), append(s.options(), client.WithRoute(route))...)
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
	c, err := client.Connect(ctx, s.as(user), append(s.options(), client.WithProducer(producer))...)
	if err != nil {
		return err
	}
	defer c.Close()
	rows := client.NewRows()
	rows.Int64("n", 1).AtNow()
	_, gateway := c.Table("imported").Write(ctx, rows)
	_, primary := c.Table("imported").Write(ctx, rows, client.Via(client.Primary("primary-1")))
	return errors.Join(gateway, primary)
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
	if _, out, _ := s.run("dashboard", "tables"); strings.Contains(out, "mem") {
		t.Errorf("a dropped request has written:\n%s", out)
	}
}

// TestUpWithTokens: `braid up` asks for tokens and speaks TLS as services of their own do.
func TestUpWithTokens(t *testing.T) {
	s := &secured{t: t, dir: t.TempDir()}
	if status, _, errs := braid(t, "security", "certs", s.path("certs")); status != 0 {
		t.Fatal(errs)
	}
	tokens := "read " + readToken + "\nwrite " + writeToken + "\n"
	if err := os.WriteFile(s.path("tokens"), []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}
	up := start(t, "up", asBraid, "up", "--json", "--data", s.path("data"), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--primaries", "1", "--replicas", "0", "--http-tls-cert", s.path("certs/server.pem"), "--http-tls-key",
		s.path("certs/server.key"), "--http-tokens", s.path("tokens"), "--http-token", readToken, "--tls-ca", s.path("certs/ca.pem"))
	web := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: s.trust(), DisableKeepAlives: true}}
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"POST", "/write", "", 401}, {"GET", "/tables", "", 401}, {"POST", "/write", readToken, 403},
		{"POST", "/write", writeToken, 204}, {"GET", "/tables/cpu?wait=30s", readToken, 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, up.get("http")+c.path, strings.NewReader("cpu n=1i 1"))
		if err != nil {
			t.Fatal(err)
		}
		bearer.Set(r, c.token)
		answer, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s %s with token %q: %d, want %d", c.method, c.path, c.token, answer.StatusCode, c.want)
		}
	}
	up.stop()
}
