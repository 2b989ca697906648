package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-551dd829/braid/internal/natstest"
)

// TestI7_NATSLimitsAreCheckedAtTheStart: whatever is started on a NATS server whose limits would cut its messages or its
// connection refuses, and names the setting and what it has to be.
func TestI7_NATSLimitsAreCheckedAtTheStart(t *testing.T) {
	payload := natstest.Server(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	pending := natstest.Server(t, func(o *server.Options) {
		o.MaxPending, o.HTTPHost, o.HTTPPort = 64<<20, "127.0.0.1", -1
	})
	monitor := "http://" + pending.MonitorAddr().String()
	dir := t.TempDir()
	node := func(role, id string) []string {
		return []string{role, "--id", id, "--data", dir + "/" + id, "--objects", "dir:" + dir + "/objects"}
	}
	for name, args := range map[string][]string{
		"gateway": {"gateway", "--http", "127.0.0.1:0"}, "primary": node("primary", "p1"),
		"replicator": node("replicator", "r1"),
		"sequencer":  {"sequencer", "--store", "embedded:" + dir + "/store"}, "loadtest": {"loadtest", "--rows", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, _, stderr := braid(t, append(args, "--server", payload.ClientURL())...)
			if status == 0 || !strings.Contains(stderr, "max_payload 1048576, Braid needs 8388608") ||
				!strings.Contains(stderr, "max_payload: 8MB") {
				t.Errorf("max_payload of 1 MB: status %d, %s", status, stderr)
			}
			status, _, stderr = braid(t, append(args, "--server", pending.ClientURL(), "--nats-monitor", monitor)...)
			if status == 0 || !strings.Contains(stderr, "max_pending 67108864, Braid needs 268435456") ||
				!strings.Contains(stderr, "max_pending: 256MB") {
				t.Errorf("max_pending of 64 MB: status %d, %s", status, stderr)
			}
		})
	}
	status, _, stderr := braid(t, "status", "--server", payload.ClientURL())
	if status == 0 || !strings.Contains(stderr, "max_payload") {
		t.Errorf("status: %d, %s", status, stderr)
	}
}
