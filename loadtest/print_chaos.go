package loadtest

import (
	"fmt"
	"strings"
)

// chaos prints the timeline, each fault and what came of all.
func (p *printer) chaos(r *Report) {
	c := r.Chaos
	if c == nil {
		return
	}
	line, most, columnS := r.Timeline.spark()
	p.line("")
	p.field("chaos", "%s", c.Plan)
	p.field("rows/s", "%s  █ = %s, a column %s", line, grouped(uint64(most)), duration(columnS*1000))
	p.field("", "%s", c.marks(columnS, len([]rune(line))))
	for _, f := range c.Faults {
		p.fault(&f, c)
	}
	for _, s := range c.ByKind {
		p.summary(s)
	}
	if c.All != nil {
		p.summary(*c.All)
	}
	p.roles(r.Roles)
}

// marks has the first letter of each fault below the timeline, and a dot from it until its victim is back.
func (c *Chaos) marks(columnS float64, width int) string {
	marks := []rune(strings.Repeat(" ", width))
	for _, f := range c.Faults {
		end := f.AtS + f.LastsS
		if f.Back != nil {
			end += *f.Back / 1000
		}
		for at := f.AtS; at <= end; at += columnS {
			if i := int(at / columnS); i < width {
				marks[i] = '·'
			}
		}
		if i := int(f.AtS / columnS); i < width {
			marks[i] = rune(f.Kind[0])
		}
	}
	return strings.TrimRight(string(marks), " ")
}

func (p *printer) fault(f *Fault, c *Chaos) {
	all := "not every writer had an acknowledgement again"
	if f.AllWriters != nil {
		all = "all writers answered after " + duration(*f.AllWriters)
	}
	p.field(fmt.Sprintf("%8.1f s", f.AtS), "%s %s for %s: %s, longest gap %s", f.Kind, f.Target,
		duration(f.LastsS*1000), all, duration(f.Gap))
	p.field("", "slowest write %s, afterwards %s; %d writers waited over %s", duration(f.Slowest),
		duration(f.SlowestBack), f.Noticed, duration(c.NoticeMS))
	if f.OnIt != nil {
		p.field("", "the %s on it %s; the %s on others %s", grouped(uint64(f.OnIt.Writers)), f.OnIt.text(),
			grouped(uint64(f.Others.Writers)), f.Others.text())
	}
	var then []string
	if f.Dead != nil {
		then = append(then, "declared dead after "+duration(*f.Dead))
	}
	if f.Promoted != nil {
		then = append(then, f.StandIn+" promoted after "+duration(*f.Promoted))
	}
	if f.Back != nil {
		then = append(then, f.Target+" reinstated "+duration(*f.Back)+" after the fault's end")
	}
	if len(then) > 0 {
		p.field("", "%s", strings.Join(then, ", "))
	}
}

func (w *Writers) text() string {
	after := "not all answered"
	if w.Acknowledged != nil {
		after = "answered after " + duration(*w.Acknowledged)
	}
	return fmt.Sprintf("%s (slowest write %s)", after, duration(w.Slowest))
}

// summary is a table of what came of the faults of a kind.
func (p *printer) summary(s FaultSummary) {
	p.field("", "%-44s %9s %9s %9s", grouped(uint64(s.Faults))+" × "+s.Kind, "p50", "p99", "max")
	p.spread("every writer acknowledged again", s.AllWriters)
	p.spread("of them those on that primary", s.OnIt)
	p.spread("and those on others", s.Others)
	p.spread("slowest write of those on others", s.OthersSlowest)
	p.spread("longest gap in all writers' throughput", s.Gap)
	p.spread("replica promoted", s.Promoted)
	p.spread("victim reinstated, from the fault's end", s.Back)
}

func (p *printer) spread(name string, s Spread) {
	if s.Count > 0 {
		p.field("", "  %-42s %9s %9s %9s", name, duration(s.P50), duration(s.P99), duration(s.Max))
	}
}

// rolesPrinted bounds the role changes on paper; the JSON report has all.
const rolesPrinted = 60

func (p *printer) roles(roles []RoleChange) {
	name := "roles"
	for i, r := range roles {
		if i == rolesPrinted {
			p.field("", "and %d more", len(roles)-i)
			return
		}
		p.field(name, "%7.2f s  %s is %s, %s, epoch %d%s", r.AtS, r.Node, r.Role, r.State, r.Epoch,
			standingIn(r.StandsInFor))
		name = ""
	}
}
