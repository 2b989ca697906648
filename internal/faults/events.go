//go:build unix

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// events is the story of a run, and what was wrong in it. It goes to a file, beside the processes' logs.
type events struct {
	start time.Time

	mu     sync.Mutex
	file   *os.File // guarded by mu
	failed []error  // guarded by mu
}

func newEvents(path string) (*events, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &events{start: time.Now(), file: f}, nil
}

// now is the time of the run, in nanoseconds of one clock.
func (e *events) now() int64 { return time.Since(e.start).Nanoseconds() }

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.write(fmt.Sprintf(format, args...))
}

// fail notes what makes the run a failure.
func (e *events) fail(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := fmt.Errorf(format, args...)
	e.failed = append(e.failed, err)
	e.write("FAILED: " + err.Error())
}

func (e *events) write(text string) {
	if _, err := fmt.Fprintf(e.file, "%9.3f %s\n", time.Since(e.start).Seconds(), text); err != nil {
		e.failed = append(e.failed, fmt.Errorf("write the story of the run: %w", err))
	}
}

// err is everything that failed.
func (e *events) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.failed...)
}

// Write makes the story a log of the clients, too.
func (e *events) Write(line []byte) (int, error) {
	e.add("%s", bytes.TrimRight(line, "\n"))
	return len(line), nil
}

func (e *events) logger() *slog.Logger { return slog.New(slog.NewTextHandler(e, nil)) }

func (e *events) close() error { return e.file.Close() }
