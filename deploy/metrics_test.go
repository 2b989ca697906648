package deploy_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// metric is what is known of one, from the page or from a process.
type metric struct {
	kind   string   // counter, gauge, histogram
	labels []string // sorted, without id, which a process adds to all
	help   string
}

// page reads the tables of docs/metrics.md:
//
//	| `name` | type | `label`, `label` | unit | meaning |
func page(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]metric)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `braid_") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 {
			t.Fatalf("%d cells, want 5: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name, unit := strings.Trim(cells[0], "`"), cells[3]
		if _, twice := all[name]; twice {
			t.Errorf("%s is listed twice", name)
		}
		if unit == "" || unitOf(name) != "" && unitOf(name) != unit {
			t.Errorf("%s: unit %q, its name says %q", name, unit, unitOf(name))
		}
		labels := strings.FieldsFunc(cells[2], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		slices.Sort(labels)
		all[name] = metric{kind: cells[1], labels: labels, help: cells[4]}
	}
	return all
}

// unitOf is the base unit that a name ends with; "": it counts something.
func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return ""
}

// TestMetricsPage: docs/metrics.md lists what a whole cluster and a client show, all of it and nothing else, with type,
// labels and meaning; and the names are as Prometheus wants them.
func TestMetricsPage(t *testing.T) {
	up := startCluster(t)
	registry := prometheus.NewRegistry()
	writeOnce(t, connect(t, up, registry, client.WithDirectory(t.TempDir())))
	var exposed []byte
	natstest.Eventually(t, "the table is applied", func() bool {
		exposed = exposition(t, up.HTTP+"/metrics")
		return bytes.Contains(exposed, []byte("braid_replicator_table_applied_txid{"))
	})
	exposed = append(exposed, clientExposition(t, registry)...)
	shown, listed := exposedMetrics(exposed), page(t)
	for name, m := range shown {
		l, ok := listed[name]
		row := "| `" + name + "` | " + m.kind + " | " + quoted(m.labels) + " | " + cmp.Or(unitOf(name), "?") + " | " + m.help + " |"
		switch {
		case !ok:
			t.Errorf("docs/metrics.md has no row for\n%s", row)
		case l.kind != m.kind || l.help != m.help || !slices.Equal(l.labels, m.labels):
			t.Errorf("docs/metrics.md says\n| `%s` | %s | %s | … | %s |, the code\n%s", name, l.kind, quoted(l.labels), l.help, row)
		}
	}
	for name := range listed {
		if _, ok := shown[name]; !ok {
			t.Errorf("docs/metrics.md lists %s, which no process shows", name)
		}
	}
	problems, err := promlint.New(bytes.NewReader(exposed)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "braid_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func writeOnce(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu,host=a usage=1i 1"))); err != nil {
		t.Fatal(err)
	}
}

// exposition is a /metrics page.
func exposition(t *testing.T, url string) []byte {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	return body
}

// clientExposition is what an application's page has of its client.
func clientExposition(t *testing.T, r prometheus.Gatherer) []byte {
	t.Helper()
	w := &response{header: http.Header{}}
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, &http.Request{Method: http.MethodGet, Header: http.Header{}})
	return w.Bytes()
}

type response struct {
	bytes.Buffer
	header http.Header
}

func (r *response) Header() http.Header { return r.header }
func (r *response) WriteHeader(int)     {}

var label = regexp.MustCompile(`([a-z_]+)="`)

// exposedMetrics reads Prometheus's text format, as far as Braid's metrics use it.
func exposedMetrics(text []byte) map[string]metric {
	all := make(map[string]metric)
	labels := make(map[string]map[string]bool)
	name := ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		word := strings.SplitN(lines.Text(), " ", 4)
		switch {
		case len(word) == 4 && word[1] == "HELP":
			name = word[2]
			all[name], labels[name] = metric{help: word[3]}, make(map[string]bool)
		case len(word) == 4 && word[1] == "TYPE":
			m := all[name]
			m.kind = word[3]
			all[name] = m
		default:
			for _, found := range label.FindAllStringSubmatch(lines.Text(), -1) {
				labels[name][found[1]] = true
			}
		}
	}
	maps.DeleteFunc(all, func(name string, _ metric) bool { return !strings.HasPrefix(name, "braid_") })
	for name, m := range all {
		delete(labels[name], "id")
		delete(labels[name], "le")
		m.labels = slices.Sorted(maps.Keys(labels[name]))
		all[name] = m
	}
	return all
}

// quoted is how the page writes labels.
func quoted(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return "`" + strings.Join(labels, "`, `") + "`"
}
