package loadtest

import (
	"slices"
	"time"
)

// Timeline is the run in slices of equal length.
type Timeline struct {
	EveryS float64 `json:"every_s"`
	Slices []Slice `json:"slices"`
}

// Slice counts the writes that were acknowledged in it.
type Slice struct {
	AtS    float64 `json:"at_s"` // where it begins
	Writes uint64  `json:"writes"`
	Rows   uint64  `json:"rows"`
	// P50, P99 and Max are of their latencies, 0 without a write.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// The bounds of a timeline.
const (
	sliceMin  = 250 * time.Millisecond
	slicesMax = 2000
)

// newTimeline sorts acknowledgements into slices.
func newTimeline(acks [][]acked, elapsed time.Duration) Timeline {
	every := sliceMin
	for elapsed/every >= slicesMax {
		every *= 2
	}
	n := int(elapsed/every) + 1
	t := Timeline{EveryS: every.Seconds(), Slices: make([]Slice, n)}
	latencies := make([][]float64, n)
	for _, of := range acks {
		for _, a := range of {
			i := min(int(a.answered/every), n-1)
			t.Slices[i].Writes++
			t.Slices[i].Rows += uint64(a.rows)
			latencies[i] = append(latencies[i], *msOf(a.answered - a.sent))
		}
	}
	for i, l := range latencies {
		spread := spreadOf(l)
		s := &t.Slices[i]
		s.AtS, s.P50, s.P99, s.Max = (time.Duration(i) * every).Seconds(), spread.P50, spread.P99, spread.Max
	}
	return t
}

// sparkWidth is how many columns the timeline has on paper.
const sparkWidth = 60

// spark draws rows a second over time, and returns what a full block is worth and how long a column is.
func (t *Timeline) spark() (line string, most, columnS float64) {
	per := (len(t.Slices) + sparkWidth - 1) / sparkWidth
	var columns []float64
	for part := range slices.Chunk(t.Slices, max(per, 1)) {
		rows := uint64(0)
		for _, s := range part {
			rows += s.Rows
		}
		columns = append(columns, float64(rows)/float64(len(part))/t.EveryS)
	}
	if len(columns) > 1 {
		columns = columns[:len(columns)-1] // the last one is cut short
	}
	most = slices.Max(columns)
	blocks := []rune("▁▂▃▄▅▆▇█")
	var out []rune
	for _, c := range columns {
		switch {
		case c == 0:
			out = append(out, '·')
		default:
			out = append(out, blocks[min(int(c/most*float64(len(blocks))), len(blocks)-1)])
		}
	}
	return string(out), most, float64(max(per, 1)) * t.EveryS
}
