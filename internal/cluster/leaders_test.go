package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/failover"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// leader is what a failover instance asks that believes that it leads, whatever the store says. Its decisions wait for
// those of the others, so that all are on their way at once.
type leader struct {
	*bus.Sequencer
	id    string
	bumps uint64
	gate  *gate

	mu       sync.Mutex
	outcomes []error // of its decisions
}

func (l *leader) Lease(context.Context, api.LeaseRequest) (api.LeaseAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bumps++
	return api.LeaseAnswer{Lease: api.Lease{Holder: l.id, Counter: l.bumps}, Bumped: true}, nil
}

func (l *leader) FailNode(ctx context.Context, r api.FailNodeRequest) (a api.TopologyAnswer, err error) {
	if err = l.gate.pass(ctx); err != nil {
		return a, err
	}
	a, err = l.Sequencer.FailNode(ctx, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes = append(l.outcomes, err)
	return a, err
}

func (l *leader) decided() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomes
}

// gate opens when all have come to it.
type gate struct {
	mu     sync.Mutex
	absent int
	open   chan struct{}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	if g.absent--; g.absent == 0 {
		close(g.open)
	}
	g.mu.Unlock()
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lead runs a failover instance that hears the heartbeats of some nodes, until the test ends.
func lead(t *testing.T, l *leader, hears func() []api.Heartbeat) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	work, began := make(chan func()), time.Now()
	var all sync.WaitGroup
	m, err := failover.NewMachine(failover.Config{ID: l.id, RequestTimeout: 30 * time.Second}, failover.Host{
		Now:  func() time.Duration { return time.Since(began) },
		Link: func() int { return 0 },
		Go:   func(f func(context.Context)) { all.Go(func() { f(ctx) }) },
		Post: func(f func()) {
			select {
			case work <- f:
			case <-ctx.Done():
			}
		},
		Sequencer: l, Publish: func(api.Topology) {}, Logger: slog.New(slog.DiscardHandler),
		Ask: func(context.Context, string) (api.NodeInfo, error) { return api.NodeInfo{}, bus.ErrNoResponders },
	})
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		ticker := time.NewTicker(failover.TickInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case f := <-work:
				f()
			case <-ticker.C:
				for _, h := range hears() {
					m.Heard(h)
				}
				m.Tick()
			}
		}
	})
	t.Cleanup(func() { cancel(); all.Wait() })
}

// TestI6_TwoThatBelieveTheyLead: two failover instances, both sure of their lease, see a primary silent, and decide at
// the same moment, through two sequencers on one store on disk: once for the same stand-in, once for different ones. One
// decision is carried out, the other finds that the topology has changed, looks again, and has nothing left to do.
func TestI6_TwoThatBelieveTheyLead(t *testing.T) {
	for name, near := range map[string][]string{"the same choice": {"r1", "r1"}, "different choices": {"r1", "r2"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seq := registryOnDisk(t)
			beats := make(map[string]api.Heartbeat)
			for _, id := range []string{"p1", "p2", "r1", "r2"} {
				beats[id] = joined(t, seq, id)
			}
			before, err := seq.Topology(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			both := &gate{absent: len(near), open: make(chan struct{})}
			var leaders []*leader
			for i, nearest := range near {
				l := &leader{Sequencer: seq, id: fmt.Sprintf("f%d", i+1), gate: both}
				leaders = append(leaders, l)
				lead(t, l, func() (heard []api.Heartbeat) {
					for _, id := range []string{"p2", "r1", "r2"} { // p1 is silent
						h := beats[id]
						if id != nearest {
							h.Lag = 100
						}
						heard = append(heard, h)
					}
					return heard
				})
			}
			natstest.Eventually(t, "both have decided", func() bool {
				return len(leaders[0].decided()) > 0 && len(leaders[1].decided()) > 0
			})
			// What they do afterwards would be done in this time.
			settle := time.NewTimer(2 * time.Second)
			<-settle.C
			after, err := seq.Topology(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			done, refused := 0, 0
			for _, l := range leaders {
				for _, err := range l.decided() {
					switch {
					case err == nil:
						done++
					case api.IsName(err, api.Conflict):
						refused++
					default:
						t.Errorf("%s: %v", l.id, err)
					}
				}
			}
			if done != 1 || refused != 1 {
				t.Errorf("%d decisions carried out, %d refused", done, refused)
			}
			places := 0
			for _, n := range after.Nodes {
				if n.StandsInFor == "p1" {
					places++
				}
			}
			p1, _ := after.Node("p1")
			if p1.State != api.Dead || places != 1 {
				t.Errorf("%d stand in for p1: %+v", places, after.Nodes)
			}
			for _, n := range after.Nodes {
				if b, _ := before.Node(n.ID); n.ID != "p1" && n.StandsInFor == "" && n != b {
					t.Errorf("%+v was %+v", n, b)
				}
			}
		})
	}
}

// registryOnDisk runs two sequencers on one store on disk, and returns the way to whichever answers.
func registryOnDisk(t *testing.T) *bus.Sequencer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	users := startUsers(t, nil)
	env := Env{Logger: log, Registry: NewRegistry(), Connect: users.connect("anybody", log)}
	store, err := OpenStore("embedded:" + t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newStack()
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, id := range []string{"s1", "s2"} {
		err := s.startReady(context.Background(), id, func(ctx context.Context, ready func()) error {
			return runSequencer(ctx, SequencerConfig{ID: id}, store, env, func(Ready) { ready() })
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	nc, err := env.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return bus.NewSequencer(nc, env.Subjects)
}

// joined registers a node that is live, and returns its heartbeat.
func joined(t *testing.T, seq *bus.Sequencer, id string) api.Heartbeat {
	t.Helper()
	role := api.Primary
	if id[0] == 'r' {
		role = api.Replica
	}
	a, err := seq.RegisterNode(t.Context(), api.RegisterNodeRequest{ID: id, Role: role, Mark: "m-" + id, Attempt: "1"})
	if err == nil {
		_, err = seq.SetNodeState(t.Context(), api.NodeStateRequest{ID: id, Epoch: a.Epoch, State: api.Live})
	}
	if err != nil {
		t.Fatal(err)
	}
	return api.Heartbeat{ID: id, Role: role, State: api.Live, Epoch: a.Epoch}
}
