package loadtest

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-551dd829/braid/internal/history"
)

// Report is what a run found. Its JSON form is stable: fields are added, not changed.
type Report struct {
	Started  time.Time `json:"started"`
	Version  string    `json:"version"`
	Workload string    `json:"workload"`
	Format   string    `json:"format"`
	Via      string    `json:"via"`
	Identity string    `json:"identity"`
	// Durability that the writes asked for, "" for what the gateway takes.
	Durability string `json:"durability,omitempty"`
	// Transport between harness and NATS: in-process or TCP. The embedded cluster's own services use the same.
	Transport   string   `json:"transport"`
	Embedded    bool     `json:"embedded"`
	CPUs        int      `json:"cpus"` // the load generator's share included, when embedded
	Machine     Machine  `json:"machine"`
	Tables      []string `json:"tables"`
	Nodes       []string `json:"nodes"`
	Writers     int      `json:"writers"`
	InFlight    int      `json:"in_flight"`
	Connections int      `json:"connections"`
	Batch       int      `json:"batch"`
	// Reused says how far the content repeats, "" if it does not.
	Reused string `json:"reused,omitempty"`

	Seconds       float64 `json:"seconds"`
	Writes        uint64  `json:"writes"` // acknowledged
	Rows          uint64  `json:"rows"`   // acknowledged
	WritesPerS    float64 `json:"writes_per_second"`
	RowsPerS      float64 `json:"rows_per_second"`
	LineProtocol  uint64  `json:"line_protocol_bytes"` // of the acknowledged rows, whatever was sent
	MegabytesPerS float64 `json:"line_protocol_mb_per_second"`

	Latency Latency `json:"latency"`
	// Errors by code, as writers were told in the end; Retries are attempts that the SDK made again.
	Errors  map[string]uint64 `json:"errors"`
	Example string            `json:"example_error,omitempty"`
	Retries map[string]uint64 `json:"retries"`

	OpenLoop *OpenLoop     `json:"open_loop,omitempty"`
	Disk     *DiskReport   `json:"disk,omitempty"`
	Baseline *Baseline     `json:"baseline,omitempty"`
	Verified *Verification `json:"verified,omitempty"`
	Chaos    *Chaos        `json:"chaos,omitempty"`

	Timeline Timeline `json:"timeline"`
	// Roles begins with every node as it was at the start.
	Roles []RoleChange `json:"roles"`
}

// Latency of acknowledged writes in milliseconds, from an HdrHistogram with three significant digits.
type Latency struct {
	From string  `json:"from"` // what it counts from: "sent" or "intended time"
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
	// Percentiles are the whole distribution, closer together the rarer they are.
	Percentiles []Percentile `json:"percentiles"`
}

// Percentile is the latency that so many percent of the writes did not exceed.
type Percentile struct {
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// OpenLoop says whether the harness kept its rate.
type OpenLoop struct {
	RowsPerS    float64 `json:"offered_rows_per_second"`
	Missed      uint64  `json:"missed_writes"` // given up because the backlog was full
	BacklogPeak uint64  `json:"backlog_peak_writes"`
}

// DiskReport is the data disk's own fsync in the same run, 4 kB at a time.
type DiskReport struct {
	Fsyncs int     `json:"fsyncs"`
	P50    float64 `json:"fsync_p50_ms"`
	P99    float64 `json:"fsync_p99_ms"`
	Max    float64 `json:"fsync_max_ms"`
}

// Baseline is bare NATS request-reply, measured in the same run with as many writers and the same payloads.
type Baseline struct {
	Seconds      float64 `json:"seconds"`
	RequestsPerS float64 `json:"requests_per_second"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	Ratio        float64 `json:"ratio"` // writes a second of the run over requests a second
}

// Verification is what the nodes were found to hold.
type Verification struct {
	OK      bool     `json:"ok"`
	Seconds float64  `json:"seconds"`
	Nodes   []string `json:"nodes"`
	// Skipped are nodes that are neither live, draining nor recovering.
	Skipped []string                   `json:"skipped,omitempty"`
	Tables  map[string]TableVerified   `json:"tables"`
	Verdict map[string]history.Verdict `json:"verdict"` // by table
}

// TableVerified is one table's part.
type TableVerified struct {
	Base    uint64 `json:"base"` // head before the run
	Head    uint64 `json:"head"` // head after it
	Rows    uint64 `json:"rows"` // read back from each node
	Acked   int    `json:"acknowledged_writes"`
	Opaque  int    `json:"counted_only"` // of them without a known content: server-side timestamps
	Refused int    `json:"conflicts"`
	Digest  string `json:"digest"` // equal on all nodes
}

func ms(microseconds int64) float64 { return float64(microseconds) / 1000 }

func latencyOf(h *hdrhistogram.Histogram, from string) Latency {
	return Latency{From: from, P50: ms(h.ValueAtQuantile(50)), P99: ms(h.ValueAtQuantile(99)),
		P999: ms(h.ValueAtQuantile(99.9)), Max: ms(h.Max()), Percentiles: percentilesOf(h)}
}

// percentilesOf has twenty values for each nine, up to the rarest that the histogram can tell.
func percentilesOf(h *hdrhistogram.Histogram) (list []Percentile) {
	for i := 0; h.TotalCount() > 0; i++ {
		rare := math.Pow(10, -float64(i)/20)
		if rare*float64(h.TotalCount()) < 1 {
			break
		}
		percent := 100 * (1 - rare)
		list = append(list, Percentile{percent, ms(h.ValueAtQuantile(percent))})
	}
	return list
}

// sum adds the workers up.
func (r *Report) sum(workers []*worker, latency *latencies, elapsed time.Duration) {
	r.Errors = map[string]uint64{}
	for _, w := range workers {
		r.Writes += w.writes
		r.Rows += w.rows
		r.LineProtocol += w.bytes
		for name, n := range w.errors {
			r.Errors[name] += n
		}
		if r.Example == "" && w.example != nil {
			r.Example = w.example.Error()
		}
	}
	from := "sent"
	if r.OpenLoop != nil {
		from = "intended time"
	}
	r.Latency = latencyOf(latency.sum(), from)
	r.Timeline = latency.timeline(elapsed)
	r.Seconds = elapsed.Seconds()
	if r.Seconds > 0 {
		r.WritesPerS = float64(r.Writes) / r.Seconds
		r.RowsPerS = float64(r.Rows) / r.Seconds
		r.MegabytesPerS = float64(r.LineProtocol) / 1e6 / r.Seconds
	}
}

func (r *Report) writeJSON(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
