package deploy_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
	"github.com/seed-551dd829/braid/internal/certs"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// composed is what the tests read of a compose file.
type composed struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Entrypoint  []string          `yaml:"entrypoint"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []string          `yaml:"volumes"`
	} `yaml:"services"`
}

func readComposed(t *testing.T, path string) (c composed) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// To this parser, a key that overrides a merged one is there twice.
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestEveryServiceIsAUser: with deploy/secure.yml each of Braid's services has a NATS user of its own name, with a role that
// fits, answers in users' inboxes only, and asks for tokens where it serves rows.
func TestEveryServiceIsAUser(t *testing.T) {
	var users struct {
		Users []struct {
			Name     string   `yaml:"name"`
			Password string   `yaml:"password"`
			Roles    []string `yaml:"roles"`
			ID       string   `yaml:"id"`
		} `yaml:"users"`
	}
	text, err := os.ReadFile("nats/users.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &users)
	}
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]string{"sequencer": "sequencer", "primary": "node", "replicator": "node", "failover": "failover",
		"gateway": "gateway", "--rows": "direct", "--help": "operator"}
	secured, found := readComposed(t, "secure.yml").Services, 0
	for name, service := range readComposed(t, "../docker-compose.yml").Services {
		if !strings.HasPrefix(service.Image, "braid") {
			continue
		}
		found++
		env := secured[name].Environment
		at, err := url.Parse(env["BRAID_SERVER"])
		if err != nil || at.User == nil {
			t.Errorf("%s has no user in BRAID_SERVER %q", name, env["BRAID_SERVER"])
			continue
		}
		password, _ := at.User.Password()
		for _, u := range users.Users {
			if u.Name == at.User.Username() {
				if u.Password != password || !slices.Contains(u.Roles, roles[service.Command[0]]) || u.ID != "" && u.ID != name {
					t.Errorf("%s, which runs %s, is user %+v", name, service.Command, u)
				}
				password = "" // found
			}
		}
		if password != "" {
			t.Errorf("%s is user %s, whom nats/users.yml does not have", name, at.User.Username())
		}
		tool := strings.HasPrefix(service.Command[0], "--")
		if !tool && (env["BRAID_INBOXES"] != api.UserInboxes || at.User.Username() != name) {
			t.Errorf("%s is user %s and answers in %q", name, at.User.Username(), env["BRAID_INBOXES"])
		}
		rows := slices.Contains([]string{"gateway", "primary", "replicator"}, service.Command[0])
		if rows != (env["BRAID_HTTP_TOKENS"] != "") {
			t.Errorf("%s has tokens in %q", name, env["BRAID_HTTP_TOKENS"])
		}
	}
	if found < 10 {
		t.Errorf("only %d services found in docker-compose.yml", found)
	}
	tokens, err := os.ReadFile("tokens")
	if err == nil {
		_, err = bearer.Parse(string(tokens))
	}
	if err != nil {
		t.Errorf("deploy/tokens: %v", err)
	}
	for _, token := range []string{secured["primary-1"].Environment["BRAID_HTTP_TOKEN"], secured["braid"].Environment["BRAID_HTTP_TOKEN"]} {
		if !strings.Contains(string(tokens), "read   "+token+"\n") {
			t.Errorf("token %q is none of deploy/tokens", token)
		}
	}
}

// TestSecuredServers: three servers on deploy/nats/secure.conf find each other over TLS, and let in who is a user and
// nobody else, nor anybody in the clear.
func TestSecuredServers(t *testing.T) {
	dir := t.TempDir()
	if err := certs.Make(dir, []string{"127.0.0.1"}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"secure.conf", "accounts.conf", "nats.conf"}
	var servers []*server.Server
	for i, port := range ports {
		own := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join("nats", name))
			if err != nil {
				t.Fatal(err)
			}
			local := strings.NewReplacer("/certs/", dir+"/", "port: 6222", fmt.Sprintf("listen: \"127.0.0.1:%d\"", port),
				"nats-1:6222", fmt.Sprint("127.0.0.1:", ports[0]), "nats-2:6222", fmt.Sprint("127.0.0.1:", ports[1]),
				"nats-3:6222", fmt.Sprint("127.0.0.1:", ports[2])).Replace(string(text))
			if err := os.WriteFile(filepath.Join(own, name), []byte(local), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("NATS_NAME", fmt.Sprint("nats-", i+1))
		o, err := server.ProcessConfigFile(filepath.Join(own, "secure.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if o.MaxPayload != api.NATSMaxPayload || o.MaxPending != api.NATSMaxPending {
			t.Errorf("limits %d and %d", o.MaxPayload, o.MaxPending)
		}
		servers = append(servers, natstest.Server(t, func(to *server.Options) {
			o.Host, o.Port, o.HTTPPort, o.NoLog, o.NoSigs = to.Host, to.Port, 0, true, true
			*to = *o
		}))
	}
	natstest.Eventually(t, "routes between three servers", func() bool {
		return !slices.ContainsFunc(servers, func(s *server.Server) bool { return s.NumRoutes() == 0 })
	})
	trust, err := certs.Client(filepath.Join(dir, "ca.pem"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	user := func(name string) nats.Option { return nats.UserInfo(name, "development") }
	for what, options := range map[string][]nats.Option{
		"nobody":                {nats.Secure(trust)},
		"no user of the file":   {nats.Secure(trust), user("somebody")},
		"who does not trust it": {user("app")},
	} {
		if nc, err := nats.Connect(servers[0].ClientURL(), options...); err == nil {
			nc.Close()
			t.Errorf("%s is let in", what)
		}
	}
	var conns []*nats.Conn
	for i, name := range []string{"gateway-1", "app"} {
		nc, err := nats.Connect(servers[i].ClientURL(), nats.Secure(trust), user(name), nats.CustomInboxPrefix(api.UserInbox(name)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		conns = append(conns, nc)
	}
	_, err = conns[0].QueueSubscribe("ingest.>", "gateway", func(m *nats.Msg) {
		if err := m.Respond([]byte("yes")); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = conns[0].Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	natstest.EventuallyNil(t, "an answer from the other server", func() error {
		_, err := conns[1].Request("ingest.cpu", nil, time.Second)
		return err
	})
}
