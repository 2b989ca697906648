//go:build unix

package processes

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell is a process that a supervisor keeps running: a line of shell.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	ev, err := NewStory(filepath.Join(t.TempDir(), "story.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess("x", t.TempDir(), ev, func() *exec.Cmd { return exec.Command("sh", "-c", script) })
	p.Start()
	t.Cleanup(func() {
		p.Kill()
		if err := ev.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func eventually(t *testing.T, ok func() error) {
	t.Helper()
	if err := Poll(t.Context(), time.Minute, ok); err != nil {
		t.Fatal(err)
	}
}

// TestAProcessThatEndsByItselfFailsTheRun: with the reason that it gave, unless the plan gives it that reason.
func TestAProcessThatEndsByItselfFailsTheRun(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"an error":         {"echo 'braid: disk on fire' >&2; exit 1", "braid: disk on fire"},
		"a panic":          {"printf 'ok\npanic: index\n\ngoroutine 1\n' >&2; exit 2", "panic: index"},
		"success":          {"echo 'braid: is fenced' >&2; exit 0", "<nil>"},
		"the wrong reason": {"echo 'braid: no rows is fenced, but' >&2; echo 'braid: lost' >&2; exit 1", "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			p := shell(t, c.script)
			p.Excuse("is fenced")
			eventually(t, func() error {
				if p.story.Err() == nil {
					return context.DeadlineExceeded
				}
				return nil
			})
			if got := p.story.Err().Error(); !strings.Contains(got, c.want) {
				t.Fatalf("%q does not say %q", got, c.want)
			}
		})
	}
}

// TestAnExcusedProcessIsStartedAgain: as a supervisor would.
func TestAnExcusedProcessIsStartedAgain(t *testing.T) {
	p := shell(t, "echo 'braid: connect to NATS at x: refused' >&2; exit 1")
	p.Excuse("connect to NATS at")
	eventually(t, func() error {
		if p.Excused("connect to NATS at") < 2 {
			return context.DeadlineExceeded
		}
		return nil
	})
	p.Kill()
	if err := p.story.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestAHitProcessStaysAway until it is started again, and a paused one can be killed.
func TestAHitProcessStaysAway(t *testing.T) {
	p := shell(t, "echo '{}'; exec sleep 600")
	ready := func() error {
		if !p.IsReady() {
			return context.DeadlineExceeded
		}
		return nil
	}
	eventually(t, ready)
	first := p.Current()
	p.Kill()
	if p.IsReady() || p.Current() != first {
		t.Fatal("runs after kill -9")
	}
	p.Start()
	eventually(t, ready)
	if p.Current() == first || p.Lives() != 2 {
		t.Fatalf("%d lives", p.Lives())
	}
	if !p.Stop(time.Minute) {
		t.Fatal("does not end on SIGTERM")
	}
	if err := p.story.Err(); err != nil {
		t.Fatal(err)
	}
}
