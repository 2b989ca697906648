// Package s3test runs a real S3 server for tests: versitygw, a process of its own on a folder of its
// own. It is not built here; a test that needs it is skipped where there is none.
package s3test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/objstore"
)

const (
	accessKey = "braid"
	secretKey = "braid-secret"
	// patience is for a process to start: generous, since machines differ.
	patience = time.Minute
)

// Server is versitygw, which can be killed and started again on the same port and folder. It does
// not sync what it writes: a killed process loses nothing that it has answered, a machine without
// power would.
type Server struct {
	t        testing.TB
	binary   string
	address  string
	root     string
	log      string
	options  []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd has ended
	requests http.Client
}

// Start starts a server until the end of the test, and has the environment hold its credentials. It
// skips the test if there is no versitygw: BRAID_TEST_VERSITYGW or one on the PATH. options are
// those of `versitygw posix`.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	binary := os.Getenv("BRAID_TEST_VERSITYGW")
	if binary == "" {
		found, err := exec.LookPath("versitygw")
		if err != nil {
			t.Skip("SKIPPED: no S3 server. Set BRAID_TEST_VERSITYGW to a binary, or " +
				"go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
		}
		binary = found
	}
	dir := t.TempDir()
	s := &Server{t: t, binary: binary, address: freePort(t), root: filepath.Join(dir, "root"),
		log: filepath.Join(dir, "log"), options: options}
	s.requests.Transport = &http.Transport{DisableKeepAlives: true}
	mkdir(t, s.root)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Config is how to reach the server.
func (s *Server) Config() objstore.S3Config {
	return objstore.S3Config{Endpoint: "http://" + s.address, PathStyle: true}
}

// Flags are those of `braid` that say the same.
func (s *Server) Flags() []string {
	return []string{"--s3-endpoint", s.Config().Endpoint, "--s3-path-style"}
}

// Bucket makes an empty bucket.
func (s *Server) Bucket(name string) { s.t.Helper(); mkdir(s.t, filepath.Join(s.root, name)) }

// Start starts the server again after Kill.
func (s *Server) Start() {
	s.t.Helper()
	if !s.start() {
		log, err := os.ReadFile(s.log)
		s.t.Fatalf("%s does not run (its folder, below TMPDIR, needs extended attributes): %s %v",
			s.binary, log, err)
	}
}

// start says whether the server answers; if not, it has ended.
func (s *Server) start() bool {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary, slices.Concat(
		[]string{"--quiet", "--keep-alive", "--port", s.address, "posix"}, s.options, []string{s.root})...)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		cmd.Wait() // a killed process is no error here
	}(s.cmd, s.ended)
	return s.answers()
}

// answers waits until the server answers, with whatever, or has ended.
func (s *Server) answers() bool {
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := s.requests.Get("http://" + s.address)
		if err == nil {
			r.Body.Close()
			return strings.HasPrefix(r.Header.Get("Server"), "VERSITYGW")
		}
		select {
		case <-s.ended:
			return false
		case <-deadline:
			s.Kill()
			return false
		case <-tick.C:
		}
	}
}

// Kill is kill -9, and returns when the process is gone.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		s.t.Error(fmt.Errorf("kill %s: %w", s.binary, err))
	}
	<-s.ended
}
