package sequencer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestI4_TailAgainstTheLog: an instance commits to a log to which others commit too. Whatever it answers by itself is what
// the log holds, nothing of it can change any more, and it is not empty.
func TestI4_TailAgainstTheLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var log []stored // records from index 1 on
	write := func() (records []stored) {
		for range 1 + rng.IntN(4) {
			r := stored{state: api.Confirmed}
			if rng.IntN(20) == 0 {
				r.state = api.Pending
			}
			record := api.LogRecord{Table: fmt.Sprintf("t%0*d", 1+rng.IntN(100), len(log)), First: 1, Writes: 1,
				Segment: api.SegmentID{Node: "p1", Epoch: 1, Sequence: 1}, State: r.state}
			r.raw = api.AppendLogRecord(nil, &record)
			log, records = append(log, r), append(records, r)
		}
		return records
	}
	var mine tail
	answered := 0
	for range 20_000 {
		if records := write(); rng.IntN(50) > 0 {
			mine.add(uint64(len(log)), records)
		}
		if mine.bytes > tailBytesMax {
			t.Fatalf("keeps %d bytes, more than %d", mine.bytes, tailBytesMax)
		}
		q := api.LogRequest{From: uint64(max(0, len(log)+2-rng.IntN(40))), Limit: rng.IntN(10)}
		raw, ok := mine.read(q)
		if !ok {
			continue
		}
		answered++
		answer, err := api.ParseLogAnswer(raw)
		if err != nil {
			t.Fatal(err)
		}
		n := len(answer.Records)
		if n == 0 || q.Limit > 0 && n > q.Limit || answer.Head < q.From || answer.Head > uint64(len(log)) {
			t.Fatalf("asked for %d from %d of %d, got %d and head %d", q.Limit, q.From, len(log), n, answer.Head)
		}
		for i := range answer.Records {
			got, want := answer.Records[i], log[int(q.From)-1+i]
			if want.state != api.Confirmed || !bytes.Equal(api.AppendLogRecord(nil, &got), want.raw) {
				t.Fatalf("record %d is %+v in the answer, %s in the log", got.Index, got, want.raw)
			}
		}
	}
	if answered < 5000 {
		t.Fatalf("only %d of 20,000 questions were answered", answered)
	}
}

// TestI4_TailKnowsNoEnd: that a log ends only the store knows, since others write to it.
func TestI4_TailKnowsNoEnd(t *testing.T) {
	var mine tail
	record := stored{raw: []byte("x"), state: api.Confirmed}
	mine.add(1, []stored{record})
	for _, from := range []uint64{0, 2, 3} {
		if _, ok := mine.read(api.LogRequest{From: from}); ok {
			t.Errorf("answers for index %d of a log of 1", from)
		}
	}
	mine.add(3, []stored{record}) // another instance wrote 2
	for _, from := range []uint64{1, 2} {
		if _, ok := mine.read(api.LogRequest{From: from}); ok {
			t.Errorf("answers for index %d, where another instance has written 2", from)
		}
	}
	if _, ok := mine.read(api.LogRequest{From: 3}); !ok {
		t.Error("does not answer for what it has written last")
	}
}
