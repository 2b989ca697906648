package gateway_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/gateway"
	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/segment"
)

const row = "cpu,host=a usage=1i 1\n"

// storesSilently decides and never answers: its answer is lost, or it died after the commit.
func storesSilently(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
	c.decide(g)
	return api.GroupAnswer{}, false
}

func says(e *api.Error) behaviour {
	return func(*cluster, segment.Group) (api.GroupAnswer, bool) { return api.GroupAnswer{Err: e}, true }
}

// TestI3_RetryThroughAnotherPrimary: a primary commits and vanishes before it answers. The same
// bytes go to another one under the same identity, and the writer gets the first answer.
func TestI3_RetryThroughAnotherPrimary(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{})
	vanish := func(id string) behaviour {
		return func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
			c.silence(id)
			return storesSilently(c, g)
		}
	}
	c.does("p1", vanish("p1"))
	if id := r.accepted("ingest.cpu", nil, row); id != 1 {
		t.Fatalf("TxID %d", id)
	}
	if n := c.writes("cpu"); len(n) != 1 {
		t.Fatalf("%d writes are stored, not 1: %q", len(n), n)
	}
	if c.count("p1") != 1 || c.count("p2") != 1 {
		t.Fatalf("p1 saw %d groups, p2 %d", c.count("p1"), c.count("p2"))
	}
	a, b := c.groups[0], c.groups[1]
	if a.ID != b.ID {
		t.Fatalf("the identity changed from %v to %v", a.ID, b.ID)
	}
}

// TestI3_RetryWhileThePrimaryIsHeard: an attempt that is not answered ends after its timeout even
// if heartbeats go on.
func TestI3_RetryWhileThePrimaryIsHeard(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{AttemptTimeout: 50 * time.Millisecond})
	var calls atomic.Int32
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		return c.decide(g), calls.Add(1) > 2
	})
	if id := r.accepted("ingest.cpu", nil, row); id != 1 || len(c.writes("cpu")) != 1 {
		t.Fatalf("TxID %d, %d writes", id, len(c.writes("cpu")))
	}
	if calls.Load() < 3 { // more on a slow machine
		t.Fatalf("%d attempts", calls.Load())
	}
}

// TestI3_NoRespondersGoElsewhere: a process that is gone costs milliseconds, not a heartbeat's age.
func TestI3_NoRespondersGoElsewhere(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{})
	c.unlisten("p1")
	for i := range uint64(20) {
		if id := r.accepted("ingest.cpu", nil, row); id != i+1 {
			t.Fatalf("TxID %d after %d", id, i)
		}
	}
	if c.count("p1") != 0 {
		t.Fatal("p1 saw a group")
	}
}

// TestI3_NoRespondersFreeWhatIsOpen: a process is killed with a group open. Nothing tells that its answer will not come,
// for its heartbeats are still in the pipe and the attempt has minutes left; but asked whether it is there, NATS says that
// nobody listens. The same bytes go to another primary under the same identity, and the writer gets the first answer.
func TestI3_NoRespondersFreeWhatIsOpen(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{AttemptTimeout: 5 * time.Minute, RequestTimeout: 5 * time.Minute})
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		c.unlisten("p1")
		return storesSilently(c, g)
	})
	if id := r.accepted("ingest.cpu", nil, row); id != 1 || len(c.writes("cpu")) != 1 {
		t.Fatalf("TxID %d, %d writes", id, len(c.writes("cpu")))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.groups) != 2 || c.seen["p1"] != 1 || c.seen["p2"] != 1 || c.groups[0].ID != c.groups[1].ID {
		t.Fatalf("p1 saw %d groups, p2 %d: %v", c.seen["p1"], c.seen["p2"], c.groups)
	}
}

// TestI3_LostRegistration: the registry has forgotten the gateway. Whoever waits is told 503, since
// the outcome is unknown, and the gateway goes on under a fresh id.
func TestI3_LostRegistration(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	r.accepted("ingest.cpu", nil, row)
	c.mu.Lock()
	clear(c.producers)
	c.mu.Unlock()
	e := r.refused("ingest.cpu", nil, row)
	if e.Name != api.Unavailable {
		t.Fatalf("told %v", e)
	}
	if id := r.accepted("ingest.cpu", nil, row); id != 2 {
		t.Fatalf("TxID %d", id)
	}
	if first, last := c.groups[0].ID, c.groups[len(c.groups)-1].ID; first.Producer == last.Producer ||
		last.Sequence != 1 || last.Settled != 0 {
		t.Fatalf("registered as %v, then as %v", first, last)
	}
}

// TestI3_ProducersOwnRefusal: where a write has an identity, its refusal is told as it is, and not
// mistaken for one of the gateway's.
func TestI3_ProducersOwnRefusal(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	r.accepted("ingest.cpu", nil, row)
	for verdict, name := range map[api.Verdict]api.Name{
		api.RefusedExpired: api.Expired, api.RefusedFenced: api.Fenced, api.RefusedSettled: api.Settled,
		api.RefusedVoided: api.Voided,
	} {
		c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
			return refusal(&g.Header, verdict), true
		})
		header := nats.Header{}
		header.Set(api.HeaderProducer, "sdk")
		header.Set(api.HeaderProducerEpoch, "3")
		header.Set(api.HeaderSequence, "9")
		header.Set(api.HeaderSettled, "8")
		if e := r.refused("ingest.cpu", header, row); e.Name != name || e.Table != "cpu" {
			t.Errorf("verdict %d is told as %v", verdict, e)
		}
	}
	if len(c.producers) != 1 {
		t.Fatalf("%d registrations", len(c.producers))
	}
}

// TestI2_PendingIsNotAcknowledged: a write at durability object waits until its record is
// confirmed.
func TestI2_PendingIsNotAcknowledged(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	var calls atomic.Int32
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		a := c.decide(g)
		a.Pending = calls.Add(1) < 3
		return a, true
	})
	if id := r.accepted("ingest.cpu", nil, row); id != 1 || calls.Load() != 3 || len(c.writes("cpu")) != 1 {
		t.Fatalf("TxID %d after %d answers, %d writes", id, calls.Load(), len(c.writes("cpu")))
	}
}

// TestPrimarysErrors: an overloaded primary leads to another one, then to 429; an unavailable one
// to 503, with the doubt in it.
func TestPrimarysErrors(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{RequestTimeout: 400 * time.Millisecond, OverloadWait: 50 * time.Millisecond})
	c.does("p1", says(api.OverloadedError(70, "no room")))
	if id := r.accepted("ingest.cpu", nil, row); id != 1 {
		t.Fatalf("TxID %d", id)
	}
	c.does("p2", says(api.OverloadedError(170, "no room")))
	if e := r.refused("ingest.cpu", nil, row); e.Name != api.Overloaded || e.RetryAfterMS == 0 {
		t.Fatalf("told %v, retry after %d", e, e.RetryAfterMS)
	}
	c.does("p1", says(api.Errorf(api.Unavailable, "the disk is slow")))
	c.does("p2", says(api.Errorf(api.Unavailable, "the disk is slow")))
	if e := r.refused("ingest.cpu", nil, row); e.Name != api.Unavailable {
		t.Fatalf("told %v", e)
	}
}

// TestChosenPrimary: that one and no other; one that is not live is refused within a second.
func TestChosenPrimary(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{})
	for range 10 {
		r.accepted("primary.p2.ingest.cpu", nil, row)
		r.accepted("primary.p2.ingest", nil, row)
	}
	if c.count("p1") != 0 || c.count("p2") != 20 {
		t.Fatalf("p1 saw %d groups, p2 %d", c.count("p1"), c.count("p2"))
	}
	start := time.Now()
	if e := r.refused("primary.p9.ingest.cpu", nil, row); e.Name != api.Unavailable {
		t.Fatalf("told %v", e)
	}
	c.does("p2", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		c.silence("p2")
		return api.GroupAnswer{}, false
	})
	if e := r.refused("primary.p2.ingest.cpu", nil, row); e.Name != api.Unavailable {
		t.Fatalf("told %v", e)
	}
	if d := time.Since(start); d > 3*time.Second { // one second on an idle machine
		t.Fatalf("refused after %v", d)
	}
	if c.count("p1") != 0 {
		t.Fatal("p1 saw a group that was for p2")
	}
}

// TestI3_AnUnablePrimaryIsLeft: a primary that cannot go on says so while a group hangs there. The group goes elsewhere
// under the same identity, long before the attempt's timeout; new ones do not go there at all, and who chose it hears 503
// and why. If no other can either, it is tried.
func TestI3_AnUnablePrimaryIsLeft(t *testing.T) {
	c := newCluster(t, "p1", "p2")
	r := c.start(gateway.Config{AttemptTimeout: 5 * time.Minute, RequestTimeout: 5 * time.Minute})
	hangs := func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		c.unable("p1", "the object store does not answer")
		return storesSilently(c, g)
	}
	c.does("p1", hangs)
	if id := r.accepted("ingest.cpu", nil, row); id != 1 || len(c.writes("cpu")) != 1 || c.count("p2") != 1 {
		t.Fatalf("TxID %d, %d writes, p2 saw %d groups", id, len(c.writes("cpu")), c.count("p2"))
	}
	for range 10 {
		r.accepted("ingest.cpu", nil, row)
	}
	if e := r.refused("primary.p1.ingest.cpu", nil, row); e.Name != api.Unavailable ||
		!strings.Contains(e.Message, "the object store does not answer") {
		t.Fatalf("told %v", e)
	}
	if c.count("p1") != 1 {
		t.Fatalf("p1 saw %d groups", c.count("p1"))
	}
	c.does("p1", decides)
	c.silence("p2")
	c.unlisten("p2")
	r.accepted("ingest.cpu", nil, row)
	r.accepted("primary.p1.ingest.cpu", nil, row)
}

// TestNoPrimary: 503, once failover has had its time.
func TestNoPrimary(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{NoPrimaryWait: 50 * time.Millisecond})
	c.silence("p1")
	natstest.Eventually(t, "the gateway misses p1", func() bool { return !r.gateway.Ready() })
	if e := r.refused("ingest.cpu", nil, row); e.Name != api.Unavailable {
		t.Fatalf("told %v", e)
	}
}

// TestDrain: what was taken before the stop is answered; the stop waits for it.
func TestDrain(t *testing.T) {
	c := newCluster(t, "p1")
	r := c.start(gateway.Config{})
	arrived, release := make(chan struct{}), make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) })
	c.does("p1", func(c *cluster, g segment.Group) (api.GroupAnswer, bool) {
		arrive()
		<-release
		return c.decide(g), true
	})
	answer := make(chan *nats.Msg, 1)
	go func() {
		msg, err := r.client.Request("test.ingest.cpu", []byte(row), 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		answer <- msg
	}()
	<-arrived
	stopped := make(chan struct{})
	go func() { r.stopRun(); close(stopped) }()
	natstest.Eventually(t, "nobody listens", func() bool {
		_, err := r.client.Request("test.ingest.cpu", []byte(row), time.Second)
		return err == nats.ErrNoResponders
	})
	close(release)
	if msg := <-answer; msg == nil || msg.Header.Get(api.HeaderTxID) != "1" {
		t.Fatalf("answer %v", msg)
	}
	<-stopped
}
