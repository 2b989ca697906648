package client

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/topology"
)

// TestI3_AZombieIsLeft: a primary that has a write and falls silent, is declared dead, or says that it cannot serve, is
// left long before the attempt's time is over, and another one gets the same bytes. An anonymous write, which must not be
// sent twice, waits.
func TestI3_AZombieIsLeft(t *testing.T) {
	for name, fate := range map[string]func(c *cluster, b *beats){
		"silent":        func(_ *cluster, b *beats) { b.say(nil) },
		"declared dead": func(c *cluster, _ *beats) { c.announce(api.Dead) },
		"unable":        func(_ *cluster, b *beats) { b.say(func(h *api.Heartbeat) { h.Unable = "no object store" }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t)
			c.columns, c.topology = cpuColumns, twoPrimaries(1, api.Live)
			p1, p2 := startBeats(t, c, "p1"), startBeats(t, c, "p2")
			p2.say(func(h *api.Heartbeat) { h.Load = 0.5 }) // p1 is chosen
			arrived, resent := make(chan []byte, 8), make(chan []byte, 8)
			c.handle("braid.primary.p1.write", func(r bus.Incoming) { arrived <- bytes.Clone(r.Data()) })
			c.handle("braid.primary.p2.write", func(r bus.Incoming) {
				resent <- bytes.Clone(r.Data())
				answer := api.GroupAnswer{Writes: []api.Outcome{{Verdict: api.Accepted, TxID: 4}}}
				if err := r.Reply(api.AppendGroupAnswer(nil, &answer), nil); err != nil {
					t.Error(err)
				}
			})
			client := c.connect(WithAttemptTimeout(time.Hour))
			natstest.Eventually(t, "both are heard", func() bool {
				client.primaries.mu.Lock()
				defer client.primaries.mu.Unlock()
				all := client.primaries.view.Candidates(time.Now())
				return len(all) == 2 && all[1].Load == 0.5
			})
			rows := LineProtocol([]byte("cpu,host=a usage=1i 1\n"))
			prepared, err := client.Table("cpu").Prepare(t.Context(), rows)
			if err != nil {
				t.Fatal(err)
			}
			anonymous := make(chan error, 1)
			go func() {
				_, err := client.Table("cpu").Write(t.Context(), prepared, Via(Direct), Anonymous())
				anonymous <- err
			}()
			<-arrived
			told := make(chan Result, 1)
			bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				r, err := client.Table("cpu").Write(bounded, prepared, Via(Direct))
				if err != nil {
					t.Error(err)
				}
				told <- r
			}()
			first := <-arrived
			fate(c, p1)
			if r := <-told; r.TxID != 4 {
				t.Fatalf("answered with %+v", r)
			}
			if again := <-resent; !bytes.Equal(first, again) {
				t.Error("other bytes were sent to the second primary")
			}
			select {
			case err := <-anonymous:
				t.Errorf("the anonymous write has ended: %v", err)
			default:
			}
		})
	}
}

// TestI3_AZombieThatWasNeverHeardIsLeft: a client that has just connected goes by the topology, which names a primary that
// has fallen silent meanwhile.
func TestI3_AZombieThatWasNeverHeardIsLeft(t *testing.T) {
	p := newPrimaries(nil)
	p.set(twoPrimaries(1, api.Live))
	began := time.Now()
	ctx, done := p.attend(t.Context(), "p1")
	defer done()
	p.sweep(began.Add(topology.HeartbeatMax * 2))
	if ctx.Err() != nil {
		t.Fatal("left, though nobody is heard")
	}
	later := began.Add(topology.HeartbeatMax * 2)
	p.heard(api.Heartbeat{ID: "p2", Role: api.Primary, State: api.Live, Epoch: 1}, later)
	p.sweep(began)
	if ctx.Err() != nil {
		t.Fatal("left, though there was no time to hear it")
	}
	p.sweep(later)
	if ctx.Err() == nil {
		t.Fatal("not left, though another one is heard")
	}
}

func twoPrimaries(version uint64, p1 api.State) api.Topology {
	return api.Topology{Version: version, Nodes: []api.Node{
		{ID: "p1", Role: api.Primary, State: p1, Epoch: 1}, {ID: "p2", Role: api.Primary, State: api.Live, Epoch: 1}}}
}

// announce publishes a topology in which p1 is in another state.
func (c *cluster) announce(p1 api.State) {
	data, err := json.Marshal(twoPrimaries(2, p1))
	if err == nil {
		err = c.beats.Publish(api.Subjects{}.Topology(), data)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// beats are the heartbeats of a primary that is not there.
type beats struct {
	mu     sync.Mutex
	change func(*api.Heartbeat)
	silent bool
}

// say changes what the heartbeats say from now on; nil silences them.
func (b *beats) say(change func(*api.Heartbeat)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change, b.silent = change, change == nil
}

func startBeats(t *testing.T, c *cluster, id string) *beats {
	t.Helper()
	if c.beats == nil {
		c.beats = natstest.Connect(t, c.server)
	}
	nc, b, stop, ended := c.beats, new(beats), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(50 * time.Millisecond)
		defer every.Stop()
		for {
			h := api.Heartbeat{ID: id, Role: api.Primary, State: api.Live, Epoch: 1, FreeBytes: 1 << 20}
			b.mu.Lock()
			silent := b.silent
			if b.change != nil {
				b.change(&h)
			}
			b.mu.Unlock()
			data, err := json.Marshal(h)
			if err == nil && !silent {
				err = nc.Publish(api.Subjects{}.Heartbeat(id), data)
			}
			if err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-every.C:
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return b
}

// TestASilentPrimaryIsNotAskedFor: in the first moments after Connect the one that was named may not have been heard yet;
// later it is silent, and another one is asked until it is heard again.
func TestASilentPrimaryIsNotAskedFor(t *testing.T) {
	p := newPrimaries(nil)
	p.set(twoPrimaries(1, api.Live))
	beat := func(id string, at time.Time) {
		p.heard(api.Heartbeat{ID: id, Role: api.Primary, State: api.Live, Epoch: 1, FreeBytes: 1 << 20}, at)
	}
	preferred := func(at time.Time, want string) {
		t.Helper()
		p.mu.Lock()
		defer p.mu.Unlock()
		if got := p.preferred("p1", at); got != want {
			t.Errorf("%s after Connect: %q, want %q", at.Sub(p.began), got, want)
		}
	}
	beat("p2", p.began)
	preferred(p.began, "p1")
	later := p.began.Add(time.Second)
	beat("p2", later)
	preferred(later, "")
	beat("p1", later)
	preferred(later, "p1")
}
