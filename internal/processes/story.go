//go:build unix

package processes

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Story is what happened to a cluster, and what was wrong in it. It goes to a file, beside the processes' logs.
type Story struct {
	start time.Time

	mu     sync.Mutex
	file   *os.File // guarded by mu
	failed []error  // guarded by mu
}

// NewStory begins a story in a new file.
func NewStory(path string) (*Story, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Story{start: time.Now(), file: f}, nil
}

// Start is when the story began.
func (s *Story) Start() time.Time { return s.start }

// Now is the time since the story began, in nanoseconds of one clock.
func (s *Story) Now() int64 { return time.Since(s.start).Nanoseconds() }

// Add notes an event.
func (s *Story) Add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(fmt.Sprintf(format, args...))
}

// Fail notes what makes the whole run a failure.
func (s *Story) Fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := fmt.Errorf(format, args...)
	s.failed = append(s.failed, err)
	s.write("FAILED: " + err.Error())
}

func (s *Story) write(text string) {
	if _, err := fmt.Fprintf(s.file, "%9.3f %s\n", time.Since(s.start).Seconds(), text); err != nil {
		s.failed = append(s.failed, fmt.Errorf("write the story of the run: %w", err))
	}
}

// Err is everything that failed, nil if nothing did.
func (s *Story) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.failed...)
}

// Write makes the story a log of others, too.
func (s *Story) Write(line []byte) (int, error) {
	s.Add("%s", bytes.TrimRight(line, "\n"))
	return len(line), nil
}

// Logger logs into the story.
func (s *Story) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// Close closes the file.
func (s *Story) Close() error { return s.file.Close() }
