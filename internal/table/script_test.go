package table

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/disk"
)

// TestApplyScripts runs the stories in testdata/apply. Commands:
//
//	log               lines `table first-last [pending|void|confirmed]`: the shard's log from index 1 on, as it is now
//	apply from= to=   [held=(index,…)]
//	state             the position, where a restart would begin, tables
//	checkpoint, crash crash: what was not synced is lost
func TestApplyScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/apply", func(t *testing.T, path string) {
		w := &world{mem: disk.NewMemory()}
		w.s = open(t, w.mem)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return w.run(t, d) })
	})
}

type world struct {
	mem *disk.Memory
	s   *Store
	log []api.LogRecord
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "log":
		w.log = parseLog(t, d.Input)
		return ""
	case "apply":
		return w.apply(t, d)
	case "checkpoint":
		if err := w.s.Checkpoint(); err != nil {
			return err.Error()
		}
		return w.state()
	case "crash":
		w.mem.Crash()
		w.s = open(t, w.mem)
		return w.state()
	case "state":
		return w.state()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (w *world) apply(t *testing.T, d *datadriven.TestData) string {
	var from, to int
	d.ScanArgs(t, "from", &from)
	d.ScanArgs(t, "to", &to)
	held := make([]error, to-from+1)
	if d.HasArg("held") {
		var at int
		d.ScanArgs(t, "held", &at)
		held[at-from] = errors.New("not here")
	}
	done, err := w.s.Apply(0, w.log[from-1:to], held)
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprintf("applied %d records, %d TxIDs, %d rows\n", done.Records, done.TxIDs, done.Rows)
	for _, gap := range done.Gaps {
		out += gap.Error() + "\n"
	}
	return out + w.state()
}

func (w *world) state() string {
	restart := w.s.Position(0)
	if at, ok := w.s.Stalled(0, 0); ok {
		restart = min(restart, at-1)
	}
	out := fmt.Sprintf("position %d, after a restart %d", w.s.Position(0), restart)
	for at, ok := w.s.Stalled(0, 0); ok; at, ok = w.s.Stalled(0, at+1) {
		out += fmt.Sprintf(", stalled at %d", at)
	}
	if n := w.s.Behind(0); n > 0 {
		out += fmt.Sprintf(", %d behind", n)
	}
	for _, n := range w.s.Tables() {
		out += fmt.Sprintf("\n%s applied %d, %d rows", n.Name, n.Applied, n.Rows)
	}
	return out
}

func parseLog(t *testing.T, input string) (log []api.LogRecord) {
	for i, line := range strings.Split(input, "\n") {
		fields := strings.Fields(line)
		var first, last uint64
		if _, err := fmt.Sscanf(fields[1], "%d-%d", &first, &last); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		n := last - first + 1
		r := api.LogRecord{Index: uint64(i + 1), Table: fields[0], First: first, Writes: uint32(n), Rows: 10 * n,
			Segment: api.SegmentID{Node: "p1", Epoch: 1, Sequence: 1}, State: api.Confirmed}
		if len(fields) > 2 {
			r.State = map[string]api.RecordState{"pending": api.Pending, "void": api.Void}[fields[2]]
		}
		log = append(log, r)
	}
	return log
}
