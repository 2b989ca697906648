package loadtest

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	p := &printer{w: w}
	p.line("")
	p.line("  %s · %s via %s · %s", r.Workload, r.Format, r.Via, strings.Join(r.Tables, ", "))
	p.line("  %s", strings.Repeat("─", 66))
	p.field("throughput", "%s rows/s   %s MB/s of line protocol   %s writes/s",
		grouped(uint64(r.RowsPerS)), decimal(r.MegabytesPerS), grouped(uint64(r.WritesPerS)))
	p.field("acknowledged", "%s rows in %s writes, %.1f s", grouped(r.Rows), grouped(r.Writes), r.Seconds)
	p.field("latency", "p50 %s   p99 %s   p99.9 %s   max %s   (from %s)", duration(r.Latency.P50),
		duration(r.Latency.P99), duration(r.Latency.P999), duration(r.Latency.Max), r.Latency.From)
	p.counts("errors", r.Errors)
	if r.Example != "" {
		p.field("", "first: %s", r.Example)
	}
	if len(r.Retries) > 0 {
		p.counts("sent again", r.Retries)
	}
	if o := r.OpenLoop; o != nil {
		p.field("open loop", "%s rows/s offered, %s writes missed, backlog at most %s writes",
			grouped(uint64(o.RowsPerS)), grouped(o.Missed), grouped(o.BacklogPeak))
	}
	if d := r.Disk; d != nil {
		p.field("disk fsync", "p50 %s   p99 %s   max %s   (4 kB, %s samples)",
			duration(d.P50), duration(d.P99), duration(d.Max), grouped(uint64(d.Fsyncs)))
	}
	if b := r.Baseline; b != nil {
		p.field("bare NATS", "%s requests/s, p50 %s, p99 %s: writes reach %.2f of it",
			grouped(uint64(b.RequestsPerS)), duration(b.P50), duration(b.P99), b.Ratio)
	}
	p.setting(r)
	p.chaos(r)
	p.verified(r.Verified)
	p.line("")
	return p.err
}

// printer keeps the first error, so that a report is printed in one go and checked once.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) field(name, format string, args ...any) {
	p.line("  %-13s "+format, append([]any{name}, args...)...)
}

func (p *printer) counts(name string, counts map[string]uint64) {
	if len(counts) == 0 {
		p.field(name, "none")
		return
	}
	var parts []string
	for what, n := range counts {
		parts = append(parts, grouped(n)+" × "+what)
	}
	slices.Sort(parts)
	p.field(name, "%s", strings.Join(parts, "   "))
}

func (p *printer) setting(r *Report) {
	where := "running cluster"
	if r.Embedded {
		where = "embedded cluster, generator included"
	}
	p.field("setting", "%s writers × %d in flight, %s rows a write, identity %s",
		grouped(uint64(r.Writers)), r.InFlight, grouped(uint64(r.Batch)), r.Identity)
	transport := "NATS " + r.Transport
	if r.Via == "http" {
		transport = r.Transport
	}
	p.field("", "%s, %d CPUs, %s, nodes %s", where, r.CPUs, transport, strings.Join(r.Nodes, " "))
	if r.Reused != "" {
		p.field("rows", "%s", r.Reused)
	}
}

func (p *printer) verified(v *Verification) {
	if v == nil {
		return
	}
	mark := "✓ every acknowledged write is on every node exactly once"
	if !v.OK {
		mark = "✗ FAILED"
	}
	p.field("verified", "%s  (%.1f s)", mark, v.Seconds)
	p.field("", "nodes %s", strings.Join(v.Nodes, " "))
	if len(v.Skipped) > 0 {
		p.field("", "not asked: %s", strings.Join(v.Skipped, ", "))
	}
	var names []string
	for name := range v.Tables {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t, verdict := v.Tables[name], v.Verdict[name]
		p.field("", "%s: TxID %s to %s, %s rows, %s acknowledged, digest %.12s",
			name, grouped(t.Base+1), grouped(t.Head), grouped(t.Rows), grouped(uint64(t.Acked)), t.Digest)
		if verdict.UnknownStored+verdict.UnknownLost > 0 {
			p.field("", "  of unknown outcome: %d stored, %d not", verdict.UnknownStored, verdict.UnknownLost)
		}
		if t.Opaque > 0 {
			p.field("", "  %s writes compared by row count only: the cluster gave them their timestamps",
				grouped(uint64(t.Opaque)))
		}
		for _, violation := range verdict.Violations {
			p.field("", "  %s", violation)
		}
		if more := verdict.Count - len(verdict.Violations); more > 0 {
			p.field("", "  and %s more", grouped(uint64(more)))
		}
	}
}

// grouped prints a number with separators: 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func decimal(v float64) string {
	if v >= 100 {
		return grouped(uint64(v + 0.5))
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// duration prints milliseconds with about three digits.
func duration(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 1:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f µs", ms*1000)
}
