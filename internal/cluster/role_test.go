package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// topology reads the topology from the registry.
func (f *failing) topology() api.Topology {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	t, err := bus.NewSequencer(f.nc, f.env.Subjects).Topology(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return t
}

// announce publishes a topology of the next version in which a node is changed, as if failover had decided so. The
// registry knows nothing of it.
func (f *failing) announce(version uint64, id string, change func(*api.Node)) {
	f.t.Helper()
	t := f.topology()
	t.Version = version
	for i := range t.Nodes {
		if t.Nodes[i].ID == id {
			change(&t.Nodes[i])
		}
	}
	data, err := json.Marshal(t)
	if err == nil {
		err = f.nc.Publish(f.env.Subjects.Topology(), data)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// heard waits for a heartbeat of a node that is as ok wants it.
func (f *failing) heard(id, what string, ok func(api.Heartbeat) bool) api.Heartbeat {
	f.t.Helper()
	beats := make(chan *nats.Msg, 1024)
	sub, err := f.nc.ChanSubscribe(f.env.Subjects.Heartbeat(id), beats)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := sub.Unsubscribe(); err != nil {
			f.t.Error(err)
		}
	}()
	var last api.Heartbeat
	for late := time.After(30 * time.Second); ; {
		select {
		case m := <-beats:
			last = api.Heartbeat{}
			if err := json.Unmarshal(m.Data, &last); err != nil {
				f.t.Fatal(err)
			}
			if ok(last) {
				return last
			}
		case <-late:
			f.t.Fatalf("%s: not %s, its last heartbeat is %+v", id, what, last)
		}
	}
}

// acceptedSoon is accepted, but for the moment in which the gateway has not heard yet what this test has heard.
func (f *failing) acceptedSoon(subject, key, txid string) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		got, err := f.write(subject, key)
		if err == nil && got == txid {
			return
		}
		if err == nil || err.Name != api.Unavailable || time.Now().After(end) {
			f.t.Fatalf("write %s is TxID %s, %v; want %s", key, got, err, txid)
		}
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
}

func is(role api.Role, state api.State) func(api.Heartbeat) bool {
	return func(h api.Heartbeat) bool { return h.Role == role && h.State == state }
}

func role(r api.Role) func(*api.Node) { return func(n *api.Node) { n.Role = r } }

// TestI1_ARoleFollowsTheTopology: a replica takes writes as soon as the topology says primary, refuses them when it says
// replica, and takes them again in the same epoch, without a segment's name being used twice.
func TestI1_ARoleFollowsTheTopology(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "r1")
	f.accepted("ingest.cpu", "a", "1")
	f.refused("primary.r1.ingest.cpu", "b", "r1")
	version := f.topology().Version
	var keys []string
	var epoch uint64
	for round := range 3 {
		version++
		f.announce(version, "r1", role(api.Primary))
		epoch = f.heard("r1", "primary", is(api.Primary, api.Live)).Epoch
		for i := range 3 {
			key := fmt.Sprintf("r1-%d-%d", round, i)
			keys = append(keys, key)
			f.acceptedSoon("primary.r1.ingest.cpu", key, fmt.Sprint(len(keys)+1))
		}
		version++
		f.announce(version, "r1", role(api.Replica))
		f.heard("r1", "replica", is(api.Replica, api.Live))
		f.refused("primary.r1.ingest.cpu", "b", "r1")
	}
	f.accepted("ingest.cpu", "b", fmt.Sprint(len(keys)+2))
	f.holds(append(append([]string{"a"}, keys...), "b")...)
	segments, err := os.ReadDir(filepath.Join(f.dir, "objects", "wal", "r1", fmt.Sprint(epoch)))
	if err != nil || len(segments) != len(keys) {
		t.Fatalf("%d segments of %d groups: %v", len(segments), len(keys), err)
	}
}

// TestI6_ADeadEpochRegistersAnew: a primary that was declared dead while it was paused gives its epoch up, registers
// under a new one, and is a primary again. What was open is answered, and is there once when it is sent again.
func TestI6_ADeadEpochRegistersAnew(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2")
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	before := f.heard("p1", "primary", is(api.Primary, api.Live)).Epoch
	f.away.Store(true)
	refused := make(chan *api.Error, 1)
	go func() {
		msg, err := f.nc.RequestMsg(&nats.Msg{Subject: "primary.p1.ingest.cpu", Data: []byte(`cpu key="b" 1`),
			Header: nats.Header{api.HeaderMsgID: {"b"}}}, 20*time.Second)
		if err != nil {
			refused <- api.Errorf(api.Invalid, "%v", err)
			return
		}
		refused <- bus.ReplyError(msg)
	}()
	f.heard("p1", "loaded", func(h api.Heartbeat) bool { return h.Load > 0 })
	f.announce(f.topology().Version+1, "p1", func(n *api.Node) { n.State = api.Dead })
	if e := <-refused; e == nil || e.Name != api.Unavailable {
		t.Fatalf("the write that was open: %v", e)
	}
	f.away.Store(false)
	h := f.heard("p1", "primary again", func(h api.Heartbeat) bool {
		return is(api.Primary, api.Live)(h) && h.Epoch > before
	})
	f.acceptedSoon("primary.p1.ingest.cpu", "b", "2")
	f.accepted("primary.p1.ingest.cpu", "c", "3")
	f.holds("a", "b", "c")
	topology := f.topology()
	if p1, _ := topology.Node("p1"); p1.Epoch != h.Epoch || p1.State != api.Live {
		t.Fatalf("%+v, heartbeats say %+v", p1, h)
	}
}

// TestI6_AnotherProcessHasTakenOver: the older process of a node ends, says why, and does not register again.
func TestI6_AnotherProcessHasTakenOver(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2")
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	mark, err := os.ReadFile(filepath.Join(f.dir, "p1", "mark"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := bus.NewSequencer(f.nc, f.env.Subjects).RegisterNode(t.Context(), api.RegisterNodeRequest{
		ID: "p1", Role: api.Primary, Mark: string(mark[:len(mark)-1]), Attempt: "of a copy",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.fails("p1", "another process of node p1 has taken over")
	topology := f.topology()
	if p1, _ := topology.Node("p1"); p1.Epoch != answer.Epoch {
		t.Fatalf("registered is epoch %d, the copy was given %d", p1.Epoch, answer.Epoch)
	}
	f.accepted("ingest.cpu", "b", "2")
}

// TestANodeThatIsToldToDrainLeaves: it finishes, says that it has stopped, and its process ends without an error.
func TestANodeThatIsToldToDrainLeaves(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2")
	f.accepted("primary.p1.ingest.cpu", "a", "1")
	info, err := bus.Ask[api.NodeInfo](t.Context(), f.nc, f.env.Subjects.NodeDrain("p1"), struct{}{})
	if err != nil || info.ID != "p1" {
		t.Fatalf("%+v %v", info, err)
	}
	select {
	case err := <-f.ended["p1"]:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("p1 did not end")
	}
	topology := f.topology()
	if p1, _ := topology.Node("p1"); p1.State != api.Stopped {
		t.Fatalf("%+v", p1)
	}
	f.refused("primary.p1.ingest.cpu", "b", "p1")
	f.accepted("ingest.cpu", "b", "2")
	f.holds("a", "b")
}
