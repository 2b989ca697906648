// Package browser looks at the load test's page in a real browser. It is a module of its own, so that the project does
// not depend on the browser's protocol.
package browser

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chart is what the browser has made of one.
type chart struct {
	ID            string
	Width, Height float64  // in pixels, as drawn
	Marks         int      // lines, areas and cells that take up room
	Classes       []string // of all that is drawn
	Texts         []string
	Outside       []string // texts that reach beyond the chart
}

const readCharts = `[...document.querySelectorAll("figure svg")].map(svg => {
	const box = svg.getBoundingClientRect();
	const shown = e => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; };
	const texts = [...svg.querySelectorAll("text")];
	return {
		ID: svg.parentElement.id, Width: box.width, Height: box.height,
		Marks: [...svg.querySelectorAll("path, rect")].filter(shown).length,
		Classes: [...new Set([...svg.querySelectorAll("path, rect, circle")].flatMap(e => [...e.classList]))],
		Texts: texts.map(t => t.textContent),
		Outside: texts.filter(t => { const b = t.getBoundingClientRect();
			return b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1;
		}).map(t => t.textContent),
	};
})`

// pointAtCharts moves the pointer into the first chart, and returns what is shown then.
const pointAtCharts = `(() => {
	const svg = document.querySelector("#throughput svg"), box = svg.getBoundingClientRect();
	svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + 20}));
	const tip = document.getElementById("tip");
	return getComputedStyle(tip).visibility + " " + tip.textContent;
})()`

// TestThePageRendersItsCharts: a cluster is written to while one of its primaries is killed, and the report's page is
// opened without a network, on a wide light screen and on a narrow dark one.
func TestThePageRendersItsCharts(t *testing.T) {
	file := page(t)
	b := open(t)
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"wide", 1280, 900, "light"}, {"narrow", 420, 800, "dark"}} {
		t.Run(screen.name, func(t *testing.T) {
			b.do(t,
				chromedp.EmulateViewport(screen.width, screen.height),
				prefer(screen.scheme),
				chromedp.Navigate("file://"+file),
				chromedp.WaitVisible("#distribution svg"))
			if ink, card := run(t, b, chromedp.Evaluate[string](`getComputedStyle(document.body).color`)),
				run(t, b, chromedp.Evaluate[string](`getComputedStyle(document.querySelector(".card")).backgroundColor`)); ink == card {
				t.Errorf("text and background are both %s", ink)
			}
			if run(t, b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`)) {
				t.Error("the page is wider than the screen")
			}
			b.picture(t, screen.name)
			checkCharts(t, run(t, b, chromedp.Evaluate[[]chart](readCharts)))
			checkReport(t, run(t, b, chromedp.Evaluate[string](`document.getElementById("report").textContent`)))
		})
	}
	b.do(t, chromedp.EmulateViewport(1280, 900))
	tip := run(t, b, chromedp.Evaluate[string](pointAtCharts))
	if !strings.HasPrefix(tip, "visible ") || !strings.Contains(tip, "rows/s") {
		t.Errorf("under the pointer: %q", tip)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) > 0 {
		t.Errorf("the browser complains: %q", b.faults)
	}
	for _, url := range b.requests {
		if url != "file://"+file {
			t.Errorf("the page asks for %s", url)
		}
	}
}

func checkCharts(t *testing.T, charts []chart) {
	t.Helper()
	found := map[string]chart{}
	for _, c := range charts {
		found[c.ID] = c
	}
	for id, want := range map[string]struct {
		marks   int
		classes []string
		texts   []string
	}{
		"throughput":   {4, []string{"rows-line", "rows-area", "fault"}, []string{"0 s", "kill p1"}},
		"heat":         {20, []string{"heat", "p50-line", "p99-line", "fault"}, []string{"0 s"}},
		"lanes":        {5, []string{"lane", "live-primary", "live-replica", "dead"}, []string{"p1", "p2", "r1"}},
		"distribution": {2, []string{"distribution-line", "mark"}, []string{"50 %", "90 %"}},
	} {
		c, ok := found[id]
		if !ok {
			t.Errorf("%s: no such chart", id)
			continue
		}
		if c.Width < 300 || c.Height < 60 || c.Marks < want.marks || len(c.Outside) > 0 {
			t.Errorf("%s: %.0f × %.0f pixels, %d marks, texts outside: %q", id, c.Width, c.Height, c.Marks, c.Outside)
		}
		for _, class := range want.classes {
			if !slices.Contains(c.Classes, class) {
				t.Errorf("%s: nothing is %s, only %v", id, class, c.Classes)
			}
		}
		for _, text := range want.texts {
			if !slices.Contains(c.Texts, text) {
				t.Errorf("%s: %q is not among %q", id, text, c.Texts)
			}
		}
	}
}

// checkReport: the page has the report in it.
func checkReport(t *testing.T, text string) {
	t.Helper()
	var report struct {
		Rows     uint64
		Verified struct{ OK bool }
		Timeline struct{ Slices []struct{ Rows uint64 } }
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	rows := uint64(0)
	for _, s := range report.Timeline.Slices {
		rows += s.Rows
	}
	if rows == 0 || rows != report.Rows || !report.Verified.OK {
		t.Errorf("%d rows, %d in the timeline, verified %v", report.Rows, rows, report.Verified.OK)
	}
}

// page makes the report, or takes that of BRAID_TEST_PAGE.
func page(t *testing.T) string {
	t.Helper()
	if file := os.Getenv("BRAID_TEST_PAGE"); file != "" {
		return file
	}
	file := filepath.Join(t.TempDir(), "report.html")
	harness := exec.CommandContext(t.Context(), "go", "run", "./cmd/braid", "loadtest", "--embedded", "--duration", "12s",
		"--rate", "20000", "--batch", "200", "--chaos", "kill@p1:3s:2s", "--verify", "--html", file)
	harness.Dir = "../.."
	if out, err := harness.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", harness, err, out)
	}
	return file
}

// browser is a running one. What it asks for and what it complains of is kept.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	requests []string // guarded by mu
	faults   []string // guarded by mu
}

func open(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("NOT RUN: no chromium or chrome in PATH; nobody has looked at the page")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	b := &browser{ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		case *runtime.EventExceptionThrown:
			b.faults = append(b.faults, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.faults = append(b.faults, "console."+string(e.Type))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func run[T any](t *testing.T, b *browser, action chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// prefer has the page be light or dark.
func prefer(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	})
}

// picture saves what is seen, if BRAID_TEST_PICTURES names a folder.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("BRAID_TEST_PICTURES")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), run(t, b, chromedp.FullScreenshot(100)), 0o644); err != nil {
		t.Fatal(err)
	}
}
