//go:build unix

package processes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// restartPause is a supervisor's patience before it starts again what ended by itself.
const restartPause = 200 * time.Millisecond

// Process is one service and its supervisor: while it is wanted, it is started whenever it has ended. Whoever hits it
// holds no other hit of it at the same time.
type Process struct {
	name    string
	command func() *exec.Cmd
	logs    string // folder; every life of the process has a file there
	story   *Story
	// ready waits until the process can be used, nil for one that prints a line of JSON then.
	ready func(context.Context) error

	mu     sync.Mutex
	wanted bool
	lives  int
	last   *Life
	ended  chan struct{} // closed when the supervisor has ended, nil before the first start
	// mayEnd are words of the last line of a process that ends by itself and may.
	mayEnd []string
	// excused is how often it has ended with each of these words.
	excused map[string]int
}

func newProcess(name, logs string, story *Story, command func() *exec.Cmd) *Process {
	return &Process{name: name, command: command, logs: logs, story: story, excused: make(map[string]int)}
}

// Name is what the process is called in the cluster.
func (p *Process) Name() string { return p.name }

// Start makes the supervisor keep the process running. It returns at once.
func (p *Process) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted, p.ended = true, make(chan struct{})
	go p.supervise(p.ended)
}

func (p *Process) supervise(ended chan struct{}) {
	defer close(ended)
	for {
		l, err := p.spawn()
		if err != nil {
			p.story.Fail("%s: %w", p.name, err)
			return
		}
		if l == nil {
			return
		}
		select {
		case <-l.done:
		case <-l.released:
			return
		}
		p.mu.Lock()
		wanted := p.wanted
		p.mu.Unlock()
		if !wanted {
			return
		}
		p.judge(l)
		<-time.After(restartPause)
	}
}

// spawn returns nil if the process is not wanted any more.
func (p *Process) spawn() (*Life, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted {
		return nil, nil
	}
	p.lives++
	log, err := os.Create(filepath.Join(p.logs, fmt.Sprintf("%s-%02d.log", p.name, p.lives)))
	if err != nil {
		return nil, err
	}
	l := &Life{cmd: p.command(), log: log, ready: make(chan struct{}), done: make(chan struct{}),
		released: make(chan struct{})}
	l.cmd.Stderr = log
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	p.last = l
	p.story.Add("%s started, pid %d", p.name, l.cmd.Process.Pid)
	go p.follow(l, stdout)
	return l, nil
}

// follow reads the ready line and waits for the end.
func (p *Process) follow(l *Life, stdout io.Reader) {
	defer close(l.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := bufio.NewReader(stdout)
	if p.ready != nil {
		go func() {
			if p.ready(ctx) == nil {
				p.isUp(l)
			}
		}()
	} else if line, err := lines.ReadBytes('\n'); err == nil && json.Valid(line) {
		p.isUp(l)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		p.story.Add("%s: stdout: %v", p.name, err)
	}
	l.err = l.cmd.Wait()
	if err := l.log.Close(); err != nil {
		p.story.Fail("%s: %w", p.name, err)
	}
}

func (p *Process) isUp(l *Life) {
	p.story.Add("%s is ready", p.name)
	close(l.ready)
}

// judge decides whether a process may have ended by itself.
func (p *Process) judge(l *Life) {
	last, err := l.LastWords()
	if err != nil {
		p.story.Fail("%s: %w", p.name, err)
		return
	}
	p.story.Add("%s ended by itself: %v: %s", p.name, l.err, last)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, words := range p.mayEnd {
		if l.err != nil && strings.Contains(last, words) {
			p.excused[words]++
			return
		}
	}
	p.story.Fail("%s ended by itself, for a reason that nothing here gave it: %v: %s", p.name, l.err, last)
}

// Excuse lets the process end by itself, from now on, if its last line has these words.
func (p *Process) Excuse(words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mayEnd = append(p.mayEnd, words)
}

// Excused is how often the process has ended by itself with these words.
func (p *Process) Excused(words string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.excused[words]
}

// Lives is how often the process was started.
func (p *Process) Lives() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// Current is the process's last life, nil before the first.
func (p *Process) Current() *Life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// IsReady says whether the process runs and has said that it is ready.
func (p *Process) IsReady() bool {
	l := p.Current()
	return l != nil && !isClosed(l.done) && isClosed(l.ready)
}

// Kill is kill -9. It returns when the process has gone and nothing starts it again.
func (p *Process) Kill() {
	if l := p.unwant(); l != nil {
		p.Signal(l, syscall.SIGKILL)
	}
	p.awaitEnd(nil)
}

// Stop is SIGTERM. It reports whether the process has ended in time; if not, it is killed.
func (p *Process) Stop(patience time.Duration) bool {
	if l := p.unwant(); l != nil {
		p.Signal(l, syscall.SIGTERM)
	}
	if p.awaitEnd(time.After(patience)) {
		return true
	}
	p.Kill()
	return false
}

// Leave tells the process to end in another way than by a signal. It reports whether it has ended in time with status
// 0; if not, it is killed.
func (p *Process) Leave(tell func() error, patience time.Duration) error {
	l := p.unwant()
	err := tell()
	if err == nil && !p.awaitEnd(time.After(patience)) {
		err = fmt.Errorf("%s did not end within %s", p.name, patience)
	}
	if err != nil {
		p.Kill()
		return err
	}
	if l.err != nil {
		last, err := l.LastWords()
		return errors.Join(fmt.Errorf("%s was told to leave and ended with %w: %s", p.name, l.err, last), err)
	}
	return nil
}

// Pause is SIGSTOP for the process's current life, which Resume wakes.
func (p *Process) Pause() *Life {
	l := p.Current()
	p.Signal(l, syscall.SIGSTOP)
	return l
}

// Resume is SIGCONT for a life that was paused.
func (p *Process) Resume(l *Life) { p.Signal(l, syscall.SIGCONT) }

// Release takes the last life out of the supervisor's care, which ends: Start begins another beside it.
func (p *Process) Release() *Life {
	l := p.unwant()
	close(l.released)
	p.awaitEnd(nil)
	return l
}

// unwant ends the supervisor once the process has ended, and returns its last life, nil if it has had none.
func (p *Process) unwant() *Life {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	return p.last
}

// awaitEnd waits until the supervisor has ended, and says whether it has.
func (p *Process) awaitEnd(late <-chan time.Time) bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return true
	}
	select {
	case <-ended:
		return true
	case <-late:
		return false
	}
}

// Signal is for hits; a process that has ended already needs none.
func (p *Process) Signal(l *Life, s syscall.Signal) {
	p.story.Add("%s: %s", p.name, signalName(s))
	if err := l.cmd.Process.Signal(s); err != nil {
		p.story.Add("%s: %v", p.name, err)
	}
}

func signalName(s syscall.Signal) string {
	switch s {
	case syscall.SIGKILL:
		return "kill -9"
	case syscall.SIGSTOP:
		return "SIGSTOP"
	case syscall.SIGCONT:
		return "SIGCONT"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return fmt.Sprint("signal ", int(s))
}
