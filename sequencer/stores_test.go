package sequencer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/sequencer/kv"
	"github.com/seed-551dd829/braid/sequencer/kv/bbolt"
	"github.com/seed-551dd829/braid/sequencer/kv/memory"
)

// benchmarkedStores are opened by BenchmarkStores; a build with FoundationDB adds its own.
var benchmarkedStores = map[string]func(b *testing.B) kv.Store{
	"memory": func(*testing.B) kv.Store { return memory.New(memory.Options{}) },
	"bbolt": func(b *testing.B) kv.Store {
		s, err := bbolt.Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		return s
	},
}

// What a primary puts into one request: its segments' groups since the last one.
const (
	benchGroups = 8
	benchWrites = 100 // in a group, of one gateway

	pacedTxIDs = 50_000 // a second, where latency is measured
)

// BenchmarkStores commits to one table and to a hundred, from some primaries, each with one request under way for each
// shard, through NATS: as fast as it goes, and then at a rate that is the same for all, whose latency it reports.
func BenchmarkStores(b *testing.B) {
	for _, name := range []string{"memory", "bbolt", "fdb"} {
		open, ok := benchmarkedStores[name]
		if !ok {
			continue
		}
		for _, tables := range []int{1, 100} {
			for _, primaries := range []int{1, 4, 16} {
				b.Run(fmt.Sprintf("%s/tables=%d/primaries=%d", name, tables, primaries), func(b *testing.B) {
					store := open(b)
					b.Cleanup(func() {
						if err := store.Close(); err != nil {
							b.Error(err)
						}
					})
					newBench(b, store, tables, primaries).run(b)
				})
			}
		}
	}
}

type bench struct {
	*cluster
	loops  []*benchLoop
	shards int
}

// benchLoop is what one primary sends to one shard, one request after the other.
type benchLoop struct {
	node     string
	epoch    uint64
	producer string
	pepoch   uint64
	shard    int
	tables   []string
	prints   []api.Fingerprint
	next     []uint64 // sequence by table
	turn     int
}

func newBench(b *testing.B, store kv.Store, tables, primaries int) *bench {
	w := &bench{cluster: startCluster(b, store, 1), shards: store.Shards()}
	byShard := make(map[int]*benchLoop)
	for i := range tables {
		table := fmt.Sprint("table", i)
		shard := api.Shard(table, w.shards)
		if byShard[shard] == nil {
			byShard[shard] = &benchLoop{shard: shard}
		}
		l := byShard[shard]
		l.tables, l.prints, l.next = append(l.tables, table), append(l.prints, w.grow(table)), append(l.next, 0)
	}
	for i := range primaries {
		id := fmt.Sprint("n", i)
		n, err := w.seq.RegisterNode(w.ctx(), api.RegisterNodeRequest{ID: id, Role: api.Primary, Mark: id, Attempt: id})
		if err != nil {
			b.Fatal(err)
		}
		p, err := w.seq.RegisterProducer(w.ctx(), api.RegisterProducerRequest{ID: "g" + id, Attempt: id})
		if err != nil {
			b.Fatal(err)
		}
		for shard := range w.shards {
			if of := byShard[shard]; of != nil {
				l := *of
				l.node, l.epoch, l.producer, l.pepoch = id, n.Epoch, "g"+id, p.Epoch
				l.next = slices.Clone(of.next)
				w.loops = append(w.loops, &l)
			}
		}
	}
	return w
}

// request makes the next request, of benchGroups groups for tables in turn.
func (l *benchLoop) request() *api.CommitRequest {
	r := &api.CommitRequest{Node: l.node, Epoch: l.epoch}
	for range benchGroups {
		i := l.turn % len(l.tables)
		l.turn++
		l.next[i]++
		h := api.GroupHeader{Table: l.tables[i], Fingerprint: l.prints[i], Writes: make([]api.WriteMeta, benchWrites),
			ID: api.ProducerSeq{Producer: l.producer, Epoch: l.pepoch, Sequence: l.next[i],
				Settled: l.next[i] - min(l.next[i], benchGroups)}}
		for k := range h.Writes {
			h.Writes[k].Rows = 1
		}
		r.Groups = append(r.Groups, group(h, uint64(l.turn)))
	}
	return r
}

// send has all loops send until n requests are answered, each at most one in every pause, and returns how long each
// request took.
func (w *bench) send(b *testing.B, n int, pause time.Duration) []time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	took := make([][]time.Duration, len(w.loops))
	var running sync.WaitGroup
	for i, l := range w.loops {
		running.Go(func() {
			due := time.Now().Add(pause * time.Duration(i) / time.Duration(len(w.loops)))
			for left.Add(-1) >= 0 {
				<-time.After(time.Until(due))
				began := time.Now()
				if pause > 0 { // from when it should have been sent: one that is late waits
					began, due = due, due.Add(pause)
				}
				answers, err := w.seq.Commit(context.Background(), l.shard, l.request())
				if err != nil || answers[0].Err != nil || answers[0].Writes[0].Verdict != api.Accepted {
					b.Errorf("%s: %v %+v", l.node, err, answers)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	running.Wait()
	return slices.Concat(took...)
}

func (w *bench) run(b *testing.B) {
	b.ResetTimer()
	w.send(b, b.N, 0)
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "commits/s")
	b.ReportMetric(rate*benchGroups*benchWrites, "TxIDs/s")
	if b.N < 100 || b.Failed() {
		return
	}
	requests := float64(pacedTxIDs) / (benchGroups * benchWrites) // a second
	took := w.send(b, b.N/2, time.Duration(float64(len(w.loops))/requests*float64(time.Second)))
	slices.Sort(took)
	milliseconds := func(q float64) float64 {
		return took[int(q*float64(len(took)-1))].Seconds() * 1000
	}
	b.ReportMetric(milliseconds(0.5), "p50-ms")
	b.ReportMetric(milliseconds(0.99), "p99-ms")
}
