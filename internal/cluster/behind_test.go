package cluster

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// TestI5_AStandInThatIsBehind: a replica that cannot read the log any more is promoted. It takes blind writes at once,
// and writes with an expected TxID are judged by the head, not by what it has. Whoever reads from it is told how far it
// is; whoever leaves the choice reads from another. When it can read the log it catches up.
func TestI5_AStandInThatIsBehind(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2", "r1")
	seq := bus.NewSequencer(f.nc, f.env.Subjects)
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	r1 := f.heard("r1", "caught up", func(h api.Heartbeat) bool { return h.State == api.Live && h.Lag == 0 })
	f.seen(r1.HTTP, "", "1", "{\"timestamp\":1,\"key\":\"a\"}\n")
	f.users.deny("r1", "braid.sequencer.log.>")
	f.accepted("primary.p1.ingest.cpu", "b", "2")
	f.accepted("primary.p1.ingest.cpu", "c", "3")
	f.heard("r1", "behind", func(h api.Heartbeat) bool { return h.Lag > 0 })

	before := f.heard("p1", "primary", is(api.Primary, api.Live)).Epoch
	f.users.deny("p1", ">") // it must not come back
	_, err := seq.FailNode(t.Context(), api.FailNodeRequest{ID: "p1", Epoch: before, Version: f.topology().Version,
		StandIn: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	f.heard("r1", "primary", is(api.Primary, api.Live))
	f.acceptedSoon("primary.r1.ingest.cpu", "d", "4")
	if current := f.conflict("primary.r1.ingest.cpu", "e", "1"); current != 4 {
		t.Errorf("the head is said to be %d", current)
	}
	f.seen(r1.HTTP, "", "1", "{\"timestamp\":1,\"key\":\"a\"}\n")
	f.seen(r1.HTTP, "?from_txid=4&wait=100ms", "1", "")
	f.holds("a", "b", "c", "d")

	f.users.deny("r1", "")
	f.heard("r1", "caught up", func(h api.Heartbeat) bool { return h.State == api.Live && h.Lag == 0 })
	f.seen(r1.HTTP, "?from_txid=4&wait=20s", "4", "{\"timestamp\":1,\"key\":\"d\"}\n")
}

// seen asserts what a node gives back of the table, and which TxID it says that it has come to. What it has to come to
// may take a moment.
func (f *failing) seen(node, query, txid, rows string) {
	f.t.Helper()
	var got, body string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		r, err := http.Get("http://" + node + "/tables/cpu" + query)
		if err != nil {
			f.t.Fatal(err)
		}
		data, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			f.t.Fatal(err)
		}
		if got, body = r.Header.Get(api.HeaderTxID), string(data); got == txid && body == rows {
			return
		}
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
	f.t.Fatalf("%s%s says TxID %s with rows %q, want %s with %q", node, query, got, body, txid, rows)
}

// conflict writes a row with an expected TxID that is not the head, and returns the head that it is told.
func (f *failing) conflict(subject, key, expected string) (current uint64) {
	f.t.Helper()
	msg, err := f.nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(`cpu key="` + key + `" 1`),
		Header: nats.Header{api.HeaderMsgID: {key}, api.HeaderExpectedTxID: {expected}}}, 20*time.Second)
	if err != nil {
		f.t.Fatal(err)
	}
	e := bus.ReplyError(msg)
	if e == nil || e.Name != api.Conflict || e.Current == nil {
		f.t.Fatalf("a write that expects TxID %s: %v", expected, e)
	}
	return *e.Current
}
