package sequencer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// oneValue is a store in which every key has the same value.
type oneValue []byte

func (v oneValue) Get([]byte) ([]byte, error) { return v, nil }
func (v oneValue) Range(begin, _ []byte, _ int, _ bool) ([]kv.Pair, error) {
	return []kv.Pair{{Key: begin, Value: v}}, nil
}

// FuzzValues: a value of the store is refused, or what is read of it survives being written and read again.
func FuzzValues(f *testing.F) {
	var print api.Fingerprint
	col := column{Column: api.Column{Name: "host", Type: api.Tag}, print: print.Extend(api.Column{Name: "host", Type: api.Tag})}
	n := node{Node: api.Node{ID: "n", Role: api.Primary, State: api.Live, Epoch: 7, HTTP: "h:1"}, mark: "m", attempt: "a"}
	for _, v := range [][]byte{
		newValue(), newValue(300), n.encode(), (&producer{epoch: 3, incarnation: 2, known: true, attempt: "a"}).encode(),
		(&table{1, 2, 3}).encode(), col.encode(), appendText(newValue(1), "c1"),
		encodeAnswer([]decided{{Outcome: api.Outcome{Verdict: api.Accepted, TxID: 7}}, {Outcome: api.Outcome{Verdict: api.Accepted, TxID: 8}},
			{Outcome: api.Outcome{Verdict: api.RefusedConflict, Expected: 1, Current: 300}}, {Outcome: api.Outcome{Verdict: api.RefusedExpired}}}),
	} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := decodeNode("n", raw); err == nil {
			again, err := decodeNode("n", n.encode())
			if err != nil || again != n {
				t.Fatalf("node: %+v, then %+v, %v", n, again, err)
			}
		}
		if p, err := getProducer(oneValue(raw), "p"); err == nil && p != nil {
			again, err := getProducer(oneValue(p.encode()), "p")
			if err != nil || *again != *p {
				t.Fatalf("producer: %+v, then %+v, %v", p, again, err)
			}
		}
		if v, err := decodeTable("t", raw); err == nil {
			again, err := decodeTable("t", v.encode())
			if err != nil || again != v {
				t.Fatalf("table: %+v, then %+v, %v", v, again, err)
			}
		}
		if c, err := decodeColumn(raw); err == nil {
			again, err := decodeColumn(c.encode())
			if err != nil || again != c {
				t.Fatalf("column: %+v, then %+v, %v", c, again, err)
			}
		}
		if a, err := decodeAnswer(nil, raw); err == nil && len(a) > 0 {
			again, err := decodeAnswer(nil, encodeAnswer(a))
			if err != nil || !slices.Equal(again, a) {
				t.Fatalf("answer: %+v, then %+v, %v", a, again, err)
			}
		}
		if c, err := getCluster(oneValue(raw)); err == nil {
			again, err := getCluster(oneValue(appendText(newValue(uint64(c.Shards)), c.ID)))
			if err != nil || again != c {
				t.Fatalf("cluster: %+v, then %+v, %v", c, again, err)
			}
		}
		if l, err := getLease(oneValue(raw), "l"); err == nil && raw != nil {
			again, err := getLease(oneValue(appendText(newValue(l.Counter), l.Holder)), "l")
			if err != nil || again != l {
				t.Fatalf("lease: %+v, then %+v, %v", l, again, err)
			}
		}
		if n, err := getNumber(oneValue(raw), nil); err == nil && raw != nil {
			if again, err := getNumber(oneValue(newValue(n)), nil); err != nil || again != n {
				t.Fatalf("counter: %d, then %d, %v", n, again, err)
			}
		}
	})
}

// counting is a transaction that knows whether it was written to.
type counting struct {
	kv.Txn
	writes int
}

func (c *counting) Set(key, value []byte)        { c.writes++; c.Txn.Set(key, value) }
func (c *counting) Clear(key []byte)             { c.writes++; c.Txn.Clear(key) }
func (c *counting) ClearRange(begin, end []byte) { c.writes++; c.Txn.ClearRange(begin, end) }

// FuzzRequests: whatever a request in JSON says, it is done, or refused without a trace in the store, in few words.
func FuzzRequests(f *testing.F) {
	w := newMemoryWorld(f)
	epoch := w.node("p1", "1")
	w.schema("cpu", "usage", api.Int64)
	w.producer("g1", "1")
	requests := []func(kv.Txn, []byte) error{
		request(w.core.GrowSchema), request(w.core.RegisterNode), request(w.core.SetNodeState),
		request(w.core.RegisterProducer),
		request(func(t kv.Txn, q api.RenewProducerRequest) (struct{}, error) {
			return struct{}{}, w.core.RenewProducer(t, q)
		}),
		request(func(t kv.Txn, q api.TablesRequest) (api.TablesAnswer, error) { return Tables(t, q) }),
		request(func(t kv.Txn, q api.SegmentStateRequest) (api.SegmentStateAnswer, error) {
			return SegmentState(t, q.Segment)
		}),
		request(func(t kv.Txn, q api.LogRequest) ([]byte, error) { return w.core.ReadLog(t, nil, 0, q) }),
		request(func(t kv.Txn, q api.SchemaRequest) (api.SchemaAnswer, error) { return Schema(t, q.Table) }),
	}
	for i, q := range []any{
		api.SchemaRequest{Table: "cpu", Columns: []api.Column{{Name: "host", Type: api.Tag}, {Name: "usage", Type: api.Int64}}},
		api.RegisterNodeRequest{ID: "p2", Role: api.Replica, Mark: "m", HTTP: "h:1", Attempt: "1"},
		api.NodeStateRequest{ID: "p1", Epoch: epoch, State: api.Live}, api.RegisterProducerRequest{ID: "g1", Attempt: "2"},
		api.RenewProducerRequest{ID: "g1", Epoch: 2}, api.TablesRequest{After: "a", Limit: 7},
		api.SegmentStateRequest{Segment: api.SegmentID{Node: "p1", Epoch: 1, Sequence: 1}}, api.LogRequest{From: 1, Limit: 5},
		api.SchemaRequest{Table: "cpu"},
	} {
		data, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		err := w.store.Update(context.Background(), func(x kv.Txn) error {
			c := &counting{Txn: x}
			err := requests[int(which)%len(requests)](c, data)
			e := new(api.Error)
			switch {
			case err == nil:
			case !errors.As(err, &e):
				t.Fatalf("%s: %v", data, err)
			case c.writes > 0 || len(e.Message) > api.MessageBytesMax+20:
				t.Fatalf("%s: %d writes, then refused: %.2000v", data, c.writes, e)
			}
			return errors.Join(err, errUndone)
		})
		if !errors.Is(err, errUndone) {
			t.Fatalf("%s: %v", data, err)
		}
	})
}

var errUndone = errors.New("undone, so that every request meets the same store")

// request is what the shell does with a request in JSON.
func request[Q, A any](do func(kv.Txn, Q) (A, error)) func(kv.Txn, []byte) error {
	return func(t kv.Txn, data []byte) error {
		var q Q
		if err := json.Unmarshal(data, &q); err != nil {
			return invalid("request: %v", err)
		}
		a, err := do(t, q)
		if err == nil {
			_, err = json.Marshal(a)
		}
		return err
	}
}
