//go:build unix

package faults

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell is a process that a supervisor keeps running: a line of shell.
func shell(t *testing.T, script string) *process {
	t.Helper()
	ev, err := newEvents(filepath.Join(t.TempDir(), "story.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: "x", logs: t.TempDir(), events: ev, excused: make(map[string]int),
		command: func() *exec.Cmd { return exec.Command("sh", "-c", script) }}
	p.Start()
	t.Cleanup(func() {
		p.Kill()
		if err := ev.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func eventually(t *testing.T, ok func() error) {
	t.Helper()
	if err := poll(t.Context(), time.Minute, ok); err != nil {
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
			p.excuse(saysFenced)
			eventually(t, func() error {
				if p.events.err() == nil {
					return context.DeadlineExceeded
				}
				return nil
			})
			if got := p.events.err().Error(); !strings.Contains(got, c.want) {
				t.Fatalf("%q does not say %q", got, c.want)
			}
		})
	}
}

// TestAnExcusedProcessIsStartedAgain: as a supervisor would.
func TestAnExcusedProcessIsStartedAgain(t *testing.T) {
	p := shell(t, "echo 'braid: connect to NATS at x: refused' >&2; exit 1")
	p.excuse("connect to NATS at")
	eventually(t, func() error {
		if p.excusedCount("connect to NATS at") < 2 {
			return context.DeadlineExceeded
		}
		return nil
	})
	p.Kill()
	if err := p.events.err(); err != nil {
		t.Fatal(err)
	}
}

// TestAHitProcessStaysAway until it is started again, and a paused one can be killed.
func TestAHitProcessStaysAway(t *testing.T) {
	p := shell(t, "echo '{}'; exec sleep 600")
	ready := func() error {
		if !p.isReady() {
			return context.DeadlineExceeded
		}
		return nil
	}
	eventually(t, ready)
	first := p.current()
	p.Kill()
	if p.isReady() || p.current() != first {
		t.Fatal("runs after kill -9")
	}
	p.Start()
	eventually(t, ready)
	if p.current() == first || p.lives != 2 {
		t.Fatalf("%d lives", p.lives)
	}
	if !p.Stop(time.Minute) {
		t.Fatal("does not end on SIGTERM")
	}
	if err := p.events.err(); err != nil {
		t.Fatal(err)
	}
}
