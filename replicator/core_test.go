package replicator

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestCoreScripts runs the stories in testdata/core. Times are milliseconds from the start. Commands:
//
//	start position=
//	hint at= [head=] [changed=] [looked]   answered at= head= records=
//	due at=                 what to read now; it becomes the request that answered, applied and failed are about
//	failed at=              applied at= position= [behind=] [lowest=] [ahead=]
//	damaged at= lowest= behind=
func TestCoreScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		w := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return w.run(t, d) })
	})
}

type script struct {
	core *core
	last request
}

var scriptStart = time.Unix(0, 0)

func (w *script) run(t *testing.T, d *datadriven.TestData) string {
	number := func(name string) (n uint64) {
		d.MaybeScanArgs(t, name, &n)
		return n
	}
	now := scriptStart.Add(time.Duration(number("at")) * time.Millisecond)
	switch d.Cmd {
	case "start":
		w.core = newCore(coreConfig{poll: 200 * time.Millisecond, backoffMin: 50 * time.Millisecond,
			backoffMax: time.Second, limit: 100}, number("position"), now)
	case "hint":
		w.core.hint(now, Hint{Head: number("head"), Changed: number("changed"), Looked: d.HasArg("looked")})
	case "due":
		r, ok := w.core.due(now)
		if !ok {
			return w.state()
		}
		w.last = r
		return fmt.Sprintf("read %d records from %d, again=%v", r.limit, r.from, r.again)
	case "answered":
		w.core.answered(now, w.last, number("head"), int(number("records")))
	case "applied":
		w.core.applied(now, w.last, progress{position: number("position"), behind: number("behind"),
			lowest: number("lowest"), ahead: number("ahead")})
	case "failed":
		w.core.failed(now, w.last)
	case "damaged":
		w.core.damaged(now, number("lowest"), number("behind"))
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return w.state()
}

func (w *script) state() string {
	lag := fmt.Sprint(w.core.lag())
	if w.core.lag() == lagUnknown {
		lag = "unknown"
	}
	return fmt.Sprintf("position %d, lag %s, wakes at %d", w.core.position, lag,
		w.core.wake().Sub(scriptStart).Milliseconds())
}
