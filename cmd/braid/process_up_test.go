package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// startUp starts `braid up` on free ports.
func startUp(t *testing.T, data string, args ...string) *proc {
	t.Helper()
	return start(t, "up", asBraid, append([]string{"up", "--data", data, "--nats", "127.0.0.1:0",
		"--http", "127.0.0.1:0", "--json"}, args...)...)
}

// TestI2_I4_UpFindsEverythingAgain: a whole cluster in one process is stopped and started again, and holds the same
// rows under the same TxIDs; the next write gets the next TxID.
func TestI2_I4_UpFindsEverythingAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	for name, args := range map[string][]string{
		"two primaries, one replica": nil,
		"one primary":                {"--primaries", "1", "--replicas", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			up := startUp(t, data, args...)
			load := []string{"loadtest", "--server", up.get("nats"), "--rows", "50000", "--batch", "1000", "--verify"}
			if status, stdout, stderr := braid(t, load...); status != 0 {
				t.Fatalf("load test: status %d\n%s%s\n%s", status, stdout, stderr, up.tail())
			}
			before := csv(t, up)
			up.stop()

			up = startUp(t, data, args...)
			if after := csv(t, up); after != before {
				t.Fatalf("%d bytes of rows before the restart, %d after it", len(before), len(after))
			}
			if status, stdout, stderr := braid(t, "verify", "--server", up.get("nats")); status != 0 {
				t.Fatalf("verify: status %d\n%s%s", status, stdout, stderr)
			}
			response, err := http.Post(up.get("http")+"/write", "text/plain", strings.NewReader("cpu usage_user=1i 1\n"))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if txid := response.Header.Get("Braid-TxID"); response.StatusCode != http.StatusNoContent || txid != "51" {
				t.Fatalf("the write after the restart: %s, TxID %q, want 51", response.Status, txid)
			}
			up.stop()
		})
	}
}

func csv(t *testing.T, up *proc) string {
	t.Helper()
	status, stdout, stderr := braid(t, "rows", "cpu", "--format", "csv", "--txid", "--server", up.get("nats"))
	if status != 0 || strings.Count(stdout, "\n") != 50001 {
		t.Fatalf("rows: status %d, %d lines\n%s", status, strings.Count(stdout, "\n"), stderr)
	}
	return stdout
}
