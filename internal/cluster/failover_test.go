package cluster

import (
	"context"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestI6_APrimaryThatIsCutOffIsReplaced: from everything. It is declared dead, the replica stands in and takes writes;
// when it is back it registers anew, has its place again, and its stand-in is a replica. Nobody is told but by the
// services themselves.
func TestI6_APrimaryThatIsCutOffIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2", "r1")
	f.service("failover", func(ctx context.Context, ready func(Ready)) error {
		return RunFailover(ctx, FailoverConfig{ID: "f1"}, f.env, ready)
	})
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	before := f.heard("p1", "primary", is(api.Primary, api.Live)).Epoch

	f.users.deny("p1", ">")
	f.heard("r1", "primary", is(api.Primary, api.Live))
	topology := f.topology()
	p1, _ := topology.Node("p1")
	r1, _ := topology.Node("r1")
	if p1.State != api.Dead || p1.Epoch != before || r1.StandsInFor != "p1" {
		t.Fatalf("%+v", topology.Nodes)
	}
	f.acceptedSoon("primary.r1.ingest.cpu", "b", "2")

	f.users.deny("p1", "")
	f.heard("p1", "back", func(h api.Heartbeat) bool { return is(api.Primary, api.Live)(h) && h.Epoch > before })
	f.heard("r1", "replica", is(api.Replica, api.Live))
	f.acceptedSoon("primary.p1.ingest.cpu", "c", "3")
	f.holds("a", "b", "c")
	topology = f.topology()
	if r1, _ := topology.Node("r1"); r1.Role != api.Replica || r1.StandsInFor != "" {
		t.Fatalf("%+v", topology.Nodes)
	}
}
