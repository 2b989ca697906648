// Package fdbtest runs real FoundationDB servers for tests. It needs the programs fdbserver and fdbcli, in the folder
// that BRAID_TEST_FDB names or in PATH; without them a test that asks for a server is skipped, and says so.
package fdbtest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Server is one fdbserver process, which is a whole cluster on the ssd engine, in a folder of the test.
type Server struct {
	ClusterFile string

	t       testing.TB
	dir     string
	address string
	process *exec.Cmd
}

// program finds fdbserver or fdbcli.
func program(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("BRAID_TEST_FDB"); dir != "" {
		return filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT RUN: a test on FoundationDB needs %s: %v; put it into PATH, or its folder into BRAID_TEST_FDB",
			name, err)
	}
	return path
}

// Start starts a new, empty cluster, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	server, cli := program(t, "fdbserver"), program(t, "fdbcli")
	s := &Server{t: t, dir: t.TempDir(), address: freeAddress(t)}
	s.ClusterFile = filepath.Join(s.dir, "fdb.cluster")
	if err := os.WriteFile(s.ClusterFile, []byte("test:test@"+s.address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	s.run(server)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, cli, "-C", s.ClusterFile, "--timeout", "50",
		"--exec", "configure new single ssd").CombinedOutput()
	if err != nil {
		t.Fatalf("configure FoundationDB: %v\n%s\nfdbserver says:\n%s", err, out, s.said())
	}
	return s
}

// freeAddress returns an address that was free a moment ago: fdbserver takes no port 0.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *Server) run(server string) {
	s.t.Helper()
	s.process = exec.Command(server, "-p", s.address, "-C", s.ClusterFile,
		"-d", filepath.Join(s.dir, "data"), "-L", s.dir, "--memory", "4GiB", "--cache-memory", "512MiB")
	log, err := os.OpenFile(s.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("start fdbserver: %v", err)
	}
}

func (s *Server) output() string { return filepath.Join(s.dir, "output") }

// said is what the server has printed.
func (s *Server) said() string {
	said, err := os.ReadFile(s.output())
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// end signals the process and waits for its end.
func (s *Server) end(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Errorf("signal fdbserver: %v", err)
	}
	_ = s.process.Wait() // it was killed, which is an error
	s.process = nil
}

// Kill ends the server as a power cut of its process does; its folder stays.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Restart starts the server again after Kill, with what it had.
func (s *Server) Restart() {
	s.t.Helper()
	s.run(program(s.t, "fdbserver"))
}

// Freeze stops the server without ending it, until Thaw: a cluster that does not answer.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}
