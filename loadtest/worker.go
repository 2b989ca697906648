package loadtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-551dd829/braid/client"
	"github.com/seed-551dd829/braid/internal/history"
)

// Latencies are counted in microseconds, up to ten minutes, with three significant digits.
const (
	latencyMax    = int64(10 * time.Minute / time.Microsecond)
	latencyDigits = 3
)

// latencies is a histogram and a timeline for many writers: a few of them, each behind a lock, because thousands of
// histograms would take hundreds of megabytes.
type latencies [8]struct {
	mu   sync.Mutex
	h    *hdrhistogram.Histogram // guarded by mu
	time slicing                 // guarded by mu
}

func newLatencies() *latencies {
	l := new(latencies)
	for i := range l {
		l[i].h = hdrhistogram.New(1, latencyMax, latencyDigits)
	}
	return l
}

// record counts one acknowledgement, so long after the start. Latencies beyond the histogram's end count as its end.
func (l *latencies) record(writer int, answered, d time.Duration, rows int) {
	one := &l[writer%len(l)]
	one.mu.Lock()
	defer one.mu.Unlock()
	one.time.add(answered, d, rows)
	if err := one.h.RecordValue(min(max(d.Microseconds(), 1), latencyMax)); err != nil {
		panic(fmt.Sprintf("loadtest: a latency does not fit the histogram: %v", err))
	}
}

func (l *latencies) sum() *hdrhistogram.Histogram {
	all := hdrhistogram.New(1, latencyMax, latencyDigits)
	for i := range l {
		l[i].mu.Lock()
		all.Merge(l[i].h)
		l[i].mu.Unlock()
	}
	return all
}

func (l *latencies) timeline(elapsed time.Duration) Timeline {
	var parts []slicing
	for i := range l {
		l[i].mu.Lock()
		parts = append(parts, l[i].time)
		l[i].mu.Unlock()
	}
	return newTimeline(parts, elapsed)
}

// recordsMax bounds the recorded writes of a run that is verified: about 80 bytes each.
const recordsMax = 20_000_000

// run is what all workers share.
type run struct {
	config   *Config
	source   source
	schedule *schedule
	progress progress
	latency  *latencies
	records  atomic.Int64
	acks     atomic.Int64
	heads    map[string]uint64 // before the run
	stopped  atomic.Pointer[error]
}

// progress is counted while the run goes on, for the bar.
type progress struct{ rows, bytes, errors atomic.Uint64 }

// worker keeps one write open at a time, and what came of it. Nothing of it is shared until it has ended.
type worker struct {
	run     *run
	number  int
	sender  sender
	writes  uint64
	rows    uint64
	bytes   uint64
	errors  map[string]uint64
	records map[string][]history.Write // by table
	acks    []acked                    // only with chaos
	example error                      // the first error, for the report
	buf     []byte
	head    uint64 // conflict: the last head that it heard of
}

func newWorker(r *run, number int, s sender) *worker {
	w := &worker{
		run: r, number: number, sender: s,
		errors: map[string]uint64{}, records: map[string][]history.Write{},
	}
	if r.config.Workload == conflict {
		w.head = r.heads[r.config.Table]
	}
	return w
}

// primary is the one that the worker has chosen to write to, "" if it leaves the choice to gateways.
func (w *worker) primary() string {
	if s, ok := w.sender.(*sdkSender); ok {
		_, id, _ := strings.Cut(string(s.route), ".")
		return id
	}
	return ""
}

// work writes until the schedule has no more. Cancelling ctx takes no more writes; those that are open end by
// themselves.
func (w *worker) work(ctx context.Context) {
	for {
		n, intended, ok := w.run.schedule.next(ctx)
		if !ok {
			return
		}
		b, buf, ok := w.run.source.batch(n, w.buf)
		w.buf = buf
		if !ok {
			w.run.schedule.stop()
			return
		}
		if err := w.write(ctx, &b, intended); err != nil {
			w.run.stopped.CompareAndSwap(nil, &err)
			w.run.schedule.stop()
			return
		}
	}
}

// write sends one batch. Its error ends the run.
func (w *worker) write(ctx context.Context, b *batch, intended time.Time) error {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.run.config.WriteTimeout)
	defer cancel()
	var expected *uint64
	if w.run.config.Workload == conflict {
		head := w.head
		expected = &head
	}
	record := history.Write{Content: b.content, Rows: uint32(b.rows), Opaque: b.opaque,
		Sent: time.Since(w.run.schedule.start).Nanoseconds()}
	if b.opaque {
		record.Content = 0
	}
	if expected != nil {
		record.Locked, record.Expected = true, *expected
	}
	txid, err := w.sender.send(bound, b, expected)
	if err == nil {
		w.accepted(b, txid, time.Since(intended))
		w.keepAck(record.Sent)
		record.Outcome, record.TxID = history.Acknowledged, txid
	} else {
		w.refused(err, &record)
	}
	record.Answered = time.Since(w.run.schedule.start).Nanoseconds()
	return w.keep(b.table, record)
}

func (w *worker) accepted(b *batch, txid uint64, latency time.Duration) {
	w.run.latency.record(w.number, time.Since(w.run.schedule.start), latency, b.rows)
	w.writes++
	w.rows += uint64(b.rows)
	w.bytes += uint64(b.bytes)
	w.head = txid
	w.run.progress.rows.Add(uint64(b.rows))
	w.run.progress.bytes.Add(uint64(b.bytes))
}

// keepAck remembers when a write was acknowledged. Past acksMax the report of the faults knows no more.
func (w *worker) keepAck(sent int64) {
	if w.run.config.Chaos == "" || w.run.acks.Add(1) > acksMax {
		return
	}
	w.acks = append(w.acks, acked{sent: time.Duration(sent), answered: time.Since(w.run.schedule.start)})
}

func (w *worker) refused(err error, record *history.Write) {
	c := new(client.ConflictError)
	isConflict := errors.As(err, &c)
	switch {
	case isConflict:
		record.Outcome, record.Current = history.Conflicted, c.Current
		w.head = c.Current
	case errors.Is(err, client.ErrUnknownOutcome):
		record.Outcome = history.Unknown
	}
	w.errors[errorName(err)]++
	if !isConflict || w.run.config.Workload != conflict {
		w.run.progress.errors.Add(1)
		if w.example == nil {
			w.example = err
		}
	}
}

// keep records a write for the verification. A refusal without effect need not be remembered.
func (w *worker) keep(table string, record history.Write) error {
	if !w.run.config.Verify || record.Outcome == 0 {
		return nil
	}
	if w.run.records.Add(1) > recordsMax {
		return fmt.Errorf("--verify remembers at most %s writes: make the run shorter or the batches larger",
			grouped(recordsMax))
	}
	w.records[table] = append(w.records[table], record)
	return nil
}

// errorName is the error's line in the report: its code and word.
func errorName(err error) string {
	server := new(client.ServerError)
	invalid := new(client.InvalidError)
	conflicted := new(client.ConflictError)
	switch {
	case errors.As(err, &conflicted):
		return "409 conflict"
	case errors.As(err, &invalid):
		return "400 invalid"
	case errors.As(err, &server):
		return fmt.Sprintf("%d %s", server.Code, server.Name)
	case errors.Is(err, client.ErrUnknownOutcome):
		return "no answer"
	case errors.Is(err, client.ErrOverloaded):
		return "bound of the client"
	case errors.Is(err, client.ErrUnavailable):
		return "no responders"
	}
	return "other"
}
