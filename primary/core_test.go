package primary

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestCoreScenarios plays the scripts of testdata/core. Each reads as a story: a command is an event, the lines under
// it are what the core wants done. `-rewrite` makes the diff.
//
//	new [shards=1 inflight=3 interval=10ms segment=10000 admission=100000 copies=2 uploads=2 backlog=8]
//	group NAME [size=100] [shard=0] [sender=S] [wal]   arrives and is good
//	arrive NAME ...                               arrives
//	check NAME [err=REASON]                       is found good, or not
//	at TIME                                       time passes, to that moment since the start
//	durable N, putfailed N                        of segment N; at level wal also:
//	live NODE …                                   the other nodes that live from now on
//	synced N, held N NODE, holdfailed N NODE, stored N, confirmed N, confirmfailed N
//	answer [shard=0] [refuse=NAME] [pending] [wal] the sequencer answers the request under way
//	unknown [shard=0]                             it does not
//	fenced, disk, drain, giveup                   the epoch is fenced; a file failed; SIGTERM; the time for it is over
//	state                                         bytes and groups admitted, and what is open
func TestCoreScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		p := new(player)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return p.play(t, d)
		})
	})
}

type player struct {
	c       *core
	now     time.Duration
	names   map[*group]string
	groups  map[string]*group
	asked   map[int]*api.CommitRequest // the last that was sent
	heads   []uint64
	effects []effect
}

func (p *player) play(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "new":
		p.create(t, d)
	case "group":
		g := p.arrive(t, d)
		if g.stage == checking {
			p.c.check(p.now, g, nil)
		}
	case "arrive":
		p.arrive(t, d)
	case "check":
		p.check(t, d)
	case "at":
		at, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil || at < p.now {
			d.Fatalf(t, "time %s: %v", d.CmdArgs[0].Key, err)
		}
		p.now = at
		p.c.tick(p.now)
	case "durable", "putfailed", "synced", "held", "holdfailed", "stored", "confirmed", "confirmfailed":
		p.segment(t, d)
	case "live":
		p.c.live = nil
		for _, a := range d.CmdArgs {
			p.c.live = append(p.c.live, a.Key)
		}
	case "answer", "unknown":
		p.sequencer(t, d)
	case "fenced":
		p.c.stop(ErrFenced)
	case "disk":
		p.c.stop(errors.New("sync segment: input/output error"))
	case "drain":
		p.c.drain(p.now)
	case "giveup":
		p.c.stop(ErrDrainOver)
	case "state":
		return p.state()
	default:
		d.Fatalf(t, "unknown command")
	}
	return p.done()
}

func (p *player) create(t *testing.T, d *datadriven.TestData) {
	l := limits{node: "p1", epoch: 7, shards: 1, admissionBytes: 100000, segmentBytes: 10000, inFlight: 3,
		sealInterval: 10 * time.Millisecond, objectPatience: 5 * time.Second, commitPatience: 5 * time.Second,
		walCopies: 2, uploads: 2, backlogMax: 8, backlogBytes: 1 << 20}
	interval := l.sealInterval.String()
	d.MaybeScanArgs(t, "shards", &l.shards)
	d.MaybeScanArgs(t, "inflight", &l.inFlight)
	d.MaybeScanArgs(t, "segment", &l.segmentBytes)
	d.MaybeScanArgs(t, "admission", &l.admissionBytes)
	d.MaybeScanArgs(t, "interval", &interval)
	d.MaybeScanArgs(t, "copies", &l.walCopies)
	d.MaybeScanArgs(t, "uploads", &l.uploads)
	d.MaybeScanArgs(t, "backlog", &l.backlogMax)
	l.sealInterval, _ = time.ParseDuration(interval)
	l.walInterval = l.sealInterval
	*p = player{c: newCore(l), names: make(map[*group]string), groups: make(map[string]*group),
		asked: make(map[int]*api.CommitRequest), heads: make([]uint64, levels*l.shards)}
}

func (p *player) arrive(t *testing.T, d *datadriven.TestData) *group {
	g := &group{bytes: 100, writes: 1, length: 100}
	d.MaybeScanArgs(t, "size", &g.bytes)
	d.MaybeScanArgs(t, "shard", &g.shard)
	d.MaybeScanArgs(t, "sender", &g.sender)
	if d.HasArg("wal") {
		g.level = api.DurabilityWAL
	}
	name := d.CmdArgs[0].Key
	g.header = []byte(name)
	p.names[g], p.groups[name] = name, g
	p.c.arrive(g)
	return g
}

func (p *player) check(t *testing.T, d *datadriven.TestData) {
	var refusal *api.Error
	if d.HasArg("err") {
		var reason string
		d.ScanArgs(t, "err", &reason)
		refusal = api.Errorf(api.Invalid, "%s", reason)
	}
	p.c.check(p.now, p.groups[d.CmdArgs[0].Key], refusal)
}

func (p *player) segment(t *testing.T, d *datadriven.TestData) {
	var n uint64
	if _, err := fmt.Sscan(d.CmdArgs[0].Key, &n); err != nil {
		d.Fatalf(t, "segment: %v", err)
	}
	node := ""
	if len(d.CmdArgs) > 1 {
		node = d.CmdArgs[1].Key
	}
	switch d.Cmd {
	case "putfailed":
		p.c.putFailed(p.now, n)
		return
	case "held":
		p.c.held(p.now, n, node)
		return
	case "holdfailed":
		p.c.holdFailed(p.now, n, node)
		return
	case "stored":
		p.c.uploaded(p.now, n)
		return
	case "confirmed":
		p.c.confirmed(p.now, n)
		return
	case "confirmfailed":
		p.c.confirmFailed(p.now, n)
		return
	}
	offsets := make([]uint64, len(p.c.find(n).groups))
	for i := range offsets {
		offsets[i] = uint64(100 * (i + 1))
	}
	if d.Cmd == "synced" {
		p.c.synced(p.now, n, offsets)
		return
	}
	p.c.durable(p.now, n, offsets)
}

func (p *player) sequencer(t *testing.T, d *datadriven.TestData) {
	shard, refuse := 0, ""
	d.MaybeScanArgs(t, "shard", &shard)
	if d.HasArg("wal") {
		shard += p.c.shards // its lane
	}
	if d.Cmd == "unknown" {
		p.c.commitUnknown(p.now, shard)
		return
	}
	d.MaybeScanArgs(t, "refuse", &refuse)
	var answers []api.GroupAnswer
	for _, g := range p.asked[shard].Groups {
		if string(g.Header) == refuse {
			answers = append(answers, api.GroupAnswer{Err: api.OverloadedError(100, "too many answers kept")})
			continue
		}
		p.heads[shard]++
		answers = append(answers, api.GroupAnswer{Pending: d.HasArg("pending"),
			Writes: []api.Outcome{{Verdict: api.Accepted, TxID: p.heads[shard]}}})
	}
	p.c.committed(p.now, shard, answers)
}

func (p *player) state() string {
	next := "nothing"
	if at, ok := p.c.nextTick(); ok {
		next = at.String()
	}
	state := fmt.Sprintf("admitted %d bytes in %d groups", p.c.admitted, p.c.groups)
	flying, waiting := 0, 0
	for i := range p.c.levels {
		flying, waiting = flying+p.c.levels[i].flying, waiting+len(p.c.levels[i].waiting)
	}
	state += fmt.Sprintf(", %d segments in flight, %d waiting", flying, waiting)
	if b := p.c.backlog; b.segments > 0 {
		state += fmt.Sprintf(", backlog of %d segments", b.segments)
	}
	return fmt.Sprintf("%s, next tick %s\n", state, next)
}

// done prints what the core wants done.
func (p *player) done() string {
	p.effects = p.c.take(p.effects)
	var b strings.Builder
	for i := range p.effects {
		e := &p.effects[i]
		switch e.kind {
		case doAppend:
			fmt.Fprintf(&b, "append %s to segment %d\n", p.names[e.group], e.segment)
		case doSeal:
			fmt.Fprintf(&b, "seal segment %d (%s)\n", e.segment, e.reason)
		case doLaunch:
			fmt.Fprintf(&b, "make segment %d durable\n", e.segment)
		case doPut:
			fmt.Fprintf(&b, "put segment %d%s\n", e.segment, p.again(e.segment))
		case doHold:
			fmt.Fprintf(&b, "send segment %d to %s\n", e.segment, e.node)
		case doConfirm:
			fmt.Fprintf(&b, "confirm segment %d\n", e.segment)
		case doDrop:
			fmt.Fprintf(&b, "segment %d is settled, tell %v\n", e.segment, e.nodes)
		case doCommit:
			fmt.Fprintf(&b, "%s\n", p.describe(e))
			p.asked[e.lane] = e.request
		case doAnswer:
			fmt.Fprintf(&b, "answer %s: %s\n", p.names[e.group], told(e.answer))
		case doStop:
			fmt.Fprintf(&b, "stop: %v\n", e.err)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// again says whether a put is a repeat.
func (p *player) again(segment uint64) string {
	if s := p.c.find(segment); s != nil && s.putFailures > 0 {
		return " again"
	}
	return ""
}

func (p *player) describe(e *effect) string {
	again := ""
	if p.asked[e.lane] == e.request {
		again = " again"
	}
	var groups []string
	for _, g := range e.request.Groups {
		held := ""
		if g.State == api.Pending {
			held = fmt.Sprintf(" pending, held by %v", g.Holders)
		}
		groups = append(groups, fmt.Sprintf("%s@%d+%d%s", g.Header, g.Segment, g.Offset, held))
	}
	return fmt.Sprintf("commit shard %d%s: %s", e.shard, again, strings.Join(groups, " "))
}

func told(a api.GroupAnswer) string {
	if a.Err != nil {
		return fmt.Sprintf("%d %s", a.Err.Code, a.Err.Error())
	}
	var ids []string
	for _, w := range a.Writes {
		ids = append(ids, fmt.Sprint(w.TxID))
	}
	return "TxID " + strings.Join(ids, " ")
}

// TestI7_RequestsStayWithinTheirBounds: a shard's request has at most CommitGroupsMax groups and CommitBytesMax bytes,
// however much has become durable meanwhile, and one group is always sent.
func TestI7_RequestsStayWithinTheirBounds(t *testing.T) {
	for _, header := range []int{10, 3000, 200 << 10, 300 << 10} {
		c := newCore(limits{node: "p1", epoch: 1, shards: 1, admissionBytes: 1 << 40, segmentBytes: 1 << 40, inFlight: 1})
		for range 2000 {
			g := &group{bytes: 1, writes: 1, header: make([]byte, header)}
			c.arrive(g)
			c.check(0, g, nil)
		}
		sent := 0
		var effects []effect
		for i := 0; c.groups > 0; i++ {
			effects = c.take(effects)
			for _, e := range effects {
				switch e.kind {
				case doLaunch:
					c.durable(0, e.segment, make([]uint64, len(c.find(e.segment).groups)))
				case doCommit:
					checkBounds(t, e.request)
					sent += len(e.request.Groups)
					c.committed(0, 0, make([]api.GroupAnswer, len(e.request.Groups)))
				}
			}
		}
		if sent != 2000 {
			t.Fatalf("%d of 2000 groups were committed", sent)
		}
	}
}

func checkBounds(t *testing.T, r *api.CommitRequest) {
	t.Helper()
	bytes := 0
	for i := range r.Groups {
		bytes += r.Groups[i].Size()
	}
	n := len(r.Groups)
	if n < 1 || n > api.CommitGroupsMax || n > 1 && bytes > api.CommitBytesMax {
		t.Fatalf("a request with %d groups and %d bytes", n, bytes)
	}
	if !slices.IsSortedFunc(r.Groups, func(a, b api.CommitGroup) int { return int(a.Segment) - int(b.Segment) }) {
		t.Fatal("groups are not in the order of their segments")
	}
}
