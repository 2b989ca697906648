//go:build unix

package processes

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Life is one life of a process.
type Life struct {
	cmd   *exec.Cmd
	stdin io.Closer // a child ends when its parent has: it reads this to its end
	log   *os.File  // its stderr
	ready chan struct{}
	done  chan struct{}
	err   error // of Wait, once done is closed
	// released is closed when the supervisor shall not care for this life any more.
	released chan struct{}
}

// Done is closed when this life has ended.
func (l *Life) Done() <-chan struct{} { return l.done }

// Err is how a life ended that is done: nil for status 0.
func (l *Life) Err() error { return l.err }

// LastWords is what a life that has ended said at last.
func (l *Life) LastWords() (string, error) {
	text, err := os.ReadFile(l.log.Name())
	return lastLine(string(text)), err
}

// lastLine is a log's last word: the error that ended the process, or the first line of its panic.
func lastLine(text string) string {
	for _, word := range []string{"panic: ", "fatal error: "} {
		if i := strings.Index(text, word); i >= 0 {
			text, _, _ = strings.Cut(text[i:], "\n")
			return text
		}
	}
	text = strings.TrimRight(text, "\n")
	if i := strings.LastIndex("\n"+text, "\nbraid: "); i >= 0 { // its error, which may take several lines
		return strings.ReplaceAll(text[i:], "\n", "; ")
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Stopped says whether every thread of a paused process has stopped: SIGSTOP does not wait for them. It needs /proc.
func (l *Life) Stopped() error {
	pid := l.cmd.Process.Pid
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("process %d has no threads in /proc: %w", pid, err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// pid (name) state …; the name may hold anything
		if _, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " "); state[0] != 'T' {
			return fmt.Errorf("%s: state %.1s", path, state)
		}
	}
	return nil
}
