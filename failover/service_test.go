package failover_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/failover"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var subjects = api.Subjects{Namespace: "test"}

// registry answers for the sequencer.
type registry struct {
	mu       sync.Mutex
	topology api.Topology
	lease    api.Lease
	failed   chan api.FailNodeRequest
}

func (r *registry) serve(t *testing.T, nc *nats.Conn) {
	s, err := bus.NewService(nc, bus.ServiceOptions{Name: "registry", Version: "0.1.0", Logger: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	for subject, answer := range map[string]func(data []byte) any{
		subjects.TopologyGet(): func([]byte) any { return r.topology },
		subjects.Lease(): func(data []byte) any {
			var q api.LeaseRequest
			if err := json.Unmarshal(data, &q); err != nil {
				t.Error(err)
			}
			if q.Holder == "" || q.Seen != r.lease {
				return api.LeaseAnswer{Lease: r.lease}
			}
			r.lease = api.Lease{Holder: q.Holder, Counter: r.lease.Counter + 1}
			return api.LeaseAnswer{Lease: r.lease, Bumped: true}
		},
		subjects.FailNode(): func(data []byte) any {
			var q api.FailNodeRequest
			if err := json.Unmarshal(data, &q); err != nil {
				t.Error(err)
			}
			r.topology.Version++
			r.topology.Nodes = []api.Node{{ID: "p1", Role: api.Primary, State: api.Dead, Epoch: 1},
				{ID: "r1", Role: api.Primary, State: api.Live, Epoch: 2, StandsInFor: "p1"}}
			r.failed <- q
			return api.TopologyAnswer{Topology: r.topology}
		},
	} {
		err := s.Handle("x"+subject[len(subject)-4:], subject, bus.Endpoint{}, func(in bus.Incoming) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if err := in.ReplyJSON(answer(in.Data()), nil); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// beat sends the heartbeats of a node until stop.
func beat(t *testing.T, nc *nats.Conn, b api.Heartbeat) (stop func()) {
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			if err := nc.Publish(subjects.Heartbeat(b.ID), data); err != nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// TestServiceReplacesASilentPrimary: heartbeats, questions, the decision and its publication over NATS.
func TestServiceReplacesASilentPrimary(t *testing.T) {
	server := natstest.Server(t)
	nc := natstest.Connect(t, server)
	r := &registry{failed: make(chan api.FailNodeRequest, 16), topology: api.Topology{Version: 7, Nodes: []api.Node{
		{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1},
		{ID: "r1", Role: api.Replica, State: api.Live, Epoch: 2}}}}
	r.serve(t, nc)
	published, err := nc.SubscribeSync(subjects.Topology())
	if err != nil {
		t.Fatal(err)
	}
	beat(t, nc, api.Heartbeat{ID: "r1", Role: api.Replica, State: api.Live, Epoch: 2, Lag: 3})
	stopP1 := beat(t, nc, api.Heartbeat{ID: "p1", Role: api.Primary, State: api.Live, Epoch: 1})

	metrics := prometheus.NewRegistry()
	s, err := failover.New(failover.Config{ID: "f1"}, failover.Deps{
		Conn: natstest.Connect(t, server), Subjects: subjects, Logger: slog.New(slog.DiscardHandler), Registerer: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	natstest.Eventually(t, "the service is ready", s.Ready)
	stopP1()
	select {
	case q := <-r.failed:
		if q.ID != "p1" || q.Epoch != 1 || q.Version != 7 || q.StandIn != "r1" {
			t.Errorf("decided %+v", q)
		}
	case <-time.After(time.Minute):
		t.Fatal("p1 is not declared dead")
	}
	msg, err := published.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var topology api.Topology
	if err := json.Unmarshal(msg.Data, &topology); err != nil || topology.Version != 8 {
		t.Errorf("published %s, %v", msg.Data, err)
	}
	natstest.Eventually(t, "the decision is counted", func() bool {
		n, err := testutil.GatherAndCount(metrics, "braid_failover_decisions_total", "braid_failover_detection_seconds")
		return err == nil && n == 4 && counted(t, metrics) == 1
	})
}

func counted(t *testing.T, g prometheus.Gatherer) (n float64) {
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "braid_failover_decisions_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestNewChecks(t *testing.T) {
	for what, cfg := range map[string]failover.Config{
		"no id":                  {},
		"timeout below beats":    {ID: "f1", FailureTimeout: 300 * time.Millisecond},
		"asking takes it all":    {ID: "f1", AskTimeout: 1500 * time.Millisecond},
		"lease without a bump":   {ID: "f1", LeaseTTL: 400 * time.Millisecond},
		"a pause of one tick":    {ID: "f1", PauseMax: failover.TickInterval},
		"nothing is ever asked":  {ID: "f1", AskTimeout: -1},
		"nothing is ever bumped": {ID: "f1", LeaseInterval: -1},
	} {
		if _, err := failover.NewMachine(cfg, failover.Host{}); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
