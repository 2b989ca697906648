//go:build unix

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/faults"
	procs "github.com/seed-551dd829/braid/internal/processes"
)

var (
	faultSeeds = flag.String("faults.seeds", "1-2", "seeds of the fault scenarios, as 3 or 1-20")
	faultSteps = flag.Int("faults.steps", 3, "steps of each fault scenario")
)

// faultPatience is generous: a scenario that takes long on a slow machine is no failure.
const faultPatience = 3 * time.Minute

// TestFaults plays random scenarios on separate processes: every invariant of the design is checked on what writers
// were told and on what every node holds afterwards.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the fault scenarios with real processes are long; run without -short")
	}
	opts := faults.Options{
		Patience: faultPatience,
		Braid:    tiedCommand,
	}
	traits := machine(t, &opts)
	first, last, err := seedRange(*faultSeeds)
	if err != nil {
		t.Fatalf("-faults.seeds %q: %v", *faultSeeds, err)
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			playFaults(t, faults.Generate(seed, *faultSteps, traits), opts)
		})
	}
}

// machine finds out what this machine can do, and says what it cannot.
func machine(t *testing.T, opts *faults.Options) (traits faults.Traits) {
	if err := faults.CanMount(t.TempDir()); err != nil {
		t.Logf("SKIPPED: no disk will be full, since this machine does not allow it: %v", err)
	} else {
		traits.SmallDisk = true
	}
	opts.S3 = os.Getenv("BRAID_TEST_VERSITYGW")
	if opts.S3 == "" {
		opts.S3 = "versitygw"
	}
	if err := procs.CanServeS3(opts.S3, t.TempDir()); err != nil {
		t.Logf("SKIPPED: no scenario has an S3 server; BRAID_TEST_VERSITYGW names the program: %v", err)
	} else {
		traits.S3 = true
	}
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Logf("SKIPPED: no paused primary will be replaced: %v", err)
	} else {
		traits.Threads = true
	}
	return traits
}

func seedRange(s string) (first, last uint64, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if first, err = strconv.ParseUint(from, 10, 64); err != nil || !isRange {
		return first, first, err
	}
	last, err = strconv.ParseUint(to, 10, 64)
	return first, last, err
}

func playFaults(t *testing.T, plan *faults.Plan, opts faults.Options) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("braid-faults-%d-", plan.Seed))
	if err != nil {
		t.Fatal(err)
	}
	opts.Dir = dir
	report, err := faults.Run(t.Context(), plan, opts)
	if err != nil {
		t.Fatalf("%v\n%s\nlogs and story: %s\nagain: go test ./cmd/braid -count 1 -run TestFaults "+
			"-faults.seeds %d -faults.steps %d", err, plan, dir, plan.Seed, plan.Size)
	}
	t.Logf("%s%s", plan, report)
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func tiedCommand(args ...string) *exec.Cmd {
	return command(context.Background(), asBraid, append([]string{"--tied"}, args...)...)
}
