//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-551dd829/braid/loadtest"
)

// TestI2_I3_I4_ChaosShowsPromotionAndReturn: the harness kills a primary, for both durabilities; nothing is lost,
// doubled or reordered, and its report has who stood in and when the primary was back. How long that took is not asked.
func TestI2_I3_I4_ChaosShowsPromotionAndReturn(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	for _, durability := range []string{"object", "wal"} {
		t.Run(durability, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "report.json")
			status, stdout, stderr := braid(t, "loadtest", "--embedded", "--duration", "16s", "--rate", "20000",
				"--batch", "500", "--chaos", "kill@p1:3s:12s", "--durability", durability, "--verify", "--json", path)
			if status != 0 {
				t.Fatalf("status %d\n%s%s", status, stdout, stderr)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var r loadtest.Report
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			if r.Chaos == nil || len(r.Chaos.Faults) != 1 || !r.Verified.OK {
				t.Fatalf("%s", stdout)
			}
			f := r.Chaos.Faults[0]
			if f.Target != "p1" || f.Dead == nil || f.Promoted == nil || f.StandIn != "r1" || f.Back == nil {
				t.Fatalf("the report of the kill is %+v\n%s", f, stdout)
			}
		})
	}
}
