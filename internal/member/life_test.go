package member_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/member"
)

// TestLifeScripts tells the stories in testdata/life, each of a process of node p1. Commands are events; what is printed
// is what the process does then, and what its heartbeats say. A topology is lines `id role state epoch`.
//
//	registered epoch= version=    the answer of the registry, with the topology in it
//	topology version=             one that was announced, or answered to a change of state
//	read version=                 one that was read
//	settled epoch=, caught-up epoch=, refused epoch=, said epoch= state=
//	primary-serves, primary-ended [fenced|error|unfinished]
//	leave, fail                   SIGTERM or drain; another part of the process has failed
func TestLifeScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/life", func(t *testing.T, path string) {
		l := member.NewLife("p1")
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			event(t, l, d)
			return consequences(l)
		})
	})
}

func event(t *testing.T, l *member.Life, d *datadriven.TestData) {
	switch d.Cmd {
	case "start":
	case "registered":
		l.Registered(api.RegisterNodeAnswer{Epoch: number(t, d, "epoch"), Topology: topology(t, d)})
	case "topology":
		l.Topology(topology(t, d))
	case "read":
		l.Read(topology(t, d))
	case "settled":
		l.Settled(number(t, d, "epoch"))
	case "caught-up":
		l.CaughtUp(number(t, d, "epoch"))
	case "refused":
		l.Refused(number(t, d, "epoch"))
	case "said":
		var state string
		d.ScanArgs(t, "state", &state)
		l.Said(number(t, d, "epoch"), api.State(state), api.Topology{})
	case "primary-serves":
		l.PrimaryServes()
	case "primary-ended":
		if d.HasArg("unfinished") {
			l.PrimaryGaveUp()
			return
		}
		var err error
		if d.HasArg("error") {
			err = errors.New("no space left on device")
		}
		l.PrimaryEnded(err, d.HasArg("fenced"))
	case "leave":
		l.Leave()
	case "fail":
		l.Failed(errors.New("replicator: sync failed"))
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
}

func number(t *testing.T, d *datadriven.TestData, name string) (n uint64) {
	d.ScanArgs(t, name, &n)
	return n
}

func topology(t *testing.T, d *datadriven.TestData) api.Topology {
	all := api.Topology{Version: number(t, d, "version")}
	for _, line := range strings.Split(d.Input, "\n") {
		var n api.Node
		if line == "" {
			continue
		}
		if _, err := fmt.Sscanf(line, "%s %s %s %d", &n.ID, &n.Role, &n.State, &n.Epoch); err != nil {
			d.Fatalf(t, "line %q: %v", line, err)
		}
		all.Nodes = append(all.Nodes, n)
	}
	return all
}

func consequences(l *member.Life) string {
	var out strings.Builder
	for _, a := range l.Take() {
		switch a.Kind {
		case member.DoRegister:
			fmt.Fprintf(&out, "register, replacing %d\n", a.Replaces)
		case member.DoSettle:
			fmt.Fprintf(&out, "settle what is older than %d\n", a.Epoch)
		case member.DoCatchUp:
			out.WriteString("catch up\n")
		case member.DoSay:
			fmt.Fprintf(&out, "say that %d is %s\n", a.Epoch, a.State)
		case member.DoStartPrimary:
			fmt.Fprintf(&out, "start to take writes under %d\n", a.Epoch)
		case member.DoDrainPrimary:
			out.WriteString("drain: finish what is admitted\n")
		case member.DoStopPrimary:
			out.WriteString("stop: answer what is open 503\n")
		case member.DoAsk:
			out.WriteString("read the topology\n")
		}
	}
	if s, speaking := l.Self(); speaking {
		fmt.Fprintf(&out, "heartbeat: %s %s %d", s.Role, s.State, s.Epoch)
	} else {
		out.WriteString("no heartbeat")
	}
	if ended, err := l.Ended(); ended {
		fmt.Fprintf(&out, "\nend: %v", err)
	}
	return out.String()
}
