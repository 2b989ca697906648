package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
)

// world is groups, primaries and a clock for TestI3_CoursesUnderRandomEvents.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	r       *router
	topo    api.Topology
	flights []*flight
}

// flight is a group and where it is: at a primary, waiting, or over.
type flight struct {
	course
	primary string
	unknown bool // an attempt may have been stored
	over    bool
}

const worldBound = 1000

// TestI3_CoursesUnderRandomEvents steps routing through random answers, silences and topologies,
// and checks after every step what must always hold: bytes are counted exactly and bounded (I7), a
// chosen primary is never left, nobody is told "not stored" of what may be stored, no step waits
// for a moment that is over, and every group ends by its deadline.
func TestI3_CoursesUnderRandomEvents(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1000, 0), r: newRouter(worldBound)}
			for i := range 3 {
				w.topo.Nodes = append(w.topo.Nodes, api.Node{
					ID: fmt.Sprintf("p%d", i), Role: api.Primary, State: api.Live, Epoch: uint64(i) + 1})
			}
			for range 2000 {
				w.event()
				w.check()
			}
			w.finish()
		})
	}
}

func (w *world) event() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(40)) * time.Millisecond)
	switch w.rng.IntN(12) {
	case 0:
		w.topo.Version++
		n := &w.topo.Nodes[w.rng.IntN(len(w.topo.Nodes))]
		n.State = []api.State{api.Live, api.Live, api.Draining, api.Dead, api.Recovering}[w.rng.IntN(5)]
		topo := w.topo
		topo.Nodes = append([]api.Node(nil), topo.Nodes...)
		w.r.setTopology(topo)
	case 1, 2, 3, 4:
		n := w.topo.Nodes[w.rng.IntN(len(w.topo.Nodes))]
		w.r.heard(api.Heartbeat{
			ID: n.ID, Role: api.Primary, State: n.State, Epoch: n.Epoch, Load: w.rng.Float64(),
			FreeBytes: int64(w.rng.IntN(3000)), Senders: w.rng.IntN(4),
		}, w.now)
	case 5, 6:
		f := &flight{course: course{
			cfg: courseConfig{
				overloadWait: 200 * time.Millisecond, noneWait: 3 * time.Second, rest: 20 * time.Millisecond,
				pendingWait: 50 * time.Millisecond,
			},
			size: 1 + w.rng.IntN(400), deadline: w.now.Add(10 * time.Second),
		}}
		if w.rng.IntN(4) == 0 {
			f.only = fmt.Sprintf("p%d", w.rng.IntN(4))
		}
		w.flights = append(w.flights, f)
	default:
		if len(w.flights) > 0 {
			w.step(w.flights[w.rng.IntN(len(w.flights))])
		}
	}
}

// step moves one group: its attempt ends, or its next step is taken.
func (w *world) step(f *flight) {
	switch {
	case f.over:
	case f.primary != "":
		w.end(f)
	default:
		st := f.next(w.r, w.now)
		switch {
		case st.err != nil:
			w.told(f, st.err)
		case st.primary != "":
			if f.only != "" && st.primary != f.only {
				w.t.Fatalf("a group for %s went to %s", f.only, st.primary)
			}
			if a := w.r.sent[st.primary]; a.open > worldBound && a.open != int64(f.size) {
				w.t.Fatalf("%d bytes are unanswered at %s", a.open, st.primary)
			}
			f.primary = st.primary
		case !st.wait.After(w.now):
			w.t.Fatalf("wait until %v at %v", st.wait, w.now)
		}
	}
}

func (w *world) end(f *flight) {
	how := reply(w.rng.IntN(5))
	var refusal *api.Error
	switch {
	case how == replyRefused:
		refusal = []*api.Error{
			api.OverloadedError(w.rng.IntN(300), "full"), api.Errorf(api.Unavailable, "away"),
			api.Errorf(api.Invalid, "bad"),
		}[w.rng.IntN(3)]
		f.unknown = f.unknown || refusal.Name == api.Unavailable
	case how == replyLost, how == replyPending:
		f.unknown = true
	}
	over, err := f.ended(w.r, w.now, f.primary, how, refusal)
	f.primary = ""
	if err != nil {
		w.told(f, err)
	}
	f.over = over
}

func (w *world) told(f *flight, err *api.Error) {
	if f.unknown && err.Name != api.Unavailable {
		w.t.Fatalf("a group that may be stored was told %v", err)
	}
	f.over = true
}

func (w *world) check() {
	sums := map[string]int64{}
	kept := w.flights[:0]
	for _, f := range w.flights {
		if f.primary != "" {
			sums[f.primary] += int64(f.size)
		}
		if !f.over {
			kept = append(kept, f)
		}
	}
	w.flights = kept
	for id, a := range w.r.sent {
		if a.open != sums[id] {
			w.t.Fatalf("%d bytes are counted at %s, %d are there", a.open, id, sums[id])
		}
	}
}

// finish lets the clock pass every deadline: whoever is not at a primary then ends.
func (w *world) finish() {
	w.now = w.now.Add(time.Minute)
	for _, f := range w.flights {
		for f.primary != "" {
			w.end(f)
		}
		if !f.over {
			w.step(f)
		}
		if !f.over {
			w.t.Fatal("a group goes on after its deadline")
		}
	}
}

// FuzzHeaders: whatever a request's headers are, they are refused with 400 (429 if they tell of more
// open writes than are remembered), or become an identity and a lock that a group can carry.
func FuzzHeaders(f *testing.F) {
	f.Add("Nats-Msg-Id", "k", "Braid-Expected-TxID", "4", "p", "1", "2", "1")
	f.Add("Content-Type", "text/plain; x", "content-encoding", "gzip", "", "", "", "")
	f.Add("Nats-Msg-Id", "k", "", "", "p", "1", "18446744073709551615", "0")
	f.Add("Braid-Durability", "object", "Braid-Table", "a.b", "p", "0", "18446744073709551615", "-1")
	f.Fuzz(func(t *testing.T, name, value, name2, value2, producer, epoch, sequence, settled string) {
		h := map[string][]string{name: {value}}
		h[name2] = append(h[name2], value2)
		if producer != "" {
			h[api.HeaderProducer], h[api.HeaderProducerEpoch] = []string{producer}, []string{epoch}
			h[api.HeaderSequence], h[api.HeaderSettled] = []string{sequence}, []string{settled}
		}
		o, err := decodeHeaders(h, api.DurabilityObject, false)
		if err != nil {
			ahead := err.Code == 429 && producer != "" && strings.Contains(err.Message, "above settled")
			if err.Code != 400 && !ahead || err.Message == "" {
				t.Fatalf("told %v", err)
			}
			return
		}
		group := api.GroupHeader{
			Table: "t", Fingerprint: api.Fingerprint{}.Extend(api.Column{Name: "timestamp", Type: api.Timestamp}),
			ID: api.ProducerSeq{Producer: "gw", Epoch: 1, Sequence: 1},
			Writes: []api.WriteMeta{
				{Rows: 1, Locked: o.locked, Expected: o.expected, ID: o.producer, Key: o.key},
			},
		}
		encoded := api.AppendGroupHeader(nil, &group)
		back, bad := api.ParseGroupHeader(encoded)
		if bad != nil || !bytes.Equal(api.AppendGroupHeader(nil, &back), encoded) {
			t.Fatalf("headers %v make a group that is refused: %v", h, bad)
		}
	})
}
