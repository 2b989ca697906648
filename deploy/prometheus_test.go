package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// tool finds a program of Prometheus, or says loudly what is not tested without it.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "NOT RUN: %s, there is no %s in PATH (Debian: apt-get install prometheus)\n", t.Name(), name)
		t.Skipf("NOT RUN: there is no %s in PATH", name)
	}
	return path
}

// TestPromtool: Prometheus takes configuration and rules, every alert fires when it must and only then, and every
// expression of a dashboard is PromQL.
func TestPromtool(t *testing.T) {
	promtool := tool(t, "promtool")
	dir := t.TempDir()
	// The configuration has the paths that the container sees.
	config, err := os.ReadFile("prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "prometheus.yml"), bytes.ReplaceAll(config, []byte("/etc/prometheus"), []byte(here)))
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboards\n    rules:\n")
	for i, e := range expressions(t) {
		fmt.Fprintf(&rules, "      - {record: 'expression_%d', expr: '%s'}\n", i, strings.ReplaceAll(e.promQL, "'", "''"))
	}
	write(t, filepath.Join(dir, "expressions.yml"), []byte(rules.String()))
	for _, args := range [][]string{
		{"check", "config", filepath.Join(dir, "prometheus.yml")},
		{"check", "rules", filepath.Join(dir, "expressions.yml")},
		{"test", "rules", "prometheus/alerts_test.yml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPanelsFindSeries: a real Prometheus scrapes a cluster under load, and every panel has something to show. Alerts
// find what they are about, and none of them fires.
func TestPanelsFindSeries(t *testing.T) {
	program := tool(t, "prometheus")
	up := startCluster(t)
	load(t, connect(t, up, prometheus.NewRegistry()))
	p := startPrometheus(t, program, strings.TrimPrefix(up.HTTP, "http://"))
	shown := 0
	for _, e := range expressions(t) {
		if strings.HasPrefix(e.where, "alert ") || strings.HasSuffix(e.where, ", annotation") {
			continue // an annotation finds what has just changed, which is nothing
		}
		natstest.EventuallyNil(t, e.where+": "+e.promQL, func() error { return p.finds(e.promQL) })
		shown++
	}
	for _, r := range alerts(t) {
		if err := p.finds(r.Expr); !errors.Is(err, errNothing) {
			t.Errorf("%s finds something on a healthy cluster, or fails: %v", r.Alert, err)
		}
	}
	t.Logf("%d expressions of dashboards have values, %d alerts have none", shown, len(alerts(t)))
}

// errNothing is an expression that finds no series with a value.
var errNothing = errors.New("nothing")

// load writes at both durabilities, with a conflict and a mistake now and then, until the test ends.
func load(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			table, o := c.Table("cpu"), []client.WriteOption{client.Durable(client.Object)}
			switch n % 4 {
			case 1:
				o = []client.WriteOption{client.Durable(client.WAL)}
			case 2:
				o = append(o, client.ExpectTxID(0)) // a conflict
			case 3:
				table = c.Table("disk")
			}
			// Refusals are part of it, and the end.
			_, err := table.Write(ctx, client.LineProtocol(fmt.Appendf(nil, "%s,host=a usage=%di", table.Name(), n)), o...)
			if err != nil && !errors.Is(err, client.ErrConflict) && ctx.Err() == nil {
				t.Error(err)
				return
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// prometheusServer is a running Prometheus.
type prometheusServer struct{ url string }

func startPrometheus(t *testing.T, program, target string) prometheusServer {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Appendf(nil, `
global: {scrape_interval: 500ms}
scrape_configs:
  - job_name: braid
    static_configs: [{targets: ["%s"]}]
`, target))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String() // Prometheus does not say which port 0 became
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
		if err != nil || t.Failed() {
			t.Errorf("prometheus ended: %v\n%s", err, log.Bytes())
		}
	})
	return prometheusServer{"http://" + address}
}

// finds is nil if an expression has a series now whose value is a number.
func (s prometheusServer) finds(promQL string) error {
	answer, err := http.Get(s.url + "/api/v1/query?query=" + url.QueryEscape(promQL))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var found struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil || found.Error != "" {
		return fmt.Errorf("%s: %s, %w", answer.Status, found.Error, err)
	}
	for _, r := range found.Data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%d series, %w with a value", len(found.Data.Result), errNothing)
}
