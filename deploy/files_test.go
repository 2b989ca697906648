package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// dashboard is a Grafana dashboard, as far as ours use the schema: a field that is not here is a mistake.
type dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Editable      bool     `json:"editable"`
	GraphTooltip  int      `json:"graphTooltip"`
	Refresh       string   `json:"refresh"`
	Time          struct{ From, To string }
	Timezone      string `json:"timezone"`
	Links         []struct {
		Type, Title, URL string
		KeepTime         bool
	}
	Annotations struct {
		List []struct {
			Datasource                                                    source
			Expr, Name, IconColor, Step, TitleFormat, TextFormat, TagKeys string
			Enable                                                        bool
		}
	}
	Templating struct {
		List []struct {
			Name, Label, Type, Query, AllValue string
			Datasource                         source
			Refresh, Sort                      int
			Multi, IncludeAll                  bool
			Current                            struct{ Text, Value string }
		}
	}
	Panels []panel `json:"panels"`
}

type source struct{ Type, UID string }

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               source
	FieldConfig              struct {
		Defaults struct {
			Unit   string
			Custom struct {
				FillOpacity       int
				LineInterpolation string
				Stacking          struct{ Mode string }
			}
			Thresholds struct {
				Mode  string
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
		Overrides []struct{}
	}
	Options struct {
		ColorMode     string
		ReduceOptions struct{ Calcs []string }
	}
	Targets []struct{ RefID, Expr, LegendFormat string }
}

func dashboards(t *testing.T) (all []dashboard) {
	t.Helper()
	paths, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		var d dashboard
		if err := decoder.Decode(&d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, d)
	}
	return all
}

// strictYAML reads a file; a field that v has not is an error.
func strictYAML(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	strictYAML(t, "prometheus/rules/braid.yml", &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

// expression is PromQL out of one of the files.
type expression struct {
	where, promQL string
	texts         string // what is said with its labels: legends, summaries
}

// expressions of every panel, annotation and alert, with Grafana's variables filled in.
func expressions(t *testing.T) (all []expression) {
	t.Helper()
	for _, r := range alerts(t) {
		all = append(all, expression{where: "alert " + r.Alert, promQL: r.Expr, texts: r.Annotations["summary"]})
	}
	for _, d := range dashboards(t) {
		fill := []string{"$__rate_interval", "1m"}
		for _, v := range d.Templating.List {
			fill = append(fill, "$"+v.Name, v.AllValue)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, expression{where: d.Title + ", " + p.Title, texts: target.LegendFormat,
					promQL: strings.NewReplacer(fill...).Replace(target.Expr)})
			}
		}
		for _, a := range d.Annotations.List {
			all = append(all, expression{where: d.Title + ", annotation", promQL: a.Expr, texts: a.TextFormat})
		}
	}
	for _, e := range all {
		if strings.Contains(e.promQL, "$") {
			t.Errorf("%s: a variable that nobody sets: %s", e.where, e.promQL)
		}
	}
	return all
}

var (
	metricName = regexp.MustCompile(`\bbraid_[a-z_]+`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	mention    = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

// TestMetricsAndLabelsExist: those of dashboards and alerts are in docs/metrics.md, which TestMetricsPage holds against
// the code.
func TestMetricsAndLabelsExist(t *testing.T) {
	listed := page(t)
	for _, d := range dashboards(t) {
		for _, v := range d.Templating.List {
			found := regexp.MustCompile(`^label_values\(([a-z_]+), ([a-z_]+)\)$`).FindStringSubmatch(v.Query)
			if found == nil || listed[found[1]].kind == "" || found[2] != "id" && !slices.Contains(listed[found[1]].labels, found[2]) {
				t.Errorf("%s, variable %s: %s", d.Title, v.Name, v.Query)
			}
		}
	}
	for _, e := range expressions(t) {
		known := []string{"id", "le", "job", "instance"} // the process's, and Prometheus's own
		for _, name := range metricName.FindAllString(e.promQL, -1) {
			m, ok := listed[name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, cut := strings.CutSuffix(name, suffix); cut && listed[base].kind == "histogram" {
					m, ok = listed[base], true
				}
			}
			if !ok {
				t.Errorf("%s: there is no metric %s", e.where, name)
			}
			known = append(known, m.labels...)
		}
		var used []string
		for _, found := range append(matcher.FindAllStringSubmatch(e.promQL, -1), mention.FindAllStringSubmatch(e.texts, -1)...) {
			used = append(used, found[1])
		}
		for _, found := range grouping.FindAllStringSubmatch(e.promQL, -1) {
			used = append(used, strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' || r == ' ' })...)
		}
		for _, label := range used {
			if !slices.Contains(known, label) {
				t.Errorf("%s: none of its metrics has the label %s", e.where, label)
			}
		}
	}
}

// TestDashboardsFit: what Grafana would quietly show wrongly.
func TestDashboardsFit(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool              `yaml:"isDefault"`
			JSONData                     map[string]string `yaml:"jsonData"`
		}
	}
	strictYAML(t, "grafana/provisioning/datasources/prometheus.yml", &sources)
	uids := make(map[string]bool)
	for _, d := range dashboards(t) {
		if uids[d.UID] || d.UID == "" || d.Title == "" {
			t.Errorf("%s: uid %q is empty or there twice", d.Title, d.UID)
		}
		uids[d.UID] = true
		if len(d.Annotations.List) != 1 {
			t.Errorf("%s: changes of the topology are not on the time axis", d.Title)
		}
		ids, taken := make(map[int]bool), make(map[[2]int]string)
		for _, p := range d.Panels {
			if p.Datasource != (source{"prometheus", sources.Datasources[0].UID}) {
				t.Errorf("%s, %s: data source %v is not provisioned", d.Title, p.Title, p.Datasource)
			}
			if ids[p.ID] || p.ID == 0 || len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s, %s: an id of its own, targets, a unit and a place are needed", d.Title, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Errorf("%s: %s lies over %s", d.Title, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
	for _, d := range dashboards(t) {
		for _, l := range d.Links {
			if !uids[strings.TrimPrefix(l.URL, "/d/")] {
				t.Errorf("%s: link to %s", d.Title, l.URL)
			}
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// TestRunbooks: each alert says how bad it is, has a section in docs/operations.md, and is played through by promtool.
func TestRunbooks(t *testing.T) {
	operations, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	played, err := os.ReadFile("prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	anchors := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(string(operations), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")] = true
	}
	for _, r := range alerts(t) {
		link, ok := strings.CutPrefix(r.Annotations["runbook_url"],
			"https://github.com/seed-551dd829/braid/blob/main/docs/operations.md#")
		if !ok || !anchors[link] || link != strings.ToLower(r.Alert) {
			t.Errorf("%s: runbook %q is no section of docs/operations.md", r.Alert, r.Annotations["runbook_url"])
		}
		if r.Annotations["summary"] == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) || r.For == "" {
			t.Errorf("%s: a summary, a severity and a time are needed", r.Alert)
		}
		for _, test := range []string{" fires\n", " does not fire\n"} {
			if !bytes.Contains(played, []byte("- name: "+r.Alert+test)) {
				t.Errorf("%s: prometheus/alerts_test.yml has no test that it%s", r.Alert, test)
			}
		}
	}
}
