package replicator

import (
	"context"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/catalog"
	"github.com/seed-551dd829/braid/internal/disk"
	"github.com/seed-551dd829/braid/internal/objstore"
)

// BenchmarkCatchUp is a node that reads a log from nothing on a real disk: small groups, and groups as a gateway
// makes them of large writes.
func BenchmarkCatchUp(b *testing.B) {
	for name, size := range map[string]struct{ segments, groups, rows int }{
		"small groups": {100, 200, 1}, "10,000-row groups": {25, 4, 10_000},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, 1)
			store, err := objstore.Open(context.Background(), "dir:"+b.TempDir(), objstore.S3Config{})
			if err != nil {
				b.Fatal(err)
			}
			w.objects = &shelf{Store: store}
			text := rows(1, size.rows)
			for range size.segments {
				groups := make([]group, size.groups)
				for i := range groups {
					groups[i] = group{"cpu", []write{{text, false}}}
				}
				w.commit(groups...)
			}
			records := size.segments * size.groups
			for b.Loop() {
				w.catchUp(b, b.TempDir())
			}
			b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(b.N*records*size.rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func (w *world) catchUp(b *testing.B, dir string) {
	cfg := Config{ID: "r1", DataDir: dir, SegmentsDir: dir + "/segments", PollInterval: time.Second}
	s, err := New(cfg, Deps{Conn: w.nc, FS: disk.OS, Objects: w.objects, Sequencer: w,
		Catalog: catalog.New(w.schema, 100), Shards: w.shards, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := s.CaughtUp(context.Background(), 1); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
