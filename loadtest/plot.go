package loadtest

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// scale maps values to pixels, linearly or by their logarithm.
type scale struct {
	from, to   float64 // values
	start, end float64 // pixels
	log        bool
}

func (s scale) at(v float64) float64 {
	from, to := s.from, s.to
	if s.log {
		v, from, to = math.Log(max(v, s.from)), math.Log(from), math.Log(to)
	}
	if to == from {
		return s.start
	}
	return s.start + (min(max((v-from)/(to-from), 0), 1))*(s.end-s.start)
}

// tick is a labelled value of an axis.
type tick struct {
	value float64
	label string
}

// plot draws one chart as SVG. Colours are the page's: everything that is drawn has a class.
type plot struct {
	svg  strings.Builder
	x, y scale
}

// The room around every chart's field, so that those over time stand below each other.
const (
	plotWidth  = 1080
	plotLeft   = 76
	plotRight  = 14
	plotTop    = 22
	plotBottom = 26
)

// newPlot begins a chart. Attributes are of the svg element.
func newPlot(height float64, x, y scale, name, attributes string) *plot {
	p := &plot{x: x, y: y}
	p.x.start, p.x.end = plotLeft, plotWidth-plotRight
	p.y.start, p.y.end = height-plotBottom, plotTop
	p.draw(`<svg viewBox="0 0 %d %.0f" role="img" aria-label="%s" %s>`, plotWidth, height, html.EscapeString(name), attributes)
	return p
}

func (p *plot) draw(format string, args ...any) { fmt.Fprintf(&p.svg, format+"\n", args...) }

// html ends the chart.
func (p *plot) html() template.HTML { return template.HTML(p.svg.String() + "</svg>") }

func (p *plot) xAxis(ticks []tick) {
	for _, t := range ticks {
		x := p.x.at(t.value)
		p.draw(`<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x, x, p.y.start, p.y.end)
		p.text("tick middle", x, p.y.start+17, t.label)
	}
}

func (p *plot) yAxis(ticks []tick) {
	for _, t := range ticks {
		y := p.y.at(t.value)
		p.draw(`<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, p.x.start, p.x.end, y, y)
		p.text("tick end", p.x.start-8, y+4, t.label)
	}
}

func (p *plot) text(class string, x, y float64, s string) {
	p.draw(`<text class="%s" x="%.1f" y="%.1f">%s</text>`, class, x, y, html.EscapeString(s))
}

// rect fills between two corners, given in pixels; it is two pixels wide at least, so that what is short is seen.
func (p *plot) rect(class string, x1, y1, x2, y2 float64, title string) {
	p.draw(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		class, x1, min(y1, y2), max(x2-x1, 2), math.Abs(y2-y1), html.EscapeString(title))
}

type point struct{ x, y float64 }

// line joins points; where y is NaN it has a gap.
func (p *plot) line(class string, points []point) {
	var d strings.Builder
	move := true
	for _, q := range points {
		if math.IsNaN(q.y) {
			move = true
			continue
		}
		command := "L"
		if move {
			command = "M"
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", command, p.x.at(q.x), p.y.at(q.y))
		move = false
	}
	p.draw(`<path class="%s" d="%s"/>`, class, d.String())
}

// area fills between points and the field's lower end.
func (p *plot) area(class string, points []point) {
	if len(points) == 0 {
		return
	}
	var d strings.Builder
	fmt.Fprintf(&d, "M%.1f %.1f", p.x.at(points[0].x), p.y.start)
	for _, q := range points {
		fmt.Fprintf(&d, "L%.1f %.1f", p.x.at(q.x), p.y.at(q.y))
	}
	fmt.Fprintf(&d, "L%.1f %.1fZ", p.x.at(points[len(points)-1].x), p.y.start)
	p.draw(`<path class="%s" d="%s"/>`, class, d.String())
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// countTicks are about n from zero to the first that is not below most.
func countTicks(most float64, n int) (ticks []tick) {
	most = max(most, 1)
	step := niceStep(most / float64(n))
	for i := 0; ; i++ {
		v := float64(i) * step
		ticks = append(ticks, tick{v, short(v)})
		if v >= most && i > 0 {
			return ticks
		}
	}
}

// timeTicks are at most twelve or so, at times that people count in.
func timeTicks(seconds float64) (ticks []tick) {
	step := niceStep(max(seconds, 0.1) / 12)
	for _, s := range []float64{15, 30, 60, 120, 300, 600, 1800, 3600} {
		if step > 5 && s >= seconds/12 {
			step = s
			break
		}
	}
	for i := 0; float64(i)*step <= seconds; i++ {
		ticks = append(ticks, tick{float64(i) * step, clock(float64(i)*step, seconds)})
	}
	return ticks
}

// clock is a time since the start, as a run of that length needs it.
func clock(s, run float64) string {
	if run < 120 {
		return fmt.Sprintf("%g s", math.Round(s*1000)/1000)
	}
	return fmt.Sprintf("%d:%02d", int(s)/60, int(s)%60)
}

// latencyTicks are the decades between two latencies in milliseconds, and what is between them if they are few.
func latencyTicks(from, to float64) (ticks []tick) {
	steps := []float64{1}
	if to/from < 1000 {
		steps = []float64{1, 2, 5}
	}
	for decade := math.Pow(10, math.Floor(math.Log10(from))); decade <= to; decade *= 10 {
		for _, m := range steps {
			if v := m * decade; v >= from*0.999 && v <= to*1.001 {
				ticks = append(ticks, tick{v, shortDuration(v)})
			}
		}
	}
	return ticks
}

// short is a number with a unit of thousands.
func short(v float64) string {
	for _, unit := range []struct {
		at   float64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if v >= unit.at {
			return fmt.Sprintf("%.3g%s", v/unit.at, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}

// shortDuration is a round number of milliseconds, as axes have them.
func shortDuration(ms float64) string {
	switch {
	case ms >= 60_000:
		return fmt.Sprintf("%.3g min", ms/60_000)
	case ms >= 1000:
		return fmt.Sprintf("%.3g s", ms/1000)
	case ms >= 1:
		return fmt.Sprintf("%.3g ms", ms)
	}
	return fmt.Sprintf("%.3g µs", ms*1000)
}
