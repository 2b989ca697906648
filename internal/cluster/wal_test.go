package cluster

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/natstest"
)

// writeWAL sends a row at durability wal, and returns its TxID or the error.
func (f *failing) writeWAL(subject, key string) (txid string, refusal *api.Error) {
	f.t.Helper()
	msg, err := f.nc.RequestMsg(&nats.Msg{Subject: subject,
		Header: nats.Header{api.HeaderMsgID: {key}, api.HeaderDurability: {"wal"}},
		Data:   []byte(`cpu key="` + key + `" 1`)}, 20*time.Second)
	if err != nil {
		f.t.Fatal(err)
	}
	return msg.Header.Get(api.HeaderTxID), bus.ReplyError(msg)
}

func (f *failing) pending(seq *bus.Sequencer) []api.PendingRecord {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	a, err := seq.Pending(ctx, api.PendingRequest{})
	if err != nil {
		f.t.Fatal(err)
	}
	return a.Records
}

// TestI2_HoldersSettleWhatAPrimaryLeft: a primary that cannot reach the object store acknowledges at `wal` all the same;
// when its epoch is fenced, a holder brings the segment into the object store and confirms it, and every node has the row.
func TestI2_HoldersSettleWhatAPrimaryLeft(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2", "r1")
	seq := bus.NewSequencer(f.nc, api.Subjects{})
	f.cut["p1"].Store(true)
	if txid, err := f.writeWAL("primary.p1.ingest.cpu", "a"); err != nil || txid != "1" {
		t.Fatalf("TxID %s, %v", txid, err)
	}
	left := f.pending(seq)
	if len(left) != 1 || left[0].Fenced || len(left[0].Holders) != 2 || left[0].Holders[0] != "p1" {
		t.Fatalf("pending: %+v", left)
	}
	natstest.EventuallyNil(t, "p1 is declared dead", func() error {
		topology, err := seq.Topology(t.Context())
		if err != nil {
			return err
		}
		_, err = seq.FailNode(t.Context(), api.FailNodeRequest{ID: "p1", Epoch: left[0].Segment.Epoch, Version: topology.Version})
		return err
	})
	natstest.Eventually(t, "nothing is pending", func() bool { return len(f.pending(seq)) == 0 })
	f.holds("a")
}

// TestTooFewHoldersIs503: a cluster of one node has nobody to hold its segments; writes at `object` go on.
func TestTooFewHoldersIs503(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1")
	if txid, err := f.writeWAL("ingest.cpu", "a"); err == nil || err.Code != 503 {
		t.Fatalf("TxID %s, %v", txid, err)
	}
	if txid, err := f.write("ingest.cpu", "b"); err != nil || txid != "1" {
		t.Fatalf("TxID %s, %v", txid, err)
	}
	f.holds("b")
}

// TestI1_WALUnderManyWriters: every write is acknowledged once, none stays pending, and the nodes agree.
func TestI1_WALUnderManyWriters(t *testing.T) {
	t.Parallel()
	f := newFailing(t, "p1", "p2", "r1")
	const writers, each = 8, 20
	out := make(chan string, writers*each)
	for w := range writers {
		go func() {
			for i := range each {
				msg, err := f.nc.RequestMsg(&nats.Msg{Subject: "ingest.cpu", Header: nats.Header{api.HeaderDurability: {"wal"}},
					Data: []byte(`cpu key="` + string(rune('a'+w)) + `" ` + string(rune('1'+i%9)))}, 20*time.Second)
				if err != nil || bus.ReplyError(msg) != nil {
					out <- "refused"
					continue
				}
				out <- msg.Header.Get(api.HeaderTxID)
			}
		}()
	}
	var got []string
	for range writers * each {
		got = append(got, <-out)
	}
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != writers*each || slices.Contains(got, "refused") {
		t.Errorf("%d different TxIDs of %d writes", n, writers*each)
	}
	seq := bus.NewSequencer(f.nc, api.Subjects{})
	natstest.Eventually(t, "nothing is pending", func() bool { return len(f.pending(seq)) == 0 })
}
