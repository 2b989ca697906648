package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
)

// TestI3_AGatewayThatStandsStillIsLeft: the gateway that has drawn a write says nothing, for minutes. The write is sent
// again under the same identity; which gateway gets it is for NATS to say.
func TestI3_AGatewayThatStandsStillIsLeft(t *testing.T) {
	c := startCluster(t)
	var mu sync.Mutex
	var seen []string
	c.handle("ingest.cpu", func(r bus.Incoming) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, identityHeaders(r.Header())+string(r.Data()))
		if len(seen) > 1 {
			c.accept(r, "cpu", 7)
		}
	})
	client := c.connect(WithAttemptTimeout(10 * time.Minute))
	answer, err := client.Table("cpu").Write(t.Context(), row)
	if err != nil || answer != (Result{"cpu", 7, 1}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 2 || seen[0] != seen[1] {
		t.Fatalf("attempts: %q", seen)
	}
}

// TestI7_CopiesAreFew: however slow a cluster is, of few of its writes copies are sent.
func TestI7_CopiesAreFew(t *testing.T) {
	p := newPatience()
	sent := 0
	for range 100_000 { // each would have one
		p.answered(time.Second)
		if p.spend() {
			sent++
		}
	}
	if most := 100_000*copyShare + copiesMax; float64(sent) > most || sent < copiesMax {
		t.Fatalf("%d copies, at most %v are allowed", sent, most)
	}
}

// TestPatienceFollowsAnswers: where answers take long, a write waits longer before it has a copy; once they are quick
// again, no longer than before.
func TestPatienceFollowsAnswers(t *testing.T) {
	p := newPatience()
	for _, x := range []struct{ answers, least, most time.Duration }{
		{3 * time.Second, 3 * time.Second, 4 * time.Second},
		{20 * time.Millisecond, patienceMin, patienceMin},
	} {
		for range 50 {
			p.answered(x.answers)
		}
		if now := p.now(); now < x.least || now > x.most {
			t.Errorf("where answers take %s a write waits %s", x.answers, now)
		}
	}
}

// TestI3_RaceOfCopies: what comes of a write whose requests are answered as given, in the order in which they are sent.
func TestI3_RaceOfCopies(t *testing.T) {
	type answer struct {
		after time.Duration
		err   error
	}
	const never, two = time.Hour, 2 * time.Second
	overloaded := api.OverloadedError(1, "full")
	conflict := api.Errorf(api.Conflict, "no")
	unavailable := api.Errorf(api.Unavailable, "none")
	for name, x := range map[string]struct {
		answers []answer
		want    int // of the request that is answered
		err     error
		took    time.Duration
		copies  int
	}{
		"at once":                   {[]answer{{0, nil}}, 0, nil, 0, 0},
		"late but first":            {[]answer{{two, nil}, {never, nil}, {never, nil}}, 0, nil, two, 2},
		"a copy is quicker":         {[]answer{{never, nil}, {time.Millisecond, nil}}, 1, nil, 501 * time.Millisecond, 1},
		"a conflict is an answer":   {[]answer{{never, nil}, {0, conflict}}, 1, conflict, 500 * time.Millisecond, 1},
		"a refused copy is no end":  {[]answer{{time.Second, nil}, {0, overloaded}}, 0, nil, time.Second, 1},
		"all refused":               {[]answer{{time.Second, unavailable}, {0, overloaded}}, 0, unavailable, time.Second, 1},
		"a doubt counts":            {[]answer{{time.Second, overloaded}, {0, unavailable}}, 0, unavailable, time.Second, 1},
		"a refusal at once ends it": {[]answer{{0, overloaded}}, 0, overloaded, 0, 0},
		"no answer at all": {[]answer{{never, nil}, {never, nil}, {never, nil}, {never, nil}, {never, nil}}, 0,
			bus.ErrUnknown, 5 * time.Second, 4}, // after 0.5, 1.25, 2.4 and 4.1 s
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var copies atomic.Int32
				c := &Client{patience: newPatience(), opts: options{onRetry: func(err error) {
					if !errors.Is(err, ErrUnknownOutcome) {
						t.Errorf("a copy because of %v", err)
					}
					copies.Add(1)
				}}}
				var sent, open atomic.Int32
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				got, err := impatiently(ctx, c, func(ctx context.Context) (int, error) {
					n := int(sent.Add(1)) - 1
					open.Add(1)
					defer open.Add(-1)
					select {
					case <-time.After(x.answers[n].after):
						return n, x.answers[n].err
					case <-ctx.Done():
						return n, bus.ErrUnknown
					}
				})
				if open.Load() != 0 {
					t.Error("a request is under way after the attempt's end")
				}
				if !errors.Is(err, x.err) || err == nil && got != x.want {
					t.Errorf("request %d was answered, %v, not %d, %v", got, err, x.want, x.err)
				}
				if took := time.Since(began); took != x.took || int(copies.Load()) != x.copies {
					t.Errorf("%d copies, %s, not %d, %s", copies.Load(), took, x.copies, x.took)
				}
			})
		})
	}
}
