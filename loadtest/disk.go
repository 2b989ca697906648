package loadtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// fsyncEvery is the pause between two samples: seldom enough not to disturb the disk that it measures.
const fsyncEvery = 25 * time.Millisecond

// measureDisk writes and syncs 4 kB at a time on the data folder's disk until ctx ends.
func measureDisk(ctx context.Context, dir string) (report *DiskReport, err error) {
	f, err := os.CreateTemp(dir, "loadtest-fsync-*")
	if err != nil {
		return nil, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close(), os.Remove(filepath.Clean(f.Name())))
	}()
	block := make([]byte, 4096)
	h := hdrhistogram.New(1, latencyMax, latencyDigits)
	tick := time.NewTicker(fsyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return &DiskReport{Fsyncs: int(h.TotalCount()), P50: ms(h.ValueAtQuantile(50)),
				P99: ms(h.ValueAtQuantile(99)), Max: ms(h.Max())}, nil
		case <-tick.C:
		}
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, fmt.Errorf("measure the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("measure the disk: %w", err)
		}
		if err := h.RecordValue(min(max(time.Since(start).Microseconds(), 1), latencyMax)); err != nil {
			return nil, fmt.Errorf("measure the disk: %w", err)
		}
	}
}
