package loadtest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/cluster"
	"github.com/seed-551dd829/braid/loadtest"
)

// start runs a whole cluster in this process, as `braid loadtest --embedded` does.
func start(t *testing.T, tcp bool) func(context.Context) (loadtest.Cluster, error) {
	return func(ctx context.Context) (loadtest.Cluster, error) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ready, ended := make(chan cluster.Up, 1), make(chan error, 1)
		go func() {
			ended <- cluster.Run(ctx, cluster.Config{
				DataDir: dir, NATS: "127.0.0.1:0", HTTP: "127.0.0.1:0", Primaries: 2, Replicas: 1, Sequencers: 1,
				TCP: tcp,
			}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
				func(u cluster.Up) { ready <- u })
		}()
		select {
		case u := <-ready:
			c := loadtest.Cluster{Servers: u.NATS, HTTP: u.HTTP, DataDir: dir}
			if !tcp {
				c.InProcess = u.InProcess
			}
			c.Close = func() error { cancel(); return <-ended }
			return c, nil
		case err := <-ended:
			cancel()
			return loadtest.Cluster{}, err
		}
	}
}

// TestI3_VerifyCatchesARowThatNobodyAcknowledged lets somebody else write into the table during the run: those
// transactions belong to no writer, which is what a write that is stored twice looks like.
func TestI3_VerifyCatchesARowThatNobodyAcknowledged(t *testing.T) {
	inner := start(t, false)
	stranger := func(ctx context.Context) (loadtest.Cluster, error) {
		c, err := inner(ctx)
		if err != nil {
			return c, err
		}
		cl, err := client.Connect(ctx, "", client.WithInProcess(c.InProcess))
		if err != nil {
			return c, err
		}
		quit, done, stop := make(chan struct{}), make(chan struct{}), c.Close
		go func() {
			defer close(done)
			for {
				select {
				case <-quit:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := cl.Table("cpu").Write(ctx, client.LineProtocol([]byte("cpu usage_user=1i 1"))); err != nil {
					t.Error(err)
				}
			}
		}()
		c.Close = func() error { close(quit); <-done; return errors.Join(cl.Close(), stop()) }
		return c, nil
	}
	r, err := loadtest.Run(t.Context(), loadtest.Config{Duration: time.Second, Batch: 100, Writers: 2, Verify: true},
		loadtest.Deps{StartCluster: stranger, Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, loadtest.ErrVerify) || r.Verified.OK {
		t.Fatalf("error is %v", err)
	}
	if first := r.Verified.Verdict["cpu"].Violations[0]; first.Invariant != 3 || first.Check != "once" {
		t.Fatalf("violation %s", first)
	}
}

func TestRunAgainstAWholeCluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.lp")
	text := "# a comment with \"one quote\n" +
		"cpu,host=a usage=1i,note=\"two\nlines\" 10\n\nmem,host=b free=1.5,ok=t 11\ncpu,host=a\\ b usage=2i 12\nnow x=1u\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		tcp  bool
		loadtest.Config
	}{
		{"cpu-only", false, loadtest.Config{Rows: 22_500, Batch: 1000, Writers: 4}},
		{"cpu-only over TCP through primaries", true, loadtest.Config{Rows: 8000, Batch: 500, Writers: 4, Via: "primary"}},
		{"cpu-only over HTTP", false, loadtest.Config{Rows: 4000, Batch: 500, Writers: 2, Via: "http"}},
		{"encoded batches", false, loadtest.Config{Rows: 10_250, Batch: 500, Writers: 4, Format: "arrow"}},
		{"encoded batches straight to primaries", false,
			loadtest.Config{Rows: 40_250, Batch: 500, Writers: 4, Format: "arrow", Via: "primary"}},
		{"small with the baseline", false, loadtest.Config{Workload: "small", Rows: 1000, Writers: 200, Baseline: true}},
		{"small with identities", false, loadtest.Config{Workload: "small", Rows: 1000, Writers: 200, Identity: "producer"}},
		{"conflict", false, loadtest.Config{Workload: "conflict", Duration: time.Second, Writers: 8}},
		{"open loop", false, loadtest.Config{Duration: time.Second, Rate: 20_000, Batch: 500, Writers: 16}},
		{"file", false, loadtest.Config{Workload: "file:" + file, Writers: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.Verify = true
			tt.JSON = filepath.Join(t.TempDir(), "report.json")
			var out bytes.Buffer
			r, err := loadtest.Run(t.Context(), tt.Config, loadtest.Deps{
				StartCluster: start(t, tt.tcp), Out: &out, Logger: slog.New(slog.DiscardHandler)})
			t.Log(out.String())
			if err != nil {
				t.Fatal(err)
			}
			if r.Verified == nil || !r.Verified.OK || len(r.Verified.Nodes) != 3 {
				t.Fatalf("verified: %+v", r.Verified)
			}
			if tt.Rows > 0 && r.Rows != tt.Rows {
				t.Errorf("%d rows acknowledged, %d asked for", r.Rows, tt.Rows)
			}
			if tt.Workload != "conflict" && len(r.Errors) > 0 {
				t.Errorf("errors %v: %s", r.Errors, r.Example)
			}
			if data, err := os.ReadFile(tt.JSON); err != nil || !strings.Contains(string(data), `"rows_per_second"`) {
				t.Errorf("JSON report: %v", err)
			}
		})
	}
}
