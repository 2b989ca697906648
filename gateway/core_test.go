package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
)

// script is what the scenario scripts share: a clock that their `at=` arguments (milliseconds)
// move.
type script struct{ start, now time.Time }

func newScript() script {
	t := time.Unix(1_700_000_000, 0)
	return script{t, t}
}

func (s *script) clock(t *testing.T, d *datadriven.TestData) time.Time {
	var ms float64
	if d.HasArg("at") {
		var text string
		d.ScanArgs(t, "at", &text)
		var err error
		if ms, err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(err)
		}
		s.now = s.start.Add(time.Duration(ms * float64(time.Millisecond)))
	}
	return s.now
}

func (s *script) ms(t time.Time) string {
	return strconv.FormatFloat(float64(t.Sub(s.start))/float64(time.Millisecond), 'f', -1, 64) + "ms"
}

func optional[T any](t *testing.T, d *datadriven.TestData, name string, def T) T {
	v := def
	if d.HasArg(name) {
		d.ScanArgs(t, name, &v)
	}
	return v
}

// TestI7_MergeScenarios runs testdata/merge: which writes share a group, and when it leaves.
// Commands:
//
//	config interval=MS writes=N identities=N bytes=N large=N
//	write id=NAME [table=T] [primary=P] [bytes=N] [key=N bytes]     groups that leave are printed
//	landed [table=T] [primary=P]
//	due at=MS
//	next
func TestI7_MergeScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/merge", func(t *testing.T, path string) {
		sc, names := newScript(), map[*write]string{}
		var m *merger
		key := func(t *testing.T, d *datadriven.TestData) mergeKey {
			return mergeKey{table: optional(t, d, "table", "cpu"), primary: optional(t, d, "primary", "")}
		}
		show := func(groups []*group) string {
			var b strings.Builder
			for _, g := range groups {
				fmt.Fprintf(&b, "leaves %s%s:", g.key.table, g.key.primary)
				for _, w := range g.writes {
					b.WriteString(" " + names[w])
				}
				b.WriteString("\n")
			}
			return b.String()
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			now := sc.clock(t, d)
			switch d.Cmd {
			case "config":
				m = newMerger(mergeConfig{
					interval:  time.Duration(optional(t, d, "interval", 1)) * time.Millisecond,
					writesMax: optional(t, d, "writes", 100), identityBytes: optional(t, d, "identities", 1000),
					groupBytes: optional(t, d, "bytes", 1000), largeBytes: optional(t, d, "large", 500),
				})
				return ""
			case "write":
				w := &write{key: key(t, d), bytes: optional(t, d, "bytes", 10)}
				w.meta.Key = strings.Repeat("k", optional(t, d, "key", 0))
				names[w] = optional(t, d, "id", "?")
				return show(m.add(now, w))
			case "landed":
				return show(m.landed(key(t, d)))
			case "due":
				return show(m.due(now))
			case "next":
				at, ok := m.next()
				if !ok {
					return fmt.Sprintf("nothing waits, %d keys\n", len(m.keys))
				}
				return sc.ms(at) + "\n"
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// TestI3_NumberingScenarios runs testdata/numbering: identities of groups and what is settled.
// Commands:
//
//	config open=N tables=N
//	next [table=T] [count=N]
//	close [table=T] sequence=N
func TestI3_NumberingScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/numbering", func(t *testing.T, path string) {
		var n *numbering
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			table := optional(t, d, "table", "cpu")
			switch d.Cmd {
			case "config":
				n = newNumbering("gw", 7, optional(t, d, "open", 4), optional(t, d, "tables", 2))
				return ""
			case "next":
				id, ok := n.next(table)
				for range optional(t, d, "count", 1) - 1 {
					id, ok = n.next(table)
				}
				if !ok {
					return "too many are open\n"
				}
				return fmt.Sprintf("%s/%d sequence %d settled %d\n", id.Producer, id.Epoch, id.Sequence, id.Settled)
			case "close":
				n.close(table, uint64(optional(t, d, "sequence", 0)))
				return fmt.Sprintf("%d tables, %d idle, floor %d\n", len(n.tables), n.idle.Len(), n.floor)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// TestI3_CourseScenarios runs testdata/course: where groups go, and what their writers are told.
// Commands:
//
//	config [max=N]
//	topology version=N        lines: id role state epoch [standsin=ID]
//	heartbeat at=MS           lines: id role state epoch [load=F] [free=N] [senders=N]
//	group id=NAME size=N [only=PRIMARY] [deadline=MS]
//	next id=NAME [at=MS]
//	ended id=NAME primary=P how=(answer|pending|silent|lost|overloaded|unavailable|invalid) [retry=MS]
//	open                      bytes that are unanswered
func TestI3_CourseScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/course", func(t *testing.T, path string) {
		sc, courses := newScript(), map[string]*course{}
		var r *router
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			now := sc.clock(t, d)
			id := optional(t, d, "id", "g")
			switch d.Cmd {
			case "config":
				r = newRouter(int64(optional(t, d, "max", 1000)))
			case "topology":
				topo := api.Topology{Version: uint64(optional(t, d, "version", 1))}
				for line := range strings.Lines(d.Input) {
					topo.Nodes = append(topo.Nodes, scriptNode(t, line))
				}
				r.setTopology(topo)
			case "heartbeat":
				for line := range strings.Lines(d.Input) {
					r.heard(scriptBeat(t, line), now)
				}
			case "group":
				courses[id] = &course{
					cfg: courseConfig{
						overloadWait: 200 * time.Millisecond, noneWait: 3 * time.Second,
						rest: 20 * time.Millisecond, pendingWait: 50 * time.Millisecond,
					},
					only: optional(t, d, "only", ""), size: optional(t, d, "size", 10),
					deadline: sc.start.Add(time.Duration(optional(t, d, "deadline", 10_000)) * time.Millisecond),
				}
			case "next":
				return showStep(&sc, courses[id].next(r, now))
			case "ended":
				return scriptEnd(t, d, r, courses[id], now)
			case "open":
				var b strings.Builder
				for _, p := range []string{"p1", "p2", "p3"} {
					if a := r.sent[p]; a != nil {
						fmt.Fprintf(&b, "%s: %d\n", p, a.open)
					}
				}
				return b.String()
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func showStep(sc *script, s step) string {
	switch {
	case s.err != nil:
		return showError(s.err)
	case s.primary != "":
		return fmt.Sprintf("send to %s, epoch %d\n", s.primary, s.epoch)
	}
	return "wait until " + sc.ms(s.wait) + "\n"
}

func showError(e *api.Error) string {
	retry := ""
	if e.RetryAfterMS > 0 {
		retry = fmt.Sprintf(" (retry after %d ms)", e.RetryAfterMS)
	}
	return fmt.Sprintf("give up: %d %s%s\n", e.Code, e, retry)
}

func scriptEnd(t *testing.T, d *datadriven.TestData, r *router, c *course, now time.Time) string {
	how, refusal := replyRefused, (*api.Error)(nil)
	switch optional(t, d, "how", "") {
	case "answer":
		how = replyAnswer
	case "pending":
		how = replyPending
	case "silent":
		how = replySilent
	case "lost":
		how = replyLost
	case "overloaded":
		refusal = api.OverloadedError(optional(t, d, "retry", 0), "no room")
	case "unavailable":
		refusal = api.Errorf(api.Unavailable, "the object store does not answer")
	case "invalid":
		refusal = api.Errorf(api.Invalid, "the group is damaged")
	default:
		t.Fatalf("unknown end in %s", d.Pos)
	}
	over, err := c.ended(r, now, optional(t, d, "primary", ""), how, refusal)
	switch {
	case err != nil:
		return showError(err)
	case over:
		return "over\n"
	}
	return "goes on\n"
}

func scriptNode(t *testing.T, line string) api.Node {
	f := strings.Fields(line)
	n := api.Node{ID: f[0], Role: api.Role(f[1]), State: api.State(f[2]), Epoch: uint64(scriptNumber(t, f[3]))}
	for _, arg := range f[4:] {
		n.StandsInFor = strings.TrimPrefix(arg, "standsin=")
	}
	return n
}

func scriptBeat(t *testing.T, line string) api.Heartbeat {
	f := strings.Fields(line)
	h := api.Heartbeat{
		ID: f[0], Role: api.Role(f[1]), State: api.State(f[2]), Epoch: uint64(scriptNumber(t, f[3])), FreeBytes: 1000,
	}
	for _, arg := range f[4:] {
		key, value, _ := strings.Cut(arg, "=")
		v := scriptNumber(t, value)
		switch key {
		case "load":
			h.Load = v
		case "free":
			h.FreeBytes = int64(v)
		case "senders":
			h.Senders = int(v)
		default:
			t.Fatalf("unknown argument %s", arg)
		}
	}
	return h
}

func scriptNumber(t *testing.T, s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
