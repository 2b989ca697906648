package loadtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often the bar moves.
const progressEvery = 200 * time.Millisecond

// showProgress draws a bar with rates on a terminal until the returned function is called.
func (h *harness) showProgress(r *run) (stop func()) {
	if !h.deps.Terminal {
		return func() {}
	}
	most, unit := int64(r.config.Rows), "rows"
	if most == 0 {
		most, unit = r.config.Duration.Milliseconds(), "time"
	}
	if most == 0 {
		most = -1 // a file's end is where its rows end
	}
	bar := progressbar.NewOptions64(most,
		progressbar.OptionSetWriter(h.deps.Out), progressbar.OptionSetWidth(28), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(unit == "rows"), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionThrottle(progressEvery/2))
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		var last, lastBytes uint64
		for {
			select {
			case <-quit:
				h.drawn(bar.Finish())
				return
			case <-tick.C:
			}
			rows, bytes := r.progress.rows.Load(), r.progress.bytes.Load()
			perS := uint64(float64(rows-last) / progressEvery.Seconds())
			mbPerS := float64(bytes-lastBytes) / 1e6 / progressEvery.Seconds()
			last, lastBytes = rows, bytes
			text := fmt.Sprintf("%12s rows/s %7.1f MB/s", grouped(perS), mbPerS)
			if n := r.progress.errors.Load(); n > 0 {
				text += fmt.Sprintf("  %s errors", grouped(n))
			}
			bar.Describe(text)
			at := int64(rows)
			if unit == "time" {
				at = time.Since(r.schedule.start).Milliseconds()
			}
			if most > 0 {
				at = min(at, most)
			}
			h.drawn(bar.Set64(at))
		}
	})
	return func() { close(quit); wg.Wait() }
}

func (h *harness) drawn(err error) {
	if err != nil {
		h.deps.Logger.Debug("progress not drawn", "error", err)
	}
}
