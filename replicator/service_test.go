package replicator

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/segment"
)

// fill commits segments of random groups of several tables, some writes of which are refused.
func (w *world) fill(seed uint64, segments int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	next := 1
	for range segments {
		var groups []group
		for range 1 + rng.IntN(4) {
			g := group{table: fmt.Sprintf("t%d", rng.IntN(4))}
			for i := range 1 + rng.IntN(5) {
				n := 1 + rng.IntN(3)
				g.writes = append(g.writes, write{rows: rows(next, next+n-1), refused: i > 0 && rng.IntN(4) == 0})
				next += n
			}
			groups = append(groups, g)
		}
		w.commit(groups...)
	}
}

func (n *node) everything(t testing.TB) string {
	out := n.mustGet(t, "/tables")
	for _, table := range n.tables.Tables() {
		out += table.Name + "\n" + n.mustGet(t, "/tables/"+table.Name+"?txid=1")
	}
	return out
}

func TestI4_TwoNodesFedInDifferentPiecesAgree(t *testing.T) {
	w := newWorld(t, 3)
	small := w.config("r1")
	small.PieceRecords = 3
	a := w.start(disk.NewMemory(), small) // follows while rows are committed
	w.fill(1, 60)
	b := w.startFresh("r2") // reads it all at once
	a.wait(w)
	got, want := a.everything(t), b.everything(t)
	if got != want || len(got) < 1000 {
		t.Fatalf("the nodes differ:\n%s\n\n%s", got, want)
	}
}

func TestI2_RestartInTheMiddle(t *testing.T) {
	w := newWorld(t, 2)
	w.fill(2, 40)
	mem := disk.NewMemory()
	for round := range uint64(5) {
		n := w.start(mem, w.config("r1"))
		w.fill(10+round, 5)
		if round%2 == 0 {
			n.wait(w)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		// What was not synced is lost, and with it parts of segments: they come again.
		mem.Crash(disk.Torn(round))
	}
	n := w.start(mem, w.config("r1"))
	n.wait(w)
	if got, want := n.everything(t), w.startFresh("r2").everything(t); got != want {
		t.Fatalf("after crashes:\n%s\n\nwant:\n%s", got, want)
	}
}

func TestOnlyAcceptedWritesAreThere(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), true}, {rows(3, 4), false}, {rows(5, 5), true}, {rows(6, 7), false},
		{rows(8, 8), false}, {rows(9, 9), true}}})
	w.commit(group{"cpu", []write{{rows(10, 10), false}}})
	n := w.startFresh("r1")
	for path, want := range map[string]string{
		"":                        rows(3, 4) + rows(6, 8) + rows(10, 10),
		"?from_txid=2":            rows(6, 8) + rows(10, 10),
		"?from_txid=2&to_txid=2":  rows(6, 7),
		"?from_txid=3&to_txid=99": rows(8, 8) + rows(10, 10),
		"?to_txid=1":              rows(3, 4),
		"?from_txid=5":            "",
	} {
		if got := n.mustGet(t, "/tables/cpu"+path); got != want {
			t.Errorf("%s: got\n%swant\n%s", path, got, want)
		}
	}
	if got := n.tables.Tables()[0]; got.Rows != 6 || got.Applied != 4 {
		t.Errorf("table is %+v", got)
	}
}

func TestDamagedLocalSegmentsAreFetchedAgainWhenRecordsAreApplied(t *testing.T) {
	w := newWorld(t, 1)
	id := w.commit(group{"cpu", []write{{rows(1, 50), false}}})
	mem := disk.NewMemory()
	path := segment.Path("/node/segments", id)
	if err := mem.MkdirAll("/node/segments/p1/1"); err != nil {
		t.Fatal(err)
	}
	if err := mem.WriteFileSync(path, []byte("torn")); err != nil {
		t.Fatal(err)
	}
	n := w.start(mem, w.config("r1"))
	n.wait(w)
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 50) {
		t.Fatalf("got\n%s", got)
	}
}

func TestOwnSegmentsAreNotFetched(t *testing.T) {
	w := newWorld(t, 1)
	id, file, records := w.seal([]group{{"cpu", []write{{rows(1, 5), false}}}})
	mem := disk.NewMemory()
	if err := mem.MkdirAll("/node/segments/p1/1"); err != nil {
		t.Fatal(err)
	}
	if err := mem.WriteFileSync(segment.Path("/node/segments", id), file); err != nil {
		t.Fatal(err)
	}
	w.append(records) // it is in no object store that this node could ask
	n := w.start(mem, w.config("p1"))
	n.wait(w)
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 5) {
		t.Fatalf("got\n%s", got)
	}
}

// A confirmed record whose object cannot be had holds up its table, and no other.
func TestMissingObjectHoldsUpItsTableOnly(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 2), false}}}, group{"mem", []write{{rows(1, 1), false}}})
	id, file, records := w.seal([]group{{"cpu", []write{{rows(3, 4), false}}}})
	w.append(records)
	w.commit(group{"mem", []write{{rows(2, 2), false}}}, group{"cpu", []write{{rows(5, 5), false}}})
	n := w.start(disk.NewMemory(), w.config("r1"))
	natstest.EventuallyNil(t, "the other table goes on", func() error {
		if n.tables.AppliedTxID("mem") != 2 || n.tables.AppliedTxID("cpu") != 1 {
			return errNotYet
		}
		return nil
	})
	natstest.EventuallyNil(t, "the lag counts what is held up", func() error {
		if lag := n.Lag(); lag != 2 {
			return fmt.Errorf("lag %d", lag)
		}
		return nil
	})
	if err := w.objects.Put(context.Background(), id.Key(), objstore.Bytes(file)); err != nil {
		t.Fatal(err)
	}
	n.wait(w)
	if got := n.mustGet(t, "/tables/cpu"); got != rows(1, 5) {
		t.Fatalf("got\n%s", got)
	}
	if err := n.CaughtUp(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
}

// TestI2_HintsHideNoLag: a table stands at a record that was pending when it was passed, and whose segment cannot be had.
// Whatever is hinted at between two readings, the node is not complete.
func TestI2_HintsHideNoLag(t *testing.T) {
	w := newWorld(t, 1)
	_, _, records := w.seal([]group{{"cpu", []write{{rows(1, 1), false}}}})
	records[0].State = api.Pending
	w.append(records)
	n := w.start(disk.NewMemory(), w.config("r1"))
	natstest.Eventually(t, "the pending record is passed", n.Pending)
	w.mu.Lock()
	w.logs[0] = slices.Clone(w.logs[0])
	w.logs[0][0].State = api.Confirmed
	w.mu.Unlock()
	natstest.Eventually(t, "it is confirmed, and its segment missing", func() bool { return len(n.Standing()) == 1 })
	for _, h := range []Hint{{Head: 1, Looked: true}, {Head: 1}, {}, {Changed: 1}, {Head: 1, Looked: true}} {
		for range 20 {
			n.shards[0].poke(h)
			natstest.Eventually(t, "the hint is taken", func() bool { return len(n.shards[0].hints.signal) == 0 })
			if lag := n.Lag(); lag == 0 {
				t.Fatalf("no lag after the hint %+v", h)
			}
		}
	}
}

func TestI7_CatchUpFromNothingIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	const segments, each = 100, 100
	for i := range segments {
		groups := make([]group, each)
		for j := range groups {
			at := i*each + j + 1
			groups[j] = group{"cpu", []write{{rows(at, at), false}}}
		}
		w.commit(groups...)
	}
	cfg := w.config("r1")
	cfg.PieceRecords = 64
	n := w.start(disk.NewMemory(), cfg)
	n.wait(w)
	if got := w.largest.Load(); got > 64 {
		t.Errorf("a piece had %d records", got)
	}
	if got, want := n.mustGet(t, "/tables/cpu"), rows(1, segments*each); got != want {
		t.Errorf("%d bytes of rows, want %d", len(got), len(want))
	}
}

func TestUnreachableSequencerIsWaitedFor(t *testing.T) {
	w := newWorld(t, 2)
	w.down.Store(true)
	w.fill(3, 5)
	n := w.start(disk.NewMemory(), w.config("r1"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := n.CaughtUp(ctx, 1000); err == nil {
		t.Fatal("caught up without having read a log")
	}
	w.down.Store(false)
	if err := n.CaughtUp(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	n.wait(w)
}

func TestDigestsOverTheBus(t *testing.T) {
	w := newWorld(t, 1)
	w.fill(4, 30)
	a, b := w.startFresh("r1"), w.startFresh("r2")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, table := range a.tables.Tables() {
		for txid := uint64(0); txid <= table.Applied; txid++ {
			var answers []api.DigestAnswer
			for _, id := range []string{"r1", "r2"} {
				answer, err := bus.Ask[api.DigestAnswer](ctx, w.nc, api.Subjects{}.NodeDigest(id),
					api.DigestRequest{Table: table.Name, TxID: txid})
				if err != nil {
					t.Fatal(err)
				}
				answers = append(answers, answer)
			}
			if answers[0] != answers[1] || answers[0].TxID > table.Applied {
				t.Fatalf("digests at %d: %+v", txid, answers)
			}
		}
	}
	none, err := bus.Ask[api.DigestAnswer](ctx, w.nc, api.Subjects{}.NodeDigest("r2"), api.DigestRequest{Table: "none"})
	if err != nil || none.Applied != 0 || none.Digest != strings.Repeat("0", 64) {
		t.Errorf("digest of an absent table: %+v, %v", none, err)
	}
	_ = b
}

// A full disk is not the end: what could not be written is written when there is room.
func TestFullDiskIsWaitedFor(t *testing.T) {
	w := newWorld(t, 1)
	w.fill(5, 10)
	mem := disk.NewMemory()
	cfg := w.config("r1")
	cfg.CheckpointInterval = time.Hour
	n := w.start(mem, cfg)
	n.wait(w)
	mem.SetCapacity(1)
	w.fill(6, 10)
	natstest.EventuallyNil(t, "the full disk is noticed", func() error {
		if n.Lag() == 0 {
			return errNotYet
		}
		return nil
	})
	mem.SetCapacity(0)
	n.wait(w)
	if got, want := n.everything(t), w.startFresh("r2").everything(t); got != want {
		t.Fatalf("after the disk was full:\n%s\n\nwant:\n%s", got, want)
	}
}

func TestTablesAndErrorsOverHTTP(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu.%ü?", []write{{rows(1, 2), false}}}, group{"b", []write{{rows(1, 1), false}}})
	n := w.startFresh("r1")
	var list api.NodeTables
	if err := json.Unmarshal([]byte(n.mustGet(t, "/tables")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Tables) != 2 || list.Tables[0].Name != "b" || list.Tables[1].Rows != 2 || list.Tables[1].Applied != 1 {
		t.Errorf("tables %+v", list)
	}
	if got := n.mustGet(t, "/tables/cpu.%25%C3%BC%3F"); got != rows(1, 2) {
		t.Errorf("rows of a table with a special name: %s", got)
	}
	for path, want := range map[string]api.Name{
		"/tables/none":             api.NotFound,
		"/tables/b?format=parquet": api.Invalid,
		"/tables/b?format=":        api.Invalid,
		"/tables/b?from_txid=x":    api.Invalid,
		"/tables/b?to_txid=-1":     api.Invalid,
		"/tables/b?txid=perhaps":   api.Invalid,
		"/segments/p1/1/99":        api.NotFound,
		"/segments/P1/1/1":         api.Invalid,
		"/segments/p1/01/1":        api.Invalid,
		"/segments/..%2Fp1/1/1":    api.Invalid,
	} {
		status, header, body, err := n.get(path)
		var e api.Error
		if err == nil {
			err = json.Unmarshal([]byte(body), &e)
		}
		if err != nil || e.Name != want || status != want.Code() || header.Get(api.HeaderContentType) != api.TypeJSON {
			t.Errorf("GET %s: status %d, %+v, %v", path, status, e, err)
		}
	}
	status, header, _, err := n.get("/tables/b?to_txid=7")
	if err != nil || status != http.StatusOK || header.Get(api.HeaderTxID) != "1" {
		t.Errorf("status %d, header %v, %v", status, header, err)
	}
}

func TestI7_ReadsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(group{"cpu", []write{{rows(1, 1), false}}})
	cfg := w.config("r1")
	cfg.ReadsMax = 1
	n := w.start(disk.NewMemory(), cfg)
	n.wait(w)
	n.reads <- struct{}{}
	if status, header, _, err := n.get("/tables/cpu"); err != nil || status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", status, err)
	}
	<-n.reads
	n.mustGet(t, "/tables/cpu")
}

// A log that is shorter than what is applied here is not the log that was applied.
func TestI1_AShorterLogIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.fill(7, 10)
	n := w.startFresh("r1")
	want := fmt.Sprint(n.tables.Tables())
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, 1)
	other.commit(group{"t0", []write{{rows(1, 1), false}}})
	n = other.start(n.fs, other.config("r1"))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := n.CaughtUp(ctx, 1000); err == nil || n.Lag() < lagUnknown {
		t.Errorf("caught up with another cluster's log: lag %d", n.Lag())
	}
	if got := fmt.Sprint(n.tables.Tables()); got != want {
		t.Errorf("tables changed: %s", got)
	}
}

// A fetch that hangs holds up neither the other tables nor the segments behind it.
func TestStuckFetchHoldsUpItsTableOnly(t *testing.T) {
	w := newWorld(t, 1)
	stuck := w.commit(group{"cpu", []write{{rows(1, 1), false}}})
	w.commit(group{"mem", []write{{rows(1, 1), false}}})
	w.objects.hang(stuck.Key())
	cfg := w.config("r1")
	cfg.PieceWait = 10 * time.Millisecond
	n := w.start(disk.NewMemory(), cfg)
	natstest.EventuallyNil(t, "the other table goes on", func() error {
		if n.tables.AppliedTxID("mem") != 1 || n.tables.AppliedTxID("cpu") != 0 {
			return errNotYet
		}
		return nil
	})
	w.objects.hang("")
	n.wait(w)
}
