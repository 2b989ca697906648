package sequencer

import (
	"fmt"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
)

// farTxn is a transaction on a store far away: it counts the journeys, one for each ReadAhead of something new and one
// for each read that was not announced.
type farTxn struct {
	kv.Txn
	announced map[string]bool
	rounds    int
	alone     []string // reads that were not announced
}

func (x *farTxn) ReadAhead(keys [][]byte, spans []kv.Span) {
	before := len(x.announced)
	for _, key := range keys {
		x.announced["k"+string(key)] = true
	}
	for _, s := range spans {
		x.announced["s"+string(s.Begin)+string(s.End)] = true
	}
	if len(x.announced) > before {
		x.rounds++
	}
}

func (x *farTxn) Get(key []byte) ([]byte, error) {
	if !x.announced["k"+string(key)] {
		x.alone = append(x.alone, fmt.Sprintf("key %x", key))
	}
	return x.Txn.Get(key)
}

func (x *farTxn) Range(begin, end []byte, limit int, reverse bool) ([]kv.Pair, error) {
	if limit != 0 || reverse || !x.announced["s"+string(begin)+string(end)] {
		x.alone = append(x.alone, fmt.Sprintf("span %x to %x", begin, end))
	}
	return x.Txn.Range(begin, end, limit, reverse)
}

// TestCommitReadsAhead: whatever the number of groups, a commit waits for two journeys to the store, for one if it
// remembers the numbers of its tables and producers, and decides what it decides without them, also if it remembers
// wrong ones.
func TestCommitReadsAhead(t *testing.T) {
	w := newMemoryWorld(t)
	var requests []*Request
	for n := range 20 {
		node, table := fmt.Sprint("p", n%3), fmt.Sprint("t", n)
		epoch, f := w.node(node, fmt.Sprint(n)), w.schema(table, "v", api.Int64)
		a, b := w.producer(fmt.Sprint("a", n), "1"), w.producer(fmt.Sprint("b", n), "1")
		h := api.GroupHeader{Table: table, Fingerprint: f,
			ID: api.ProducerSeq{Producer: fmt.Sprint("a", n), Epoch: a.Epoch, Sequence: 1},
			Writes: []api.WriteMeta{
				{Rows: 1, Key: "plain"},
				{Rows: 1, ID: api.ProducerSeq{Producer: fmt.Sprint("b", n), Epoch: b.Epoch, Sequence: 1}},
				{Rows: 1},
			}}
		requests = append(requests, w.request(api.CommitRequest{
			Node: node, Epoch: epoch, Groups: []api.CommitGroup{group(h, uint64(n+1))},
		}))
	}
	requests = requests[17:] // the others' nodes have registered anew, and are refused
	core, memory := w.core, NewNumbers()
	for _, x := range []struct {
		name     string
		numbers  *Numbers
		journeys int
	}{
		{"without a memory", nil, 2},
		{"with an empty one", memory, 2},
		{"with a full one", memory, 1},
		{"with a wrong one", mistaken(), 2},
	} {
		core.Numbers = x.numbers
		w.update(func(t kv.Txn) error {
			far := &farTxn{Txn: t, announced: map[string]bool{}}
			out, err := core.Commit(far, 0, requests)
			if err != nil {
				return err
			}
			if far.rounds != x.journeys || len(far.alone) > 0 {
				w.t.Errorf("%s: %d journeys, and for %q", x.name, far.rounds, far.alone)
			}
			for i, r := range out.Results {
				for k, o := range r.Answers[0].Writes {
					if want := uint64(k + 1); o.Verdict != api.Accepted || o.TxID != want {
						w.t.Errorf("%s, request %d, write %d: %+v", x.name, i, k, o)
					}
				}
			}
			return nil
		})
	}
}

// mistaken remembers numbers that nothing has.
func mistaken() *Numbers {
	wrong := NewNumbers()
	for n := range 20 {
		wrong.learn(kindTable, fmt.Sprint("t", n), 1000)
		wrong.learn(kindProducer, fmt.Sprint("a", n), 1000)
		wrong.learn(kindProducer, fmt.Sprint("b", n), 1000)
	}
	return wrong
}

// TestI7_NumbersAreBounded: however many producers come and go, few are remembered.
func TestI7_NumbersAreBounded(t *testing.T) {
	n := NewNumbers()
	for i := range uint64(3 * numbersMax) {
		name := fmt.Sprint("c", i)
		n.learn(kindProducer, name, i+1)
		if got, err := n.recall(kindProducer, name); got != i+1 || err != nil {
			t.Fatalf("%s has %d, %v, just learned as %d", name, got, err, i+1)
		}
	}
	if len(n.byName) > numbersMax {
		t.Errorf("%d are remembered, at most %d may be", len(n.byName), numbersMax)
	}
}
