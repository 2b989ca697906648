package failover

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
)

// TestScripts runs the stories in testdata. Times are those since the story's beginning. A story has one failover
// instance, f1, unless it begins with more. Commands:
//
//	instances f1 f2                       before anything else
//	cluster                               the members: ID ROLE STATE [epoch=N] [lag=N], all heard and reachable
//	run for=D                             time passes; prints decisions and notes
//	node id=X [beats=no] [answers=yes|nobody|nothing] [lag=N] [state=S] [epoch=N]      what its process does
//	registers id=X                        its next process registers; the node beats again
//	live id=X, stopped id=X, draining id=X     the node says so to the sequencer
//	pause id=f1, continue id=f1           the instance's process is stopped
//	nats id=f1 off|on|half                its connection: lost, there again, half open
//	sequencer away|back, publications lost|back
//	topology
func TestScripts(t *testing.T) { tell(t, func(int) time.Duration { return 0 }) }

// TestClocksHoursApart: the same stories, with the same end, where every instance's clock tells another time.
func TestClocksHoursApart(t *testing.T) {
	for _, first := range []time.Duration{-7 * time.Hour, 5 * time.Hour} {
		tell(t, func(instance int) time.Duration { return first + time.Duration(instance)*3*time.Hour })
	}
}

// tell tells all stories to instances whose clocks are ahead of the world's.
func tell(t *testing.T, ahead func(instance int) time.Duration) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{world: &world{nodes: make(map[string]*node)}, ahead: ahead}
		s.start("f1")
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			run, ok := map[string]func(*datadriven.TestData){
				"instances": s.runInstances, "cluster": s.runCluster, "run": s.runRun, "node": s.runNode,
				"registers": s.runRegisters, "live": s.runState, "stopped": s.runState, "draining": s.runState,
				"pause": s.runPause, "continue": s.runContinue, "nats": s.runNATS, "sequencer": s.runSequencer,
				"publications": s.runPublications, "topology": s.runTopology,
			}[d.Cmd]
			if !ok {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			s.out.Reset()
			run(d)
			return s.out.String()
		})
	})
}

type script struct {
	*world
	ahead func(instance int) time.Duration
}

func (s *script) start(id string) {
	s.instances = append(s.instances, &instance{id: id, core: newCore(Config{ID: id}.withDefaults()),
		clock: s.ahead(len(s.instances))})
}

func (s *script) instance(d *datadriven.TestData) *instance {
	id := arg(d, "id", "f1")
	return s.instances[slices.IndexFunc(s.instances, func(i *instance) bool { return i.id == id })]
}

func arg(d *datadriven.TestData, key, fallback string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return fallback
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", text))
	}
	return n
}

func (s *script) runInstances(d *datadriven.TestData) {
	s.instances = nil
	for _, a := range d.CmdArgs {
		s.start(a.Key)
	}
}

func (s *script) runCluster(d *datadriven.TestData) {
	s.registry = api.Topology{Version: 10}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		n := api.Node{ID: f[0], Role: api.Role(f[1]), State: api.State(f[2]), Epoch: uint64(len(s.registry.Nodes) + 1)}
		p := &node{beats: true, answers: "yes", state: n.State}
		for _, option := range f[3:] {
			switch key, v, _ := strings.Cut(option, "="); key {
			case "epoch":
				n.Epoch = number(v)
			case "lag":
				p.lag = number(v)
			case "for":
				n.StandsInFor = v
			}
		}
		if p.epoch = n.Epoch; n.State == api.Dead || n.State == api.Stopped {
			p.beats, p.answers = false, "nobody"
		}
		s.registry.Nodes = append(s.registry.Nodes, n)
		s.nodes[n.ID] = p
	}
}

func (s *script) runRun(d *datadriven.TestData) {
	length, err := time.ParseDuration(arg(d, "for", ""))
	if err != nil {
		panic(err)
	}
	s.run(length)
}

func (s *script) runNode(d *datadriven.TestData) {
	n := s.nodes[arg(d, "id", "")]
	n.beats = arg(d, "beats", "yes") == "yes"
	n.answers = arg(d, "answers", "yes")
	n.lag = number(arg(d, "lag", fmt.Sprint(n.lag)))
	n.state = api.State(arg(d, "state", string(n.state)))
	n.epoch = number(arg(d, "epoch", fmt.Sprint(n.epoch)))
}

func (s *script) runRegisters(d *datadriven.TestData) { s.registers(arg(d, "id", "")) }

func (s *script) registers(id string) {
	var epoch uint64
	for _, n := range s.registry.Nodes {
		epoch = max(epoch, n.Epoch)
	}
	m := s.member(id)
	if m.StandsInFor != "" {
		m.Role, m.StandsInFor = api.Replica, ""
	}
	m.Epoch, m.State = epoch+1, api.Recovering
	s.nodes[id] = &node{beats: true, answers: "yes", state: api.Recovering, epoch: epoch + 1}
	s.changed()
}

func (s *script) runState(d *datadriven.TestData) { s.says(arg(d, "id", ""), api.State(d.Cmd)) }

// says is a node that tells the sequencer its state.
func (s *script) says(id string, state api.State) {
	m := s.member(id)
	m.State = state
	s.nodes[id].state = m.State
	switch m.State {
	case api.Live:
		for i := range s.registry.Nodes {
			if n := &s.registry.Nodes[i]; n.StandsInFor == id {
				n.Role, n.StandsInFor = api.Replica, ""
			}
		}
	case api.Stopped:
		s.nodes[id].beats, s.nodes[id].answers = false, "nobody"
		if m.StandsInFor != "" {
			m.Role, m.StandsInFor = api.Replica, ""
		}
	}
	s.changed()
}

func (s *script) runPause(d *datadriven.TestData)    { s.instance(d).paused = true }
func (s *script) runContinue(d *datadriven.TestData) { s.wake(s.instance(d)) }

func (s *script) runNATS(d *datadriven.TestData) {
	i := s.instance(d)
	switch {
	case d.HasArg("off"):
		i.link = -1
	case d.HasArg("on"):
		if i.link < 0 {
			i.link = int(s.now)
		}
		i.cutOff = false
	case d.HasArg("half"):
		i.cutOff = true
	}
}

func (s *script) runSequencer(d *datadriven.TestData)    { s.away = d.HasArg("away") }
func (s *script) runPublications(d *datadriven.TestData) { s.deaf = d.HasArg("lost") }

func (s *script) runTopology(*datadriven.TestData) {
	fmt.Fprintf(&s.out, "version %d\n", s.registry.Version)
	for _, n := range s.registry.Nodes {
		fmt.Fprintf(&s.out, "%s %s %s epoch %d", n.ID, n.Role, n.State, n.Epoch)
		if n.StandsInFor != "" {
			fmt.Fprintf(&s.out, ", stands in for %s", n.StandsInFor)
		}
		fmt.Fprintln(&s.out)
	}
}
