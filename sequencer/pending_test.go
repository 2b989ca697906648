package sequencer

import (
	"fmt"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// TestConfirmInPieces: a segment with more records than a transaction takes is confirmed in several, and what was
// voided between them stays so.
func TestConfirmInPieces(t *testing.T) {
	w := newMemoryWorld(t)
	epoch, f := w.node("p1", "1"), w.schema("cpu", "v", api.Int64)
	const records = 2*confirmRecordsMax + 2
	for i := range records {
		g := keyed("cpu", f, fmt.Sprint(i))
		g.State, g.Holders, g.Header = api.Pending, []string{"p1"}, walHeader(t, g.Header)
		w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{g}}))
	}
	w.node("p1", "2") // fences
	w.update(func(x kv.Txn) error {
		_, err := w.core.Void(x, api.VoidRequest{Table: "cpu", TxID: 2, Index: 2})
		return err
	})
	pieces, confirmed := 0, 0
	for more := true; more; pieces++ {
		w.update(func(x kv.Txn) error {
			done, err := w.core.Confirm(x, api.ConfirmRequest{Segment: api.SegmentID{Node: "p1", Epoch: epoch, Sequence: 1}})
			confirmed, more = confirmed+done.Confirmed, done.More
			return err
		})
	}
	if confirmed != records-1 || pieces < 3 {
		t.Errorf("%d of %d records confirmed in %d pieces", confirmed, records-1, pieces)
	}
	for _, r := range w.log() {
		want := api.Confirmed
		if r.Index == 2 {
			want = api.Void
		}
		if r.State != want {
			t.Fatalf("record %d is %s, want %s", r.Index, r.State, want)
		}
	}
}

// TestI1_ConfirmedAndVoidExcludeEachOther, whatever the index of unconfirmed records says: one that is damaged, and calls
// a record pending that is void or confirmed, takes no TxID back and gives none.
func TestI1_ConfirmedAndVoidExcludeEachOther(t *testing.T) {
	for _, state := range []api.RecordState{api.Confirmed, api.Void} {
		w := newMemoryWorld(t)
		epoch, f := w.node("p1", "1"), w.schema("cpu", "v", api.Int64)
		g := keyed("cpu", f, "k")
		g.State, g.Holders, g.Header = api.Pending, []string{"p1"}, walHeader(t, g.Header)
		w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{g}}))
		w.node("p1", "2") // fences
		segment, void := api.SegmentID{Node: "p1", Epoch: epoch, Sequence: 1}, api.VoidRequest{Table: "cpu", TxID: 1, Index: 1}
		w.update(func(x kv.Txn) (err error) {
			if state == api.Void {
				_, err = w.core.Void(x, void)
			} else {
				_, err = w.core.Confirm(x, api.ConfirmRequest{Segment: segment})
			}
			x.Set(appendUnstoredKey(nil, "p1", epoch, 1, 0, 1), unstored{}.encode())
			return err
		})
		if err := w.try(func(x kv.Txn) error {
			_, err := w.core.Confirm(x, api.ConfirmRequest{Segment: segment})
			return err
		}); err == nil {
			t.Errorf("%s: confirmed again", state)
		}
		err := w.try(func(x kv.Txn) error { _, err := w.core.Void(x, void); return err })
		if state == api.Confirmed && !api.IsName(err, api.Conflict) || state == api.Void && err != nil {
			t.Errorf("%s: voiding it ends with %v", state, err)
		}
		if got := w.log()[0].State; got != state {
			t.Errorf("%s has become %s", state, got)
		}
	}
}

// TestUnstoredReadsBack: also what was written before it had anything in it.
func TestUnstoredReadsBack(t *testing.T) {
	for _, u := range []unstored{{}, {since: 1 << 40}, {since: 7, void: true}} {
		if got, err := decodeUnstored(u.encode()); err != nil || got != u {
			t.Errorf("%+v reads back as %+v, %v", u, got, err)
		}
	}
	if got, err := decodeUnstored(newValue()); err != nil || got != (unstored{}) {
		t.Errorf("version 1 reads as %+v, %v", got, err)
	}
	for _, raw := range [][]byte{nil, {}, {3, 1, 0}, {1, 1, 0}, {2}, {2, 1}, {2, 1, 0, 0}} {
		if got, err := decodeUnstored(raw); err == nil {
			t.Errorf("%x reads as %+v", raw, got)
		}
	}
}

// TestConfirmAndVoidOverTheWire: replicators are told which record has changed, and repeats of what is void get 410.
func TestConfirmAndVoidOverTheWire(t *testing.T) {
	c := startCluster(t, memory.New(memory.Options{}), 1)
	f := c.grow("cpu")
	hints, err := c.nc.SubscribeSync(api.Subjects{}.Commits(0))
	if err != nil {
		t.Fatal(err)
	}
	commit := func(epoch, segment uint64, key string) api.GroupAnswer {
		g := keyed("cpu", f, key)
		g.Segment, g.State, g.Holders, g.Header = segment, api.Pending, []string{"p1", "r1"}, walHeader(t, g.Header)
		r := api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{g}}
		a, err := c.seq.Commit(c.ctx(), 0, &r)
		if err != nil {
			t.Fatal(err)
		}
		return a[0]
	}
	commit(c.epoch, 1, "a")
	if a := commit(c.epoch, 2, "b"); !a.Pending {
		t.Fatalf("answer %+v is not pending", a)
	}
	list, err := c.seq.Pending(c.ctx(), api.PendingRequest{Node: "p1"})
	if err != nil || len(list.Records) != 2 || list.Records[1].First != 2 {
		t.Fatalf("pending: %+v, %v", list, err)
	}
	if n, err := c.seq.Confirm(c.ctx(), api.SegmentID{Node: "p1", Epoch: c.epoch, Sequence: 1}); err != nil || n != 1 {
		t.Fatalf("confirmed %d, %v", n, err)
	}
	void := api.VoidRequest{Table: "cpu", TxID: 2, Index: list.Records[1].Index}
	if _, err := c.seq.Void(c.ctx(), void); !api.IsName(err, api.Conflict) {
		t.Errorf("void of a living epoch: %v", err)
	}
	again := api.RegisterNodeRequest{ID: "p1", Role: api.Primary, Mark: "m", Attempt: "2"}
	registered, err := c.seq.RegisterNode(c.ctx(), again)
	if err != nil {
		t.Fatal(err)
	}
	if lost, err := c.seq.Void(c.ctx(), void); err != nil || lost.First != 2 || lost.Last != 2 || lost.Rows != 1 {
		t.Errorf("void: %+v, %v", lost, err)
	}
	if a := commit(registered.Epoch, 1, "b"); a.Writes[0].Verdict != api.RefusedVoided || a.Pending {
		t.Errorf("a repeat of a voided write: %+v", a)
	}
	for _, want := range []string{"1", "2", "0 1", "0 2"} {
		m, err := hints.NextMsgWithContext(c.ctx())
		if err != nil || string(m.Data) != want {
			t.Fatalf("hint %q, %v, want %q", m.Data, err, want)
		}
	}
}
