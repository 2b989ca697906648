package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var (
	withDocker = flag.Bool("compose", false, "run docker-compose.yml on this machine's Docker; takes minutes")
	command    = flag.String("compose.command", "", "what runs it: `docker compose`, docker-compose, or a path; "+
		"default: the first of these that is here")
	embedded = flag.Bool("compose.embedded", false, "without FoundationDB, even where that is installed")
)

// composeCommand is what runs docker-compose.yml here, nil if nothing does.
func composeCommand(t *testing.T) []string {
	t.Helper()
	if *command != "" {
		return strings.Fields(*command)
	}
	for _, words := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.CommandContext(t.Context(), words[0], append(words[1:], "version")...).Run() == nil {
			return words
		}
	}
	return nil
}

// TestCompose brings docker-compose.yml up as it is, and once more with deploy/secure.yml. The steps of either build on
// each other.
func TestCompose(t *testing.T) {
	if !*withDocker {
		t.Skip("NOT RUN: needs Docker, root and minutes; `make compose-test` runs it")
	}
	compose := composeCommand(t)
	if compose == nil {
		t.Fatal("neither `docker compose` nor docker-compose is here")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Fatalf("stand-ins for the images need debootstrap: %v", err)
	}
	t.Logf("with %s", strings.Split(must(t, compose[0], append(compose[1:], "version")...), "\n")[0])

	files, env := []string{"docker-compose.yml"}, []string(nil)
	fdb, err := findFoundationDB()
	if err != nil || *embedded {
		fdb, files = nil, append(files, "deploy/embedded.yml")
		loudly(t, "ON THE EMBEDDED STORE, WITHOUT FOUNDATIONDB", err)
	} else {
		loudly(t, "ON FOUNDATIONDB", nil)
		env = append(env, "FDB_CLIENTS="+fdb.serveClients(t))
	}
	images := &standIns{t: t, fdb: fdb}
	images.provide(wanted(t))

	newProject(t, compose, files, env...).compose("build")
	t.Log(must(t, "docker", "images", "--filter", "reference=braid*:dev"))

	t.Run("open", func(t *testing.T) {
		p := newProject(t, compose, files, env...)
		p.alone()
		p.open()
	})
	t.Run("secured", func(t *testing.T) {
		p := newProject(t, compose, append(files, "deploy/secure.yml"), env...)
		p.alone()
		p.secured()
	})
}

// open writes a million rows, hurts the cluster, and looks whether it is all there.
func (p *project) open() {
	p.t.Helper()
	p.up()
	p.loadtest("--rows", "1000000", "--verify")
	p.scraped()
	p.quiet()
	if p.t.Failed() {
		return
	}
	p.survives()

	before := p.tables()
	p.down()
	p.up()
	p.asBefore()
	p.show("verify")
	if after := p.tables(); after != before {
		p.t.Errorf("after down and up there is\n%s\nbefore there was\n%s", after, before)
	}
	p.loadtest("--rows", "100000", "--table", "afterwards", "--verify")
	p.quiet()
}

// survives kills one primary and cuts off the other, while rows are written; the harness verifies every one of them.
func (p *project) survives() {
	p.t.Helper()
	ctx, stop := context.WithCancel(p.t.Context())
	defer stop()
	p.compose("up", "--detach") // nothing to do: it says that nothing has changed
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := p.try(ctx, "run", "--rm", "-T", "loadtest",
			"--table", "hurt", "--duration", "90s", "--rate", "10000", "--batch", "500", "--verify")
		ended <- result{out, err}
	}()
	poll(p.t, "rows are written", patience, func(ctx context.Context) error {
		out, err := p.braid(ctx, "tables")
		if err == nil && !strings.Contains(out, "hurt ") {
			err = fmt.Errorf("no table yet: %s", out)
		}
		return err
	})

	must(p.t, "docker", "kill", p.container("primary-1"))
	p.dead("primary-1")
	p.compose("start", "primary-1")
	p.asBefore()

	network, cut := p.name+"_default", p.container("primary-2")
	must(p.t, "docker", "network", "disconnect", network, cut)
	p.dead("primary-2")
	must(p.t, "docker", "network", "connect", "--alias", "primary-2", network, cut)
	p.asBefore()

	select {
	case <-ended:
		p.t.Error("the load had ended before the cluster was whole again")
	default:
	}
	r := <-ended
	p.t.Log(r.out)
	if r.err != nil {
		p.t.Fatal(r.err)
	}
	p.healthy()
}

// tables is what `braid tables` says.
func (p *project) tables() string {
	p.t.Helper()
	return p.show("tables")
}

// scraped asks Prometheus whether it reaches everything.
func (p *project) scraped() {
	p.t.Helper()
	targets := "http://" + p.address("prometheus", "9090") + "/api/v1/targets"
	poll(p.t, "Prometheus reaches every service", patience, func(ctx context.Context) error {
		_, text, err := ask(ctx, http.MethodGet, targets, "", "")
		if err != nil {
			return err
		}
		var answer struct {
			Data struct {
				ActiveTargets []struct{ ScrapeURL, Health, LastError string }
			}
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		if len(answer.Data.ActiveTargets) < 10 {
			return fmt.Errorf("only %d targets", len(answer.Data.ActiveTargets))
		}
		for _, target := range answer.Data.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%s is %s: %s", target.ScrapeURL, target.Health, target.LastError)
			}
		}
		return nil
	})
}

// loudly says what kind of a run this is where nobody overlooks it.
func loudly(t *testing.T, what string, why error) {
	t.Helper()
	if why != nil {
		what += " (" + why.Error() + ")"
	}
	line := strings.Repeat("=", 20)
	fmt.Fprintf(os.Stderr, "\n%s docker-compose.yml RUNS %s %s\n\n", line, what, line)
}
