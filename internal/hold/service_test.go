package hold

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fenced is a registry in which one segment is pending and its epoch fenced, until it is confirmed.
type fenced struct{ confirmed chan struct{} }

func (f fenced) SegmentState(context.Context, api.SegmentID) (api.SegmentStateAnswer, error) {
	return api.SegmentStateAnswer{Fenced: true, Unconfirmed: []uint64{1}}, nil
}

func (f fenced) Confirm(context.Context, api.SegmentID) (int, error) {
	close(f.confirmed)
	return 1, nil
}

func (f fenced) Pending(context.Context, api.PendingRequest) (api.PendingAnswer, error) {
	return api.PendingAnswer{}, nil
}

// TestServiceHoldsAndSettles: over NATS, on a real disk; a topology without the segment's epoch has it settled.
func TestServiceHoldsAndSettles(t *testing.T) {
	nc := natstest.Connect(t, natstest.Server(t))
	seq, objects := fenced{make(chan struct{})}, objstore.NewMemory()
	s, err := New(Config{ID: "r1", SegmentsDir: t.TempDir(), LookAfter: time.Hour, LookMax: time.Hour}, Deps{
		FS: disk.OS, Objects: objects, Sequencer: seq, Logger: slog.New(slog.DiscardHandler),
	}, nc, api.Subjects{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	data := segmentOf(t, name(1), 3*api.HoldPieceBytes)
	ask := OverNATS(nc, api.Subjects{})
	natstest.EventuallyNil(t, "held", func() error {
		return ask.Send(ctx, "r1", name(1), bytes.NewReader(data), int64(len(data)))
	})
	publishTopology(t, nc, api.Topology{Version: 9, Nodes: []api.Node{{ID: "p1", Epoch: 4, State: api.Recovering}}})
	select {
	case <-seq.confirmed:
	case <-time.After(time.Minute):
		t.Fatal("not settled")
	}
	if info, err := objects.Stat(ctx, name(1).Key()); err != nil || info.Size != int64(len(data)) {
		t.Errorf("object: %+v, %v", info, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func publishTopology(t *testing.T, nc *nats.Conn, topology api.Topology) {
	t.Helper()
	data, err := json.Marshal(topology)
	if err == nil {
		err = nc.Publish(api.Subjects{}.Topology(), data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPeers: whoever says that it is live, and has not been silent since, but never oneself.
func TestPeers(t *testing.T) {
	now := time.Unix(0, 0)
	p := NewPeers("p1", func() time.Time { return now })
	for id, s := range map[string]api.State{"p1": api.Live, "p2": api.Live, "r1": api.Live, "r2": api.Draining} {
		p.Heard(api.Heartbeat{ID: id, State: s})
	}
	if got := p.Live(); !slices.Equal(got, []string{"p2", "r1"}) {
		t.Errorf("live: %v", got)
	}
	now = now.Add(topology.HeartbeatMax / 2)
	p.Heard(api.Heartbeat{ID: "r1", State: api.Live})
	p.Heard(api.Heartbeat{ID: "r2", State: api.Live})
	now = now.Add(topology.HeartbeatMax / 2)
	p.Refresh()
	if got := p.Live(); !slices.Equal(got, []string{"r1", "r2"}) {
		t.Errorf("live: %v", got)
	}
}
