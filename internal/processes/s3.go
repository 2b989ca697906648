//go:build unix

package processes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The S3 server of a scenario is versitygw. It does not sync what it writes: a killed process loses nothing that it
// has answered, which is all that a scenario asks of it.
const (
	s3User   = "braid"
	s3Secret = "braid-secret"
	s3Bucket = "bucket"
	// s3Process is the server's name as a process.
	s3Process = "s3"
)

// s3Command runs the server. It does not read its stdin: a parent that is killed leaves it behind.
func s3Command(program, address, root string) *exec.Cmd {
	cmd := exec.Command(program, "--quiet", "--keep-alive", "--port", address, "posix", root)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3User, "ROOT_SECRET_KEY="+s3Secret)
	return cmd
}

// s3Environment has what nodes need, and nothing that the machine's user has.
func s3Environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s3User, "AWS_SECRET_ACCESS_KEY=" + s3Secret, "AWS_REGION=us-east-1",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true"}
}

// CanServeS3 says whether the program runs on a folder like dir, and why not: it needs extended attributes.
func CanServeS3(program, dir string) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	cmd := s3Command(program, address, dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		ended <- fmt.Errorf("%s ended with %w: %s", program, err, strings.TrimSpace(string(out)))
		cancel()
	}()
	if awaitS3(ctx, address) != nil {
		return <-ended
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	<-ended
	return nil
}

// awaitS3 waits until the server answers, with whatever.
func awaitS3(ctx context.Context, address string) error {
	requests := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	return Poll(ctx, time.Hour, func() error {
		r, err := requests.Get("http://" + address)
		if err != nil {
			return err
		}
		if err := r.Body.Close(); err != nil {
			return err
		}
		if !strings.HasPrefix(r.Header.Get("Server"), "VERSITYGW") {
			return errors.New(address + " is not ours")
		}
		return nil
	})
}

// addS3 makes the server a process like the others.
func (c *Cluster) addS3() error {
	root := filepath.Join(c.cfg.Dir, "s3")
	if err := os.MkdirAll(filepath.Join(root, s3Bucket), 0o755); err != nil {
		return err
	}
	var err error
	if c.s3, err = freeAddress(); err != nil {
		return err
	}
	p := c.add(s3Process, func() *exec.Cmd { return s3Command(c.cfg.S3, c.s3, root) })
	p.ready = func(ctx context.Context) error { return awaitS3(ctx, c.s3) }
	return nil
}
