package loadtest

import (
	"math"
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
	// P50, P99 and Max are of their latencies, 0 without a write. Of p50 and p99 only the bin is known: they are up to
	// 19 % too high.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`

	bins latencyBins
}

// The bounds of a timeline.
const (
	sliceMin  = 250 * time.Millisecond
	slicesMax = 2000
)

// latencyBins count latencies on a logarithmic scale: four bins an octave. The first also has what is below it, the
// last what is above.
type latencyBins [88]uint32

// binFloorMS is where the first bin begins; the last one begins at three minutes.
const binFloorMS = 1.0 / 16

func binOf(ms float64) int {
	bin := int(math.Ceil(4 * math.Log2(max(ms/binFloorMS, 1))))
	return min(max(bin-1, 0), len(latencyBins{})-1)
}

// binEndMS is the largest latency of a bin.
func binEndMS(bin int) float64 { return binFloorMS * math.Exp2(float64(bin+1)/4) }

func (b *latencyBins) add(more *latencyBins) {
	for i, n := range more {
		b[i] += n
	}
}

// quantile is the end of the bin that holds the smallest latency which so many percent do not exceed.
func (b *latencyBins) quantile(percent uint64) float64 {
	total, seen := uint64(0), uint64(0)
	for _, n := range b {
		total += uint64(n)
	}
	for i, n := range b {
		if seen += uint64(n); n > 0 && seen*100 >= total*percent {
			return binEndMS(i)
		}
	}
	return 0
}

// slicing sorts acknowledgements into slices as they come. A run of any length has at most slicesMax: they become
// twice as long when there are too many.
type slicing struct {
	every  time.Duration
	slices []Slice
}

func (s *slicing) add(answered, latency time.Duration, rows int) {
	if s.every == 0 {
		s.every = sliceMin
	}
	for answered/s.every >= slicesMax {
		s.double()
	}
	at := int(answered / s.every)
	for len(s.slices) <= at {
		s.slices = append(s.slices, Slice{})
	}
	ms := *msOf(latency)
	one := &s.slices[at]
	one.Writes++
	one.Rows += uint64(rows)
	one.Max = max(one.Max, ms)
	one.bins[binOf(ms)]++
}

func (s *slicing) double() {
	s.every *= 2
	half := s.slices[:(len(s.slices)+1)/2]
	for i := range half {
		sum := s.slices[2*i]
		if 2*i+1 < len(s.slices) {
			sum.add(&s.slices[2*i+1])
		}
		half[i] = sum
	}
	s.slices = half
}

func (s *Slice) add(more *Slice) {
	s.Writes += more.Writes
	s.Rows += more.Rows
	s.Max = max(s.Max, more.Max)
	s.bins.add(&more.bins)
}

// newTimeline adds up what several have sorted, over the whole run.
func newTimeline(parts []slicing, elapsed time.Duration) Timeline {
	every := sliceMin
	for _, p := range parts {
		every = max(every, p.every)
	}
	for elapsed/every >= slicesMax {
		every *= 2
	}
	t := Timeline{EveryS: every.Seconds(), Slices: make([]Slice, elapsed/every+1)}
	for _, p := range parts {
		for p.every > 0 && p.every < every {
			p.double()
		}
		for i := range p.slices {
			t.Slices[min(i, len(t.Slices)-1)].add(&p.slices[i])
		}
	}
	for i := range t.Slices {
		s := &t.Slices[i]
		s.AtS = (time.Duration(i) * every).Seconds()
		s.P50, s.P99 = min(s.bins.quantile(50), s.Max), min(s.bins.quantile(99), s.Max)
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
