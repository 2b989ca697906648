package replicator

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// answered is what came of a read on a goroutine of its own.
type answered struct {
	status     int
	txid, body string
	err        error
}

// ask reads a path on the side, and returns once the node has it waiting.
func (n *node) ask(t *testing.T, path string) <-chan answered {
	t.Helper()
	before := n.waiting()
	out := make(chan answered, 1)
	go func() {
		status, header, body, err := n.get(path)
		out <- answered{status, header.Get(api.HeaderTxID), body, err}
	}()
	natstest.Eventually(t, "the read waits", func() bool { return n.waiting() > before })
	return out
}

func (n *node) waiting() int {
	n.waits.mu.Lock()
	defer n.waits.mu.Unlock()
	return n.waits.count
}

// TestReadsWaitForTheirTable: a read of what is not there yet is answered when it is, and by nothing else.
func TestReadsWaitForTheirTable(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), false}}})
	n := w.startFresh("r1")
	second := n.ask(t, "/tables/cpu?from_txid=2&wait=1h&txid=1")
	third := n.ask(t, "/tables/cpu?from_txid=3&wait=1h")
	unborn := n.ask(t, "/tables/mem?wait=1h")

	w.commit(group{"disk", []write{{rows(1, 1), false}}})
	n.wait(w)
	if got := n.waiting(); got != 3 {
		t.Errorf("%d reads wait after another table has grown, want 3", got)
	}
	w.commit(group{"cpu", []write{{rows(3, 3), false}}})
	if a := <-second; a.status != 200 || a.txid != "2" || a.body != `{"timestamp":1003,"txid":2,"n":3}`+"\n" {
		t.Errorf("the second transaction: %+v", a)
	}
	w.commit(group{"cpu", []write{{rows(4, 5), false}}}, group{"mem", []write{{rows(6, 6), false}}})
	if a := <-third; a.status != 200 || a.txid != "3" || a.body != rows(4, 5) {
		t.Errorf("the third transaction: %+v", a)
	}
	if a := <-unborn; a.status != 200 || a.txid != "1" || a.body != rows(6, 6) {
		t.Errorf("a table that was not there: %+v", a)
	}
	if len(n.waits.tables) != 0 || n.waits.count != 0 {
		t.Errorf("somebody waits still: %+v", n.waits.tables)
	}
}

// TestReadsWaitNoLongerThanTheyMay: the answer has no rows then, and says up to where it is complete.
func TestReadsWaitNoLongerThanTheyMay(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), false}}})
	cfg := w.config("r1")
	cfg.WaitMax = 5 * time.Millisecond
	n := w.start(disk.NewMemory(), cfg)
	n.wait(w)
	for _, wait := range []string{"1ms", "24h"} {
		status, header, body, err := n.get("/tables/cpu?from_txid=2&wait=" + wait)
		if err != nil || status != 200 || header.Get(api.HeaderTxID) != "1" || body != "" {
			t.Errorf("%s: %d, %v, %q, %v", wait, status, header, body, err)
		}
	}
	if status, _, _, err := n.get("/tables/mem?wait=1ms"); err != nil || status != http.StatusNotFound {
		t.Errorf("a table that does not come: %d, %v", status, err)
	}
}

// TestI7_WaitingReadsAreBounded: past the bound they are told so, and those who do not wait are served all the same.
func TestI7_WaitingReadsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), false}}})
	cfg := w.config("r1")
	cfg.WaitersMax, cfg.ReadsMax = 2, 1
	n := w.start(disk.NewMemory(), cfg)
	n.wait(w)
	first, second := n.ask(t, "/tables/cpu?from_txid=2&wait=1h"), n.ask(t, "/tables/cpu?from_txid=2&wait=1h")
	status, header, body, err := n.get("/tables/cpu?from_txid=2&wait=1h")
	if err != nil || status != 429 || header.Get("Retry-After") == "" || !strings.Contains(body, `"overloaded"`) {
		t.Errorf("one too many: %d, %v, %s, %v", status, header, body, err)
	}
	if got := n.mustGet(t, "/tables/cpu?wait=1h"); got != rows(1, 2) {
		t.Errorf("a read that need not wait: %s", got)
	}
	w.commit(group{"cpu", []write{{rows(3, 3), false}}})
	for _, c := range []<-chan answered{first, second} { // they take turns at the one place
		if a := <-c; a.err != nil || a.status != 200 || a.body != rows(3, 3) {
			t.Errorf("a read that waited: %+v", a)
		}
	}
}

// TestNodeThatStopsLetsNobodyWait: reads that wait are answered at once, and later ones too.
func TestNodeThatStopsLetsNobodyWait(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), false}}})
	n := w.startFresh("r1")
	waiting := n.ask(t, "/tables/cpu?from_txid=2&wait=1h")
	n.StopWaiting()
	n.StopWaiting()
	if a := <-waiting; a.err != nil || a.status != 200 || a.body != "" || a.txid != "1" {
		t.Errorf("the node stops: %+v", a)
	}
	if status, _, body, err := n.get("/tables/cpu?from_txid=2&wait=1h"); err != nil || status != 200 || body != "" {
		t.Errorf("after that nobody waits: %d, %q, %v", status, body, err)
	}
}

// TestClientThatGoesAwayWaitsNoLonger: its place is free again.
func TestClientThatGoesAwayWaitsNoLonger(t *testing.T) {
	w := newWorld(t, 1)
	n := w.startFresh("r1")
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.http.URL+"/tables/cpu?wait=1h", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := http.DefaultClient.Do(r)
		ended <- err
	}()
	natstest.Eventually(t, "it waits", func() bool { return n.waiting() == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("the read was answered")
	}
	natstest.Eventually(t, "its place is free", func() bool { return n.waiting() == 0 })
}
