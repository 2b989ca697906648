package sequencer

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

func TestAnswersReadBack(t *testing.T) {
	accepted := func(txid, record uint64) decided {
		return decided{Outcome: api.Outcome{Verdict: api.Accepted, TxID: txid}, record: record}
	}
	refused := func(v api.Verdict) decided { return decided{Outcome: api.Outcome{Verdict: v}} }
	conflict := decided{Outcome: api.Outcome{Verdict: api.RefusedConflict, Expected: 5, Current: 900}}
	tests := map[string]struct {
		answer []decided
		size   int
	}{
		"one":           {[]decided{accepted(7, 0)}, 5},
		"a run":         {[]decided{accepted(7, 0), accepted(8, 0), accepted(9, 0)}, 5},
		"two records":   {[]decided{accepted(7, 3), accepted(8, 4)}, 9},
		"a gap":         {[]decided{accepted(7, 0), accepted(9, 0)}, 9},
		"the same":      {[]decided{accepted(7, 0), accepted(7, 0)}, 9},
		"conflicts":     {[]decided{conflict, conflict, accepted(1, 0)}, 13},
		"all refusals":  {[]decided{refused(api.RefusedFenced), refused(api.RefusedFenced), refused(api.RefusedSettled)}, 5},
		"mixed":         {[]decided{accepted(1, 0), conflict, accepted(2, 0), refused(api.RefusedExpired)}, 15},
		"large numbers": {[]decided{accepted(1<<63, 1<<47)}, 20},
	}
	for name, test := range tests {
		raw := encodeAnswer(test.answer)
		back, err := decodeAnswer(nil, raw)
		if err != nil || !slices.Equal(back, test.answer) {
			t.Errorf("%s: %+v reads back as %+v, %v", name, test.answer, back, err)
		}
		if len(raw) > test.size {
			t.Errorf("%s: %d bytes, want at most %d", name, len(raw), test.size)
		}
		for cut := range raw {
			if back, err := decodeAnswer(nil, raw[:cut]); err == nil && len(back) == len(test.answer) {
				t.Errorf("%s: cut at %d reads as whole", name, cut)
			}
		}
	}
}

// TestI7_AnswersAboveSettledAreBounded: past 1,024 a group is told to come back, whoever's identity it is, and nothing
// of it is decided; a settled that moves on makes room.
func TestI7_AnswersAboveSettledAreBounded(t *testing.T) {
	w := newMemoryWorld(t)
	epoch, f := w.node("p1", "1"), w.schema("cpu", "v", api.Int64)
	for _, own := range []bool{true, false} {
		producer := fmt.Sprintf("own-%v", own)
		a := w.producer(producer, "1")
		send := func(sequence, settled uint64) api.GroupAnswer {
			id := api.ProducerSeq{Producer: producer, Epoch: a.Epoch, Sequence: sequence, Settled: settled}
			h := api.GroupHeader{Table: "cpu", Fingerprint: f, Writes: []api.WriteMeta{{Rows: 1}}}
			if own {
				h.ID = id
			} else {
				h.Writes[0].ID = id
			}
			out := w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{group(h, 1)}}))
			return out.Results[0].Answers[0]
		}
		for sequence := uint64(1); sequence <= api.AnswersMax; sequence++ {
			if got := send(sequence, 0); got.Err != nil {
				t.Fatalf("sequence %d: %v", sequence, got.Err)
			}
		}
		records := len(w.log())
		if got := send(api.AnswersMax+1, 0); got.Err == nil || got.Err.Name != api.Overloaded || got.Err.RetryAfterMS == 0 {
			t.Errorf("own %v: answer %d above settled: %+v", own, api.AnswersMax+1, got)
		}
		if got := send(api.AnswersMax, 0); got.Err != nil {
			t.Errorf("own %v: a repeat at the bound: %v", own, got.Err)
		}
		if n := len(w.log()); n != records {
			t.Errorf("own %v: %d records more", own, n-records)
		}
		if got := send(api.AnswersMax+1, 20); got.Err != nil {
			t.Errorf("own %v: with room: %v", own, got.Err)
		}
		if got := send(3000, 20); own == (got.Err != nil) {
			t.Errorf("own %v: far above settled: %v", own, got.Err)
		}
	}
}

// TestTickNeedsTheLeaseAsSeen: an instance that was paused does not bump what another has taken.
func TestTickNeedsTheLeaseAsSeen(t *testing.T) {
	w := newMemoryWorld(t)
	bump := func(self string, seen api.Lease) (did bool, now api.Lease) {
		w.update(func(x kv.Txn) (err error) { did, now, err = Tick(x, self, seen); return err })
		return did, now
	}
	_, seen := bump("a", api.Lease{})
	if did, _ := bump("b", seen); !did {
		t.Error("b could not take the lease")
	}
	if did, now := bump("a", seen); did || now.Holder != "b" {
		t.Errorf("a bumped what it no longer holds: %v %+v", did, now)
	}
}

// TestReadLogIsBounded: pieces by count and by bytes join into the whole log.
func TestReadLogIsBounded(t *testing.T) {
	w := newMemoryWorld(t)
	epoch, f := w.node("p1", "1"), w.schema("cpu", "v", api.Int64)
	const records = 7000
	for n := 0; n < records; {
		r := api.CommitRequest{Node: "p1", Epoch: epoch}
		for range min(500, records-n) {
			n++
			r.Groups = append(r.Groups, keyed("cpu", f, fmt.Sprint(n)))
			r.Groups[len(r.Groups)-1].Offset = 1 << 60
		}
		w.commit(w.request(r))
	}
	for _, limit := range []int{0, 700, 1} {
		next, pieces := uint64(1), 0
		for next <= records && (limit != 1 || pieces < 5) {
			var raw []byte
			w.view(func(r kv.Reader) (err error) {
				raw, err = w.core.ReadLog(r, nil, 0, api.LogRequest{From: next, Limit: limit})
				return err
			})
			a, err := api.ParseLogAnswer(raw)
			if err != nil || a.Head != records || len(a.Records) == 0 || limit > 0 && len(a.Records) > limit {
				t.Fatalf("limit %d, from %d: head %d, %d records, %v", limit, next, a.Head, len(a.Records), err)
			}
			if len(raw) > api.LogAnswerBytes+64 {
				t.Errorf("an answer of %d bytes", len(raw))
			}
			for _, r := range a.Records {
				if r.Index != next || r.First != next {
					t.Fatalf("record %d at %d", r.Index, next)
				}
				next++
			}
			pieces++
		}
	}
}

// TestHeads: one reading tells how far every log goes, those without a record too.
func TestHeads(t *testing.T) {
	w := newMemoryWorld(t)
	w.core.Shards = 300 // a number of two bytes among the keys
	epoch, want := w.node("p1", "1"), make([]uint64, w.core.Shards)
	for i := range 400 {
		table := fmt.Sprintf("t%d", i%100)
		shard := api.Shard(table, w.core.Shards)
		r := w.request(api.CommitRequest{Node: "p1", Epoch: epoch,
			Groups: []api.CommitGroup{keyed(table, w.schema(table, "v", api.Int64), fmt.Sprint(i))}})
		w.update(func(x kv.Txn) error { _, err := w.core.Commit(x, shard, []*Request{r}); return err })
		want[shard]++
	}
	var got api.HeadsAnswer
	w.view(func(r kv.Reader) (err error) { got, err = w.core.Heads(r); return err })
	if !slices.Equal(got.Heads, want) || !slices.Contains(want, 0) {
		t.Errorf("heads %v, want %v", got.Heads, want)
	}
	w.core.Shards = 2
	w.view(func(r kv.Reader) error {
		if _, err := w.core.Heads(r); err == nil {
			t.Error("heads of more shards than there are")
		}
		return nil
	})
}

func TestTablesInPieces(t *testing.T) {
	w := newMemoryWorld(t)
	epoch := w.node("p1", "1")
	for i := range 2500 { // only some of them have a transaction
		name := fmt.Sprintf("t%04d", i)
		if f := w.schema(name, "v", api.Int64); i%100 == 99 {
			w.commit(w.request(api.CommitRequest{Node: "p1", Epoch: epoch, Groups: []api.CommitGroup{keyed(name, f, "k")}}))
		}
	}
	var names []string
	for q := (api.TablesRequest{Limit: 10}); ; q.After = names[len(names)-1] {
		var a api.TablesAnswer
		w.view(func(r kv.Reader) (err error) { a, err = Tables(r, q); return err })
		for _, tbl := range a.Tables {
			names = append(names, tbl.Name)
		}
		if len(a.Tables) < 10 {
			break
		}
	}
	if len(names) != 25 || names[0] != "t0099" || names[24] != "t2499" {
		t.Errorf("%d tables: %v", len(names), names)
	}
	for name, want := range map[string]string{"t0199": "t0199 1", "t0198": "", "t019": "", "t01990": ""} {
		var a api.TablesAnswer
		w.view(func(r kv.Reader) (err error) { a, err = Tables(r, api.TablesRequest{Only: name}); return err })
		got := ""
		for _, tbl := range a.Tables {
			got += fmt.Sprint(tbl.Name, " ", tbl.Head)
		}
		if got != want {
			t.Errorf("%s alone: %q, want %q", name, got, want)
		}
	}
}

func TestColumnsMax(t *testing.T) {
	w := newMemoryWorld(t)
	q := api.SchemaRequest{Table: "wide"}
	for i := range api.ColumnsMax - 1 {
		q.Columns = append(q.Columns, api.Column{Name: fmt.Sprintf("c%d", i), Type: api.Float64})
	}
	var a api.SchemaAnswer
	w.update(func(x kv.Txn) (err error) { a, err = w.core.GrowSchema(x, q); return err })
	if s, err := api.NewSchema(a.Columns); err != nil || s.Len() != api.ColumnsMax {
		t.Fatalf("%d columns, %v", s.Len(), err)
	}
	q.Columns = []api.Column{{Name: "one more", Type: api.Float64}}
	err := w.try(func(x kv.Txn) error { _, err := w.core.GrowSchema(x, q); return err })
	if !api.IsName(err, api.Invalid) {
		t.Errorf("column %d: %v", api.ColumnsMax+1, err)
	}
}

// BenchmarkCore commits requests of 500 groups, each a gateway's, without the wire.
func BenchmarkCore(b *testing.B) {
	for _, name := range []string{"memory", "bbolt"} {
		b.Run(name, func(b *testing.B) {
			var store kv.Store = memory.New(memory.Options{})
			if name == "bbolt" {
				var err error
				if store, err = bbolt.Open(b.TempDir()); err != nil {
					b.Fatal(err)
				}
			}
			w := newWorld(b, store)
			epoch, g, f := w.node("p1", "1"), w.producer("g1", "1"), w.schema("cpu", "v", api.Int64)
			sequence, ctx := uint64(0), context.Background()
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := api.CommitRequest{Node: "p1", Epoch: epoch}
				settled := sequence
				for range 500 {
					sequence++
					r.Groups = append(r.Groups, group(api.GroupHeader{Table: "cpu", Fingerprint: f,
						ID:     api.ProducerSeq{Producer: "g1", Epoch: g.Epoch, Sequence: sequence, Settled: settled},
						Writes: someWrites(20)}, 1))
				}
				data := api.AppendCommitRequest(nil, &r)
				b.StartTimer()
				parsed, err := w.core.ParseRequest(data, 0)
				if err != nil {
					b.Fatal(err)
				}
				err = store.Update(ctx, func(x kv.Txn) error { _, err := w.core.Commit(x, 0, []*Request{parsed}); return err })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "groups/s")
			if err := store.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func someWrites(n int) []api.WriteMeta {
	w := make([]api.WriteMeta, n)
	for i := range w {
		w[i].Rows = 10
	}
	return w
}

// TestI6_OneProcessReplacesItself: a process that was declared dead registers anew in the place of its own epoch only.
// Two processes of one node, with copies of one folder, cannot take turns at fencing each other.
func TestI6_OneProcessReplacesItself(t *testing.T) {
	w := newMemoryWorld(t)
	register := func(attempt string, replaces uint64) (epoch uint64, err error) {
		err = w.try(func(x kv.Txn) error {
			a, err := w.core.RegisterNode(x, api.RegisterNodeRequest{
				ID: "p1", Role: api.Primary, Mark: "m-p1", Attempt: attempt, Replaces: replaces})
			epoch = a.Epoch
			return err
		})
		return epoch, err
	}
	first := w.node("p1", "a")
	second, err := register("b", first)
	if err != nil || second <= first {
		t.Fatalf("epoch %d after %d: %v", second, first, err)
	}
	if again, err := register("b", first); err != nil || again != second {
		t.Fatalf("the same attempt again: epoch %d, %v; want %d", again, err, second)
	}
	if _, err := register("c", first); !api.IsName(err, api.Fenced) {
		t.Fatalf("the process before: %v", err)
	}
	w.update(func(x kv.Txn) error { x.Clear(appendName(nil, kindNode, "p1")); return nil })
	if _, err := register("d", second); !api.IsName(err, api.Fenced) {
		t.Fatalf("after it was removed: %v", err)
	}
}
