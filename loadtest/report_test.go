package loadtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReportArithmetic(t *testing.T) {
	latency := newLatencies()
	for i := 1; i <= 1000; i++ {
		latency.record(i, time.Duration(i)*time.Millisecond, time.Duration(i)*time.Millisecond, 1)
	}
	workers := []*worker{
		{writes: 600, rows: 6_000_000, bytes: 2_000_000_000, errors: map[string]uint64{"409 conflict": 1}},
		{writes: 400, rows: 4_000_000, bytes: 1_000_000_000, errors: map[string]uint64{"409 conflict": 2, "no answer": 1},
			example: errors.New("first")},
	}
	var r Report
	r.sum(workers, latency, 4*time.Second)
	if r.Rows != 10_000_000 || r.RowsPerS != 2_500_000 || r.MegabytesPerS != 750 || r.WritesPerS != 250 {
		t.Errorf("rates: %+v", r)
	}
	if r.Errors["409 conflict"] != 3 || r.Errors["no answer"] != 1 || r.Example != "first" {
		t.Errorf("errors: %v, %q", r.Errors, r.Example)
	}
	near := func(name string, got, want float64) {
		if got < want*0.998 || got > want*1.002 {
			t.Errorf("%s is %.3f ms, want %.0f", name, got, want)
		}
	}
	near("p50", r.Latency.P50, 500)
	near("p99", r.Latency.P99, 990)
	near("p99.9", r.Latency.P999, 999)
	near("max", r.Latency.Max, 1000)
	if r.Latency.From != "sent" {
		t.Errorf("latency from %q", r.Latency.From)
	}
}

func TestLatencyBeyondTheHistogramCountsAsItsEnd(t *testing.T) {
	l := newLatencies()
	l.record(0, 0, 24*time.Hour, 1)
	l.record(1, 0, -time.Second, 1)
	if h := l.sum(); h.TotalCount() != 2 || h.Max() < latencyMax*99/100 {
		t.Fatalf("%d counted, max %d", h.TotalCount(), h.Max())
	}
}

func TestPrintTellsViolations(t *testing.T) {
	r := Report{Workload: "cpu-only", Format: "ilp", Via: "gateway", Tables: []string{"cpu"}, Transport: "TCP"}
	var verdict history.Verdict
	verdict.Add(history.Violation{Invariant: 3, Check: "once", Table: "cpu", Node: "p1", TxID: 7, Detail: "stored twice"})
	r.Verified = &Verification{Nodes: []string{"p1"}, Skipped: []string{"p2 (dead)"},
		Tables:  map[string]TableVerified{"cpu": {Head: 1_234_567}},
		Verdict: map[string]history.Verdict{"cpu": verdict}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"✗ FAILED", "I3 once: cpu TxID 7 on p1: stored twice", "p2 (dead)", "1,234,567"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
}

func TestErrorNames(t *testing.T) {
	tests := map[string]error{
		"409 conflict":        &client.ConflictError{},
		"400 invalid":         &client.InvalidError{},
		"429 overloaded":      fmt.Errorf("%w: %w", client.ErrOverloaded, &client.ServerError{Code: 429, Name: "overloaded"}),
		"no answer":           client.ErrUnknownOutcome,
		"no responders":       client.ErrUnavailable,
		"bound of the client": client.ErrOverloaded,
		"other":               errors.New("x"),
	}
	for want, err := range tests {
		if got := errorName(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
	conflict := new(client.ConflictError)
	err := httpError("cpu", 409, []byte(`{"code":409,"name":"conflict","message":"m","expected":1,"current":2}`))
	if !errors.As(err, &conflict) || conflict.Current != 2 {
		t.Errorf("conflict over HTTP: %v", err)
	}
	if err := httpError("cpu", 502, []byte("<html>")); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("a proxy's page: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{
		{Workload: "cpu"}, {Format: "csv"}, {Via: "smoke"}, {Rows: 1, Duration: 1}, {Batch: -1}, {Batch: 1 << 20},
		{Via: "http", Format: "arrow"}, {Workload: conflict, Rate: 5}, {Baseline: true}, {Identity: "x"}, {Writers: -1},
	} {
		if err := c.fill(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	c := Config{Workload: small}
	if err := c.fill(); err != nil || c.Writers != 2000 || c.Batch != 1 || c.Identity != "none" || c.Connections != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSplitRowsKeepsRowsWhole(t *testing.T) {
	text := "# \"comment\n\n  \r\na,t=x\"y v=\"one\ntwo \\\" # \" 1\r\nb\\ c v=1i\nd v=t 3"
	rows, err := splitRows([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s|%q|%v", r.table, r.text, r.opaque))
	}
	want := []string{
		`a|"a,t=x\"y v=\"one\ntwo \\\" # \" 1"|false`, `b c|"b\\ c v=1i"|true`, `d|"d v=t 3"|false`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := splitRows([]byte("a v=1\n\nb v=\n")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error is %v", err)
	}
}
