package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/bearer"
)

// patience bounds every wait: how fast the machine is decides about no test.
const patience = 5 * time.Minute

// project is docker-compose.yml at work.
type project struct {
	t       *testing.T
	name    string
	command []string // docker compose, with files and name
	env     []string
}

// newProject has ports of its own, so that it runs beside a cluster that somebody uses.
func newProject(t *testing.T, compose []string, files []string, env ...string) *project {
	t.Helper()
	p := &project{t: t, name: "braid-e2e", env: env}
	for _, port := range []string{
		"BRAID_NATS_PORT", "BRAID_HTTP_PORT", "BRAID_HTTP_PORT_2", "BRAID_PROMETHEUS_PORT", "BRAID_GRAFANA_PORT",
	} {
		p.env = append(p.env, fmt.Sprintf("%s=%d", port, freePort(t)))
	}
	p.command = append(slices.Clone(compose), "--project-name", p.name, "--project-directory", root)
	for _, file := range files {
		p.command = append(p.command, "--file", filepath.Join(root, file))
	}
	return p
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// alone clears away what a run that was killed has left, and this one's when the test ends.
func (p *project) alone() {
	p.t.Helper()
	p.down("--volumes", "--remove-orphans")
	p.t.Cleanup(func() {
		if p.t.Failed() {
			if out, err := p.try(context.WithoutCancel(p.t.Context()), "logs", "--no-color", "--tail", "40"); err == nil {
				p.t.Log(out)
			}
		}
		p.down("--volumes")
	})
}

func (p *project) try(ctx context.Context, args ...string) (string, error) {
	args = append(slices.Clone(p.command), args...)
	return run(ctx, nil, p.env, args[0], args[1:]...)
}

// compose is for what has to work.
func (p *project) compose(args ...string) string {
	p.t.Helper()
	out, err := p.try(p.t.Context(), args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// down removes the containers, and with more the volumes.
func (p *project) down(more ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), patience)
	defer cancel()
	if _, err := p.try(ctx, append([]string{"down"}, more...)...); err != nil {
		p.t.Error(err)
	}
}

// container is one of the project's, as docker sees it.
type container struct {
	ID    string
	State struct {
		Status   string
		ExitCode int
		Health   *struct{ Status string }
	}
	RestartCount int
	Config       struct{ Labels map[string]string }
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers are the services' containers; one-off ones, of `run`, are not among them.
func (p *project) containers(ctx context.Context) (map[string]container, error) {
	ids, err := run(ctx, nil, nil, "docker", "ps", "--all", "--quiet",
		"--filter", "label=com.docker.compose.project="+p.name, "--filter", "label=com.docker.compose.oneoff=False")
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, nil, nil, "docker", append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	var list []container
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	all := make(map[string]container)
	for _, c := range list {
		all[c.service()] = c
	}
	return all, nil
}

// container is the id of a service's container.
func (p *project) container(service string) string {
	p.t.Helper()
	all, err := p.containers(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if all[service].ID == "" {
		p.t.Fatalf("%s has no container", service)
	}
	return all[service].ID
}

// up starts everything and waits until docker calls it healthy.
func (p *project) up() {
	p.t.Helper()
	began := time.Now()
	p.compose("up", "--detach")
	p.healthy()
	p.t.Logf("up, everything healthy after %.0f s", time.Since(began).Seconds())
}

func (p *project) healthy() {
	p.t.Helper()
	poll(p.t, "all services are healthy", patience, func(ctx context.Context) error {
		all, err := p.containers(ctx)
		if err != nil {
			return err
		}
		if len(all) < 10 {
			return fmt.Errorf("only %d containers", len(all))
		}
		var not []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			s := all[name].State
			switch {
			case s.Status == "exited" && s.ExitCode == 0 && s.Health == nil: // it had one thing to do
			case s.Status == "running" && s.Health != nil && s.Health.Status == "healthy":
			default:
				not = append(not, fmt.Sprintf("%s is %s", name, s.Status))
			}
		}
		if len(not) > 0 {
			return errors.New(strings.Join(not, ", "))
		}
		return nil
	})
}

// quiet fails the test if a service was started again, or had something to warn of: all has been well. What the test
// itself has provoked is no such thing: parts of those lines.
func (p *project) quiet(provoked ...string) {
	p.t.Helper()
	all, err := p.containers(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for name, c := range all {
		if c.RestartCount > 0 {
			p.t.Errorf("%s was started %d times again", name, c.RestartCount)
		}
	}
	for line := range strings.Lines(p.compose("logs", "--no-color")) {
		ours := slices.ContainsFunc(provoked, func(part string) bool { return strings.Contains(line, part) })
		if loud(line) && !ours {
			p.t.Errorf("a warning though all is well: %s", line)
		}
	}
}

// loud says of a line in a log that it wants somebody's attention. Three NATS servers that start at once find each
// other on the second attempt, or twice, and then close one of the two routes while the other side still writes to it.
func loud(line string) bool {
	if starting.MatchString(line) {
		return false
	}
	return strings.Contains(line, "panic:") || warning.MatchString(line)
}

var starting = regexp.MustCompile(`Error trying to connect to route \(attempt 1\)|` +
	`:6222 - rid:\d+ - Error flushing: .*broken pipe`)

// warning is how Braid and Prometheus, how NATS, and how FoundationDB's server say it.
var warning = regexp.MustCompile(`level=(?i:warn|error)|\[(ERR|WRN|FTL)\]|^fdb[-_]\d+\s+\| .*(?i:error|warning)`)

// TestLoud: what services, NATS and FoundationDB's server complain of is found, whichever Compose prefixes it.
func TestLoud(t *testing.T) {
	for _, line := range []string{
		"fdb_1          | ERROR: could not create trace log file",
		"fdb-1  | WARNING: slow",
		"gateway-1_1    | time=2026-11-26T14:01:49.020Z level=WARN msg=late",
		"nats-1_1       | [1] 2026/11/26 14:01:00.90 [ERR] no disk",
	} {
		if !loud(line) {
			t.Errorf("overlooked: %s", line)
		}
	}
	for _, line := range []string{
		"fdb_1          | FDBD joined cluster.",
		"fdb-init_1     | ERROR: Database already exists!", // the attempt before has made it, only too late
		"nats-2_1       | [1] 2026/11/26 14:01:00.90 [ERR] Error trying to connect to route (attempt 1): dial tcp",
		"nats-3_1       | [1] 2026/11/26 17:21:56.15 [ERR] 172.30.99.6:6222 - rid:8 - Error flushing: write tcp " +
			"172.30.99.7:48580->172.30.99.6:6222: write: broken pipe",
	} {
		if loud(line) {
			t.Errorf("nothing to complain of: %s", line)
		}
	}
}

// braid runs a command of the binary in a gateway's container.
func (p *project) braid(ctx context.Context, args ...string) (string, error) {
	return p.try(ctx, append([]string{"exec", "-T", "gateway-1", "/braid"}, args...)...)
}

// node is a line of `braid status`.
type node struct {
	ID       string
	Role     string
	State    string
	StandsIn string `json:"stands_in_for"`
}

func (p *project) nodes(ctx context.Context) (map[string]node, error) {
	out, err := p.braid(ctx, "status", "--json")
	if err != nil {
		return nil, err
	}
	var status struct{ Nodes []node }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return nil, err
	}
	all := make(map[string]node)
	for _, n := range status.Nodes {
		all[n.ID] = n
	}
	return all, nil
}

// dead waits until the topology says that a primary is dead, and that the replica stands in for it.
func (p *project) dead(primary string) {
	p.t.Helper()
	poll(p.t, primary+" is dead and has a stand-in", patience, func(ctx context.Context) error {
		nodes, err := p.nodes(ctx)
		if err != nil {
			return err
		}
		if nodes[primary].State != "dead" || nodes["replica-1"].StandsIn != primary {
			return fmt.Errorf("%+v", nodes)
		}
		return nil
	})
	p.show("status")
}

// asBefore waits until every node is live in its own role.
func (p *project) asBefore() {
	p.t.Helper()
	poll(p.t, "every node has its place back", patience, func(ctx context.Context) error {
		nodes, err := p.nodes(ctx)
		if err != nil {
			return err
		}
		for id, role := range map[string]string{"primary-1": "primary", "primary-2": "primary", "replica-1": "replica"} {
			if n := nodes[id]; n.State != "live" || n.Role != role {
				return fmt.Errorf("%+v", nodes)
			}
		}
		return nil
	})
	p.show("status")
}

// show logs what a command of the binary says, for whoever reads the test's output.
func (p *project) show(args ...string) string {
	p.t.Helper()
	out, err := p.braid(p.t.Context(), args...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("braid %s\n%s", strings.Join(args, " "), out)
	return out
}

// loadtest runs the harness to its end.
func (p *project) loadtest(args ...string) {
	p.t.Helper()
	p.tool("loadtest", args...)
}

// tool logs what a service that is no daemon does, in a container of its own.
func (p *project) tool(service string, args ...string) string {
	p.t.Helper()
	out := p.compose(append([]string{"run", "--rm", "-T", service}, args...)...)
	p.t.Logf("%s %s\n%s", service, strings.Join(args, " "), out)
	return out
}

// address is where a service's port is published.
func (p *project) address(service, port string) string {
	p.t.Helper()
	return strings.TrimSpace(p.compose("port", service, port))
}

// ask sends an HTTP request on a connection of its own, with a bearer token unless that is "".
func ask(ctx context.Context, method, url, token, body string) (status int, answer string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Close = true
	bearer.Set(r, token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
