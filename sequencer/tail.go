package sequencer

import (
	"sync"

	"github.com/seed-551dd829/braid/internal/api"
)

// tailBytesMax bounds what is kept of each log: about a second at full speed.
const tailBytesMax = 256 << 10

// tail is the end of a shard's log as this instance has committed it, so that the nodes, which all ask for it at once
// when it has grown, cost the store nothing. It has confirmed records only: those are in the log as they are for good,
// whoever else writes to it, while a pending one is going to change. It never says that there is no more: that only the
// store knows. It is safe for concurrent use.
type tail struct {
	mu      sync.Mutex
	head    uint64   // index of the last record
	records [][]byte // as they are stored, the last one at head
	bytes   int
}

// add appends what a transaction has written up to head. What does not follow on from the records before replaces them.
func (t *tail) add(head uint64, records []stored) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head+uint64(len(records)) != head {
		t.drop(len(t.records))
	}
	for _, r := range records {
		if r.state != api.Confirmed {
			t.drop(len(t.records))
			continue
		}
		t.records = append(t.records, r.raw)
		t.bytes += len(r.raw)
	}
	t.head = head
	for t.bytes > tailBytesMax {
		t.drop(1)
	}
}

func (t *tail) drop(n int) {
	for i := range n {
		t.bytes -= len(t.records[i])
		t.records[i] = nil
	}
	t.records = t.records[n:]
}

// read returns an encoded api.LogAnswer; ok is false if the store must be asked.
func (t *tail) read(q api.LogRequest) (answer []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.head - uint64(len(t.records)) + 1
	if q.From < first || q.From > t.head {
		return nil, false
	}
	raw := t.records[q.From-first:]
	if q.Limit > 0 {
		raw = raw[:min(q.Limit, len(raw))]
	}
	return api.AppendLogAnswer(nil, t.head, q.From, raw), true
}
