package loadtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"grouped": grouped, "decimal": decimal, "duration": duration, "bytes": binaryBytes,
	"count":       func(v float64) string { return grouped(uint64(v + 0.5)) },
	"durationOf":  func(ms *float64) string { return orDash(ms, duration) },
	"seconds":     func(s float64) string { return fmt.Sprintf("%.2f s", s) },
	"standingIn":  standingIn,
	"join":        func(s []string) string { return strings.Join(s, ", ") },
	"spreadCells": spreadCells,
}).Parse(pageText))

func orDash(v *float64, show func(float64) string) string {
	if v == nil {
		return "–"
	}
	return show(*v)
}

// spreadCells are p50, p99 and the largest value of durations.
func spreadCells(s Spread) []string {
	if s.Count == 0 {
		return []string{"–", "–", "–"}
	}
	return []string{duration(s.P50), duration(s.P99), duration(s.Max)}
}

func binaryBytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// page is what the template sees.
type page struct {
	*Report
	Throughput, Heat, Lanes, Distribution template.HTML
	Nodes                                 []RoleChange // as they were at the end
	ErrorNames, RetryNames, TableNames    []string
	Left, Right                           float64 // where charts over time begin and end
}

// WriteHTML writes the report as one page that needs nothing else: no network, no other file.
func (r *Report) WriteHTML(w io.Writer) error {
	p := page{Report: r, Throughput: r.plotThroughput(), Heat: r.plotHeat(), Distribution: r.plotDistribution(),
		ErrorNames: slices.Sorted(maps.Keys(r.Errors)), RetryNames: slices.Sorted(maps.Keys(r.Retries)),
		Nodes: r.finalRoles(), Left: plotLeft, Right: plotWidth - plotRight}
	if len(r.Roles) > 0 {
		p.Lanes = r.plotLanes()
	}
	if r.Verified != nil {
		p.TableNames = slices.Sorted(maps.Keys(r.Verified.Tables))
	}
	return pageTemplate.Execute(w, p)
}

func (r *Report) writeHTML(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := r.WriteHTML(f); err != nil {
		_ = f.Close() // it is not whole anyway
		return fmt.Errorf("report: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// finalRoles are the nodes as they were at the end, by name.
func (r *Report) finalRoles() []RoleChange {
	last := map[string]RoleChange{}
	for _, c := range r.Roles {
		last[c.Node] = c
	}
	nodes := make([]RoleChange, 0, len(last))
	for _, name := range slices.Sorted(maps.Keys(last)) {
		nodes = append(nodes, last[name])
	}
	return nodes
}

// timePlot begins a chart over the run's time, with the faults behind what it will show.
func (r *Report) timePlot(height float64, y scale, name string) *plot {
	run := max(r.Seconds, 0.001)
	p := newPlot(height, scale{from: 0, to: run}, y, name, fmt.Sprintf(`class="over-time" data-seconds="%g"`, run))
	for _, f := range r.faults() {
		if f.Back != nil {
			p.rect("absent", p.x.at(f.AtS), p.y.start, p.x.at(f.AtS+f.LastsS+*f.Back/1000), p.y.end, f.Target+" is away")
		}
		p.rect("fault", p.x.at(f.AtS), p.y.start, p.x.at(f.AtS+f.LastsS), p.y.end,
			fmt.Sprintf("%s %s at %.2f s for %s", f.Kind, f.Target, f.AtS, duration(f.LastsS*1000)))
	}
	p.xAxis(timeTicks(run))
	return p
}

func (r *Report) faults() []Fault {
	if r.Chaos == nil {
		return nil
	}
	return r.Chaos.Faults
}

// whole are the slices without the last one if it is cut short.
func (t *Timeline) whole(seconds float64) []Slice {
	if n := len(t.Slices); n > 1 && t.Slices[n-1].AtS+t.EveryS > seconds {
		return t.Slices[:n-1]
	}
	return t.Slices
}

// plotThroughput is acknowledged rows a second, with the faults' names above.
func (r *Report) plotThroughput() template.HTML {
	var points []point
	most := 0.0
	for _, s := range r.Timeline.whole(r.Seconds) {
		rate := float64(s.Rows) / r.Timeline.EveryS
		most = max(most, rate)
		points = append(points, point{s.AtS + r.Timeline.EveryS/2, rate})
	}
	ticks := countTicks(most, 4)
	p := r.timePlot(230, scale{from: 0, to: ticks[len(ticks)-1].value}, "rows a second over time")
	p.yAxis(ticks)
	p.area("rows-area", points)
	p.line("rows-line", points)
	last := math.Inf(-1)
	for _, f := range r.faults() {
		x := p.x.at(f.AtS)
		label := f.Kind + " " + f.Target
		if width := 7 * float64(len(label)); x-last >= 4 && x+width <= p.x.end {
			p.text("fault-name", x, plotTop-7, label)
			last = x + width
		}
	}
	return p.html()
}

// heatColumns is how many columns of cells the run has at most.
const heatColumns = 120

// plotHeat is how many writes had which latency, over time, with p50 and p99 over it.
func (r *Report) plotHeat() template.HTML {
	all := r.Timeline.whole(r.Seconds)
	per := (len(all) + heatColumns - 1) / heatColumns
	var columns []Slice
	var sum latencyBins
	for part := range slices.Chunk(all, max(per, 1)) {
		column := Slice{AtS: part[0].AtS}
		for i := range part {
			column.add(&part[i])
		}
		sum.add(&column.bins)
		columns = append(columns, column)
	}
	low, high := binRange(&sum)
	p := r.timePlot(260, scale{from: binEndMS(low - 1), to: binEndMS(high), log: true}, "latency over time")
	p.yAxis(latencyTicks(p.y.from, p.y.to))
	width := float64(max(per, 1)) * r.Timeline.EveryS
	var p50, p99 []point
	for _, c := range columns {
		for bin, n := range c.bins {
			if n > 0 {
				p.rect(fmt.Sprintf("heat h%d", heatLevel(n, c.Writes)), p.x.at(c.AtS), p.y.at(binEndMS(bin-1)),
					p.x.at(c.AtS+width), p.y.at(binEndMS(bin)), fmt.Sprintf("%s writes up to %s at %.1f s",
						grouped(uint64(n)), duration(binEndMS(bin)), c.AtS))
			}
		}
		middle := c.AtS + width/2
		if c.Writes == 0 {
			p50, p99 = append(p50, point{middle, math.NaN()}), append(p99, point{middle, math.NaN()})
			continue
		}
		p50 = append(p50, point{middle, min(c.bins.quantile(50), c.Max)})
		p99 = append(p99, point{middle, min(c.bins.quantile(99), c.Max)})
	}
	p.line("p99-line", p99)
	p.line("p50-line", p50)
	return p.html()
}

// binRange is from the first to the last bin that counts something.
func binRange(b *latencyBins) (low, high int) {
	low, high = len(b)-1, 0
	for i, n := range b {
		if n > 0 {
			low, high = min(low, i), max(high, i)
		}
	}
	if low > high {
		return 16, 40 // 1 ms to 64 ms
	}
	return low, high
}

// heatLevel is how dark a cell is, 1 to 6: each level is three times as many of the column's writes.
func heatLevel(n uint32, of uint64) int {
	share := float64(n) / float64(of)
	return min(max(6+int(math.Floor(math.Log(share/0.2)/math.Log(3))), 1), 6)
}

// laneHeight is that of a node's lane.
const laneHeight = 26

// plotLanes is what each node was, over time.
func (r *Report) plotLanes() template.HTML {
	names := make([]string, 0, 8)
	for _, n := range r.finalRoles() {
		names = append(names, n.Node)
	}
	p := r.timePlot(float64(plotTop+plotBottom+len(names)*laneHeight), scale{from: float64(len(names)), to: 0}, "roles over time")
	for i, name := range names {
		y := p.y.at(float64(i))
		p.text("tick end", p.x.start-8, y+17, name)
		p.lane(r, name, y)
	}
	return p.html()
}

// lane draws a node's times from one change to the next.
func (p *plot) lane(r *Report, node string, y float64) {
	var mine []RoleChange
	for _, c := range r.Roles {
		if c.Node == node && c.AtS < r.Seconds {
			mine = append(mine, c)
		}
	}
	for i, c := range mine {
		end := r.Seconds
		if i+1 < len(mine) {
			end = mine[i+1].AtS
		}
		label := c.State
		switch {
		case c.State == "live" && c.StandsInFor != "":
			label = c.Role + " for " + c.StandsInFor
		case c.State == "live":
			label = c.Role
		}
		x1, x2 := p.x.at(c.AtS), p.x.at(end)
		p.rect("lane "+laneClass(c), x1, y+3, x2, y+laneHeight-3, fmt.Sprintf("%s is %s, %s, epoch %d%s, %.2f s to %.2f s",
			node, c.Role, c.State, c.Epoch, standingIn(c.StandsInFor), c.AtS, end))
		if x2-x1 > 6.5*float64(len(label))+8 {
			p.text("lane-name", x1+6, y+17, label)
		}
	}
}

func laneClass(c RoleChange) string {
	switch {
	case c.State == "live" && c.StandsInFor != "":
		return "stand-in"
	case c.State == "live":
		return "live-" + c.Role
	}
	return c.State
}

// plotDistribution is latency by percentile; each step to the right is ten times as rare.
func (r *Report) plotDistribution() template.HTML {
	curve := r.Latency.Percentiles
	low, high, last := math.Inf(1), 0.0, 1.0
	points := make([]point, 0, len(curve))
	for _, c := range curve {
		low, high, last = min(low, c.MS), max(high, c.MS), max(last, nines(c.Percent))
		points = append(points, point{nines(c.Percent), c.MS})
	}
	if len(curve) == 0 {
		low, high = 1, 10
	}
	p := newPlot(260, scale{from: 0, to: last}, scale{from: max(low, 0.001) / 1.2, to: high * 1.2, log: true},
		"latency by percentile", "")
	ticks := []tick{{0, "0 %"}, {nines(50), "50 %"}}
	for n, label := range []string{"90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"} {
		if float64(n+1) <= last {
			ticks = append(ticks, tick{float64(n + 1), label})
		}
	}
	p.xAxis(ticks)
	p.yAxis(latencyTicks(p.y.from, p.y.to))
	p.area("distribution-area", points)
	p.line("distribution-line", points)
	for _, mark := range []struct{ percent, ms float64 }{{50, r.Latency.P50}, {99, r.Latency.P99}, {99.9, r.Latency.P999}} {
		if x := nines(mark.percent); x <= last {
			p.draw(`<circle class="mark" cx="%.1f" cy="%.1f" r="4"/>`, p.x.at(x), p.y.at(mark.ms))
			p.text("mark-name end", p.x.at(x)-7, p.y.at(mark.ms)-8, duration(mark.ms))
		}
	}
	return p.html()
}

// nines is how many times ten a percentile is rare: 90 is 1, 99 is 2.
func nines(percent float64) float64 { return -math.Log10(1 - percent/100) }
