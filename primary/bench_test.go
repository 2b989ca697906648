package primary

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/api/bus"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/natstest"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// instant answers every commit at once: what is measured is the primary.
type instant struct{ head atomic.Uint64 }

func (i *instant) Confirm(context.Context, api.SegmentID) (int, error) { return 0, nil }

func (i *instant) Commit(_ context.Context, _ int, r *api.CommitRequest) ([]api.GroupAnswer, error) {
	answers := make([]api.GroupAnswer, len(r.Groups))
	for k := range answers {
		answers[k].Writes = []api.Outcome{{Verdict: api.Accepted, TxID: i.head.Add(1)}}
	}
	return answers, nil
}

// benchService is a primary on the real disk, with its object store in a directory of the same file system.
func benchService(b *testing.B) *Service {
	b.Helper()
	dir := b.TempDir()
	objects, err := objstore.OpenDir(context.Background(), disk.OS, filepath.Join(dir, "objects"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{ID: "p1", Epoch: 1, SegmentsDir: filepath.Join(dir, "segments")}, Deps{
		Conn: natstest.Connect(b, natstest.Server(b)), FS: disk.OS, Objects: objects, Sequencer: new(instant),
		Catalog: fakeCatalog{testSchema(b)},
		Shards:  1, Logger: quiet,
	})
	if err != nil {
		b.Fatal(err)
	}
	stop := run(b, s)
	b.Cleanup(func() {
		if err := stop(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// closedLoop keeps a number of groups in flight until b.N are acknowledged.
func closedLoop(b *testing.B, inFlight, rows int, frame []byte, one func(worker int) error) {
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for k := range inFlight {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := one(k); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

// BenchmarkPrimary feeds groups past NATS: check, append, sync, link, answer. 28,000 rows are 450 kB here.
func BenchmarkPrimary(b *testing.B) {
	for _, c := range []struct{ rows, inFlight int }{{28_000, 8}, {28_000, 32}, {10, 64}, {10, 1024}} {
		b.Run(fmt.Sprintf("rows=%d/inflight=%d", c.rows, c.inFlight), func(b *testing.B) {
			s := benchService(b)
			frame := frameOf(b, "cpu", 1, c.rows)
			closedLoop(b, c.inFlight, c.rows, frame, func(worker int) error {
				m := make(mailbox, 1)
				s.take(fmt.Sprint("g", worker), frame, m)
				if r := <-m; r.err != nil {
					return r.err
				}
				return nil
			})
		})
	}
}

// BenchmarkPrimaryNATS is the same over an embedded NATS server.
func BenchmarkPrimaryNATS(b *testing.B) {
	for _, c := range []struct{ rows, inFlight int }{{28_000, 8}, {28_000, 32}, {10, 64}, {10, 1024}} {
		b.Run(fmt.Sprintf("rows=%d/inflight=%d", c.rows, c.inFlight), func(b *testing.B) {
			s := benchService(b)
			nc := s.deps.Conn
			listening(b, nc, s)
			frame := frameOf(b, "cpu", 1, c.rows)
			closedLoop(b, c.inFlight, c.rows, frame, func(worker int) error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				hdr := nats.Header{api.HeaderSender: []string{fmt.Sprint("g", worker)}}
				_, err := bus.Request(ctx, nc, s.deps.Subjects.PrimaryWrite("p1"), hdr, frame)
				return err
			})
		})
	}
}
