package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/certs"
)

// What deploy/nats/users.yml and deploy/tokens have.
const (
	password   = "development"
	readToken  = "braid-development-read"
	writeToken = "braid-development-write"
	plaintext  = "[WRN] Plaintext passwords detected" // NATS does not take them for good ones either
)

// secured looks whether the cluster works with deploy/secure.yml, and then whether it refuses what it must: what is
// logged before that is nobody's fault but its own.
func (p *project) secured() {
	p.t.Helper()
	p.up()
	p.loadtest("--rows", "100000", "--verify")
	p.scraped()
	for _, command := range []string{"status", "tables", "verify"} {
		p.tool("braid", command)
	}
	for _, server := range []string{"nats-1", "nats-2", "nats-3"} {
		p.routesEncrypted(server)
	}
	p.connectionsEncrypted()
	p.quiet(plaintext)

	door := p.natsDoor()
	p.strangersRefused(door)
	p.rolesHeld(door)
	p.repliesHeld(door)
	p.tokensAsked()
	p.quiet(plaintext,
		"TLS handshake error: remote error: tls: bad certificate", "authentication error",
		`"BRAID/user:agent" - Publish Violation`, `"BRAID/user:agent" - Subscription Violation`,
		"request dropped: its reply subject is no inbox that services answer to",
	)
}

// monitor asks a NATS server's monitor, which no port is published for.
func (p *project) monitor(server, path string, answer any) {
	p.t.Helper()
	text := p.compose("exec", "-T", server, "wget", "-q", "-O", "-", "http://127.0.0.1:8222"+path)
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		p.t.Fatalf("%s of %s: %v in %s", path, server, err, text)
	}
}

// routesEncrypted: a server takes no route without TLS and a certificate, and has routes to the two others.
func (p *project) routesEncrypted(server string) {
	p.t.Helper()
	var varz struct {
		Cluster struct {
			Required bool `json:"tls_required"`
			Verify   bool `json:"tls_verify"`
		}
	}
	p.monitor(server, "/varz", &varz)
	if !varz.Cluster.Required || !varz.Cluster.Verify {
		p.t.Errorf("%s takes routes in the clear: %+v", server, varz.Cluster)
	}
	var routez struct {
		Routes []struct {
			Name string `json:"remote_name"`
		}
	}
	p.monitor(server, "/routez", &routez)
	others := make(map[string]bool)
	for _, route := range routez.Routes {
		others[route.Name] = true
	}
	if len(others) != 2 || others[server] {
		p.t.Errorf("%s has routes to %v", server, others)
	}
}

// connectionsEncrypted: every client is connected over TLS, and every service as a user of its own.
func (p *project) connectionsEncrypted() {
	p.t.Helper()
	users := make(map[string]bool)
	for _, server := range []string{"nats-1", "nats-2", "nats-3"} {
		var connz struct {
			Connections []struct {
				User string `json:"authorized_user"`
				TLS  string `json:"tls_version"`
			}
		}
		p.monitor(server, "/connz?auth=1", &connz)
		for _, c := range connz.Connections {
			users[c.User] = true
			if c.TLS == "" {
				p.t.Errorf("%s is connected to %s in the clear", c.User, server)
			}
		}
	}
	all, err := p.containers(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	braid := regexp.MustCompile(`^(sequencer|failover|primary|replica|gateway)-\d$`)
	services := 0
	for service := range all {
		if !braid.MatchString(service) {
			continue
		}
		services++
		if !users[service] {
			p.t.Errorf("NATS has no connection of user %s: %v", service, users)
		}
	}
	if services < 8 {
		p.t.Errorf("only %d services found", services)
	}
}

// door is NATS as applications on this machine see it.
type door struct {
	address string
	ca      string // a file
}

// natsDoor takes the authority that they need out of its volume.
func (p *project) natsDoor() door {
	p.t.Helper()
	d := door{p.address("nats-1", "4222"), filepath.Join(p.t.TempDir(), "ca.pem")}
	pem := p.compose("exec", "-T", "nats-1", "cat", "/certs/ca.pem")
	if err := os.WriteFile(d.ca, []byte(pem), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (d door) connect(who nats.Option, ca string) (*nats.Conn, error) {
	trust, err := certs.Client(ca, "", "")
	if err != nil {
		return nil, err
	}
	// A permission that is missed is looked for where it is expected; nats.go would print it.
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	return nats.Connect("nats://"+d.address, who, nats.Secure(trust), quiet, nats.NoReconnect(), bus.OwnInbox)
}

// as is a user's connection.
func (p *project) as(user string, d door) *nats.Conn {
	p.t.Helper()
	nc, err := d.connect(nats.UserInfo(user, password), d.ca)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

// strangersRefused: NATS lets in nobody without TLS, or credentials, or the right ones; and who does not trust its
// authority does not take it for the cluster.
func (p *project) strangersRefused(d door) {
	p.t.Helper()
	for _, c := range []struct {
		what, ca, want string
		who            nats.Option
	}{
		{"no credentials", d.ca, "Authorization Violation", nats.Name("nobody")},
		{"a wrong password", d.ca, "Authorization Violation", nats.UserInfo("agent", "wrong")},
		{"a user that is none", d.ca, "Authorization Violation", nats.UserInfo("somebody", password)},
		{"another authority", "", "certificate signed by unknown authority", nats.UserInfo("agent", password)},
	} {
		nc, err := d.connect(c.who, c.ca)
		if err == nil {
			nc.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			p.t.Errorf("with %s: %v, want %s", c.what, err, c.want)
		}
	}

	// nats.go takes to TLS as soon as a server has it.
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "CONNECT {\"user\":\"agent\",\"pass\":%q}\r\nPING\r\n", password)
	if err := errors.Join(err, conn.SetReadDeadline(time.Now().Add(patience))); err != nil {
		p.t.Fatal(err)
	}
	var heard bytes.Buffer
	_, err = heard.ReadFrom(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(heard.String(), "INFO ") ||
		strings.Contains(heard.String(), "PONG") {
		p.t.Errorf("in the clear NATS says %q, %v; want its INFO, and the end", heard.String(), err)
	}
}

// rolesHeld: a producer writes into its tables, and does nothing else.
func (p *project) rolesHeld(d door) {
	p.t.Helper()
	agent := p.as("agent", d)
	if err := p.write(agent, "ingest.cpu", "cpu n=1i 1"); err != nil {
		p.t.Error(err)
	}
	refused := func(what, subject string, err error) {
		p.t.Helper()
		if err := errors.Join(err, agent.FlushTimeout(patience)); err != nil {
			p.t.Fatal(err)
		}
		// The answer to the flush came behind the refusal.
		err = agent.LastError()
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("%q", subject)) {
			p.t.Errorf("a producer may %s %s: the last error is %v", what, subject, err)
		}
	}
	for _, subject := range []string{
		"braid.topology", "braid.registry.remove", "braid.primary.primary-1.write", "braid.sequencer.commit.primary-1",
		"ingest.disk",
	} {
		refused("publish on", subject, agent.Publish(subject, nil))
	}
	for _, subject := range []string{"_INBOX.app.>", "braid.commits.*", "ingest.cpu"} {
		_, err := agent.SubscribeSync(subject)
		refused("hear", subject, err)
	}
}

func (p *project) write(nc *nats.Conn, subject, row string) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	_, err := bus.Request(ctx, nc, subject, nil, []byte(row))
	return err
}

// repliesHeld: NATS lets a producer name any reply subject; no gateway answers to one that is no user's inbox, and no
// such request has an effect.
func (p *project) repliesHeld(d door) {
	p.t.Helper()
	agent := p.as("agent", d)
	replies := []string{"braid.topology", "braid.primary.primary-1.write", "ingest.mem", "_INBOX.x"}
	for _, reply := range replies {
		if err := agent.PublishRequest("ingest.mem", reply, []byte("mem n=1i 1")); err != nil {
			p.t.Fatal(err)
		}
	}
	gateways := []string{p.address("gateway-1", "9000"), p.address("gateway-2", "9000")}
	dropped := regexp.MustCompile(`(?m)^braid_bus_foreign_replies_total\{.*\} (\d+)$`)
	poll(p.t, "requests for answers elsewhere are dropped", patience, func(ctx context.Context) error {
		sum := 0
		for _, gateway := range gateways {
			_, page, err := ask(ctx, http.MethodGet, "http://"+gateway+"/metrics", "", "")
			if err != nil {
				return err
			}
			for _, m := range dropped.FindAllStringSubmatch(page, -1) {
				var n int
				if _, err := fmt.Sscan(m[1], &n); err != nil {
					return err
				}
				sum += n
			}
		}
		if sum != len(replies) {
			return fmt.Errorf("%d of %d", sum, len(replies))
		}
		return nil
	})
	mem := func() bool { return slices.Contains(strings.Fields(p.tool("braid", "tables")), "mem") }
	if mem() {
		p.t.Error("a request that wants its answer elsewhere has written")
	}
	if err := p.write(agent, "ingest.mem", "mem n=1i 1"); err != nil || !mem() {
		p.t.Errorf("one that wants it in the user's inbox: table %t, %v", mem(), err)
	}
}

// tokensAsked: over HTTP nobody writes or reads without the token for it, at a gateway or at a node.
func (p *project) tokensAsked() {
	p.t.Helper()
	for _, gateway := range []string{"gateway-1", "gateway-2"} {
		at := "http://" + p.address(gateway, "9000")
		for _, c := range []struct {
			method, path, token string
			want                int
		}{
			{"POST", "/write", "", 401}, {"POST", "/write", "wrong", 401}, {"POST", "/write", readToken, 403},
			{"POST", "/write", writeToken, 204},
			{"GET", "/tables", "", 401}, {"GET", "/tables", writeToken, 403}, {"GET", "/tables", readToken, 200},
			{"GET", "/tables/http?node=primary-1&wait=30s", "", 401},
			{"GET", "/tables/http?node=primary-1&wait=30s", readToken, 200},
		} {
			status, answer, err := ask(p.t.Context(), c.method, at+c.path, c.token, "http n=1i 1")
			if err != nil || status != c.want {
				p.t.Errorf("%s: %s %s with token %q: %d %s, %v, want %d",
					gateway, c.method, c.path, c.token, status, answer, err, c.want)
			}
		}
	}
	for _, node := range []string{"primary-1", "primary-2", "replica-1"} {
		get := func(header string) error { // no port of a node is published
			_, err := p.try(p.t.Context(), "exec", "-T", "nats-1",
				"wget", "-q", "-O", "-", "--header", header, "http://"+node+":9000/tables")
			return err
		}
		if err := get("Accept: */*"); err == nil || !strings.Contains(err.Error(), "401") {
			p.t.Errorf("%s without a token: %v", node, err)
		}
		if err := get("Authorization: Bearer " + readToken); err != nil {
			p.t.Errorf("%s with the token: %v", node, err)
		}
	}
}
