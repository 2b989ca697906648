//go:build unix

package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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

// process is one service and its supervisor: while it is wanted, it is started whenever it has ended, as systemd
// would. Whoever hits it holds no other hit of it at the same time.
type process struct {
	name    string
	command func() *exec.Cmd
	logs    string // folder; every life of the process has a file there
	events  *events
	// ready waits until the process can be used, nil for one that prints a line of JSON then.
	ready func(context.Context) error

	mu     sync.Mutex
	wanted bool
	lives  int
	run    *running      // the last one
	ended  chan struct{} // closed when the supervisor has ended
	// mayEnd are words of the last line of a process that ends by itself and may.
	mayEnd []string
	// excused is how often it has ended with each of these words.
	excused map[string]int
}

// running is one life of a process.
type running struct {
	cmd   *exec.Cmd
	stdin io.Closer // a child ends when its parent has: it reads this to its end
	log   *os.File  // its stderr
	ready chan struct{}
	done  chan struct{}
	err   error // of Wait, once done is closed
	// released is closed when the supervisor shall not care for this life any more.
	released chan struct{}
}

// Start makes the supervisor keep the process running.
func (p *process) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted, p.ended = true, make(chan struct{})
	go p.supervise(p.ended)
}

func (p *process) supervise(ended chan struct{}) {
	defer close(ended)
	for {
		r, err := p.spawn()
		if err != nil {
			p.events.fail("%s: %v", p.name, err)
			return
		}
		if r == nil {
			return
		}
		select {
		case <-r.done:
		case <-r.released:
			return
		}
		p.mu.Lock()
		wanted := p.wanted
		p.mu.Unlock()
		if !wanted {
			return
		}
		p.judge(r)
		<-time.After(restartPause)
	}
}

// spawn returns nil if the process is not wanted any more.
func (p *process) spawn() (*running, error) {
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
	r := &running{cmd: p.command(), log: log, ready: make(chan struct{}), done: make(chan struct{}),
		released: make(chan struct{})}
	r.cmd.Stderr = log
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r.stdin = stdin
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	p.run = r
	p.events.add("%s started, pid %d", p.name, r.cmd.Process.Pid)
	go p.follow(r, stdout)
	return r, nil
}

// follow reads the ready line and waits for the end.
func (p *process) follow(r *running, stdout io.Reader) {
	defer close(r.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := bufio.NewReader(stdout)
	if p.ready != nil {
		go func() {
			if p.ready(ctx) == nil {
				p.isUp(r)
			}
		}()
	} else if line, err := lines.ReadBytes('\n'); err == nil && json.Valid(line) {
		p.isUp(r)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		p.events.add("%s: stdout: %v", p.name, err)
	}
	r.err = r.cmd.Wait()
	if err := r.log.Close(); err != nil {
		p.events.fail("%s: %w", p.name, err)
	}
}

func (p *process) isUp(r *running) {
	p.events.add("%s is ready", p.name)
	close(r.ready)
}

// judge decides whether a process may have ended by itself.
func (p *process) judge(r *running) {
	last, err := r.lastWords()
	if err != nil {
		p.events.fail("%s: %v", p.name, err)
		return
	}
	p.events.add("%s ended by itself: %v: %s", p.name, r.err, last)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, words := range p.mayEnd {
		if r.err != nil && strings.Contains(last, words) {
			p.excused[words]++
			return
		}
	}
	p.events.fail("%s ended by itself, for a reason that the plan does not give: %v: %s", p.name, r.err, last)
}

// lastWords is what a life that has ended said at last.
func (r *running) lastWords() (string, error) {
	text, err := os.ReadFile(r.log.Name())
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

// excuse lets the process end by itself, from now on, if its last line has these words.
func (p *process) excuse(words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mayEnd = append(p.mayEnd, words)
}

func (p *process) excusedCount(words string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.excused[words]
}

// Kill is kill -9. It returns when the process has gone and nothing starts it again.
func (p *process) Kill() {
	if r := p.unwant(); r != nil {
		p.signal(r, syscall.SIGKILL)
	}
	<-p.ended
}

// Stop is SIGTERM. It reports whether the process has ended in time; if not, it is killed.
func (p *process) Stop(patience time.Duration) bool {
	if r := p.unwant(); r != nil {
		p.signal(r, syscall.SIGTERM)
	}
	select {
	case <-p.ended:
		return true
	case <-time.After(patience):
	}
	p.Kill()
	return false
}

// unwant ends the supervisor once the process has ended, and returns its last life, nil if it has had none.
func (p *process) unwant() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	return p.run
}

// signal is for the hits; a process that has ended already needs none.
func (p *process) signal(r *running, s syscall.Signal) {
	p.events.add("%s: %s", p.name, signalName(s))
	if err := r.cmd.Process.Signal(s); err != nil {
		p.events.add("%s: %v", p.name, err)
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
	}
	return fmt.Sprint("signal ", s)
}

// release takes the last life out of the supervisor's care, which ends: Start begins another beside it.
func (p *process) release() *running {
	r := p.unwant()
	close(r.released)
	<-p.ended
	return r
}

// stopped says whether every thread of a process has stopped: SIGSTOP does not wait for them.
func (r *running) stopped() error {
	pid := r.cmd.Process.Pid
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

// current is the process's last life.
func (p *process) current() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// isReady says whether the process runs and has said that it is ready.
func (p *process) isReady() bool {
	r := p.current()
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
	}
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}
