package primary

import (
	"errors"
	"testing"
	"time"
)

const ms = time.Millisecond

// TestReach tells the stories of what is suspected, probed and believed.
func TestReach(t *testing.T) {
	gone := errors.New("gone")
	for name, story := range map[string]func(r *reach){
		"nothing is tried": func(r *reach) {},
		"a success clears": func(r *reach) {
			r.began(0)
			r.ended(1500*ms, gone)
			r.began(1600 * ms)
			r.ended(1700*ms, nil)
		},
		"one error is none yet": func(r *reach) {
			r.began(0)
			r.ended(100*ms, gone)
		},
		"slow, and the probe succeeds": func(r *reach) {
			r.began(0)
			r.due(1100 * ms)
			r.probeEnded(1200*ms, nil)
		},
		"a probe that ends after a success says nothing": func(r *reach) {
			r.began(0)
			r.due(1100 * ms)
			r.ended(1200*ms, nil)
			r.began(1300 * ms)
			r.probeEnded(1400*ms, gone)
		},
		"the last attempt hangs, and the probe succeeds": func(r *reach) {
			r.began(0)
			r.ended(1500*ms, gone)
			r.began(1600 * ms)
			r.due(4000 * ms)
			r.probeEnded(4100*ms, nil)
		},
		"UNABLE errors for a second": func(r *reach) {
			r.began(0)
			r.ended(900*ms, gone)
			r.began(950 * ms)
			r.ended(1000*ms, gone)
		},
		"UNABLE a hanging attempt, and the probe fails": func(r *reach) {
			r.began(0)
			r.due(1100 * ms)
			r.probeEnded(2100*ms, gone)
		},
		"UNABLE attempts fail, although the probe succeeds": func(r *reach) {
			r.began(0)
			r.ended(1500*ms, gone)
			r.began(1600 * ms)
			r.due(1700 * ms)
			r.probeEnded(1800*ms, nil)
		},
		"UNABLE another attempt goes on failing": func(r *reach) {
			r.began(0)
			r.began(0)
			r.ended(500*ms, nil)
			r.ended(1500*ms, gone)
		},
	} {
		r := &reach{what: "the store does not answer"}
		story(r)
		want := ""
		if name[:6] == "UNABLE" {
			want = "the store does not answer: gone"
		}
		if r.unable != want {
			t.Errorf("%s: unable %q, want %q", name, r.unable, want)
		}
	}
}

// TestReachProbesOnlyWhatIsSuspected: once a second has passed, one at a time, and not more often than twice a second.
func TestReachProbesOnlyWhatIsSuspected(t *testing.T) {
	r := new(reach)
	if r.due(5000 * ms) {
		t.Fatal("nothing was tried")
	}
	r.began(0)
	for _, step := range []struct {
		at   time.Duration
		due  bool
		ends bool
	}{{900 * ms, false, false}, {1000 * ms, true, false}, {1700 * ms, false, true}, {1701 * ms, true, true},
		{2000 * ms, false, false}, {2201 * ms, true, false}} {
		if r.due(step.at) != step.due {
			t.Fatalf("at %s: due %t", step.at, !step.due)
		}
		if step.ends {
			r.probeEnded(step.at, errors.New("gone"))
		}
	}
}
