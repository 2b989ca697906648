package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-551dd829/braid/internal/objstore/s3test"
)

// TestI2_I3_I4_S3ServerKilledUnderLoad: the object store dies with kill -9 in the middle of a load test and comes
// back. Nothing that was acknowledged is missing, nothing is stored twice, and the nodes agree; also after a restart
// of the cluster.
func TestI2_I3_I4_S3ServerKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the test with real processes is long; run without -short")
	}
	server := s3test.Start(t)
	server.Bucket("bucket")
	data := filepath.Join(t.TempDir(), "data")
	args := append([]string{"--objects", "s3:bucket/cluster"}, server.Flags()...)
	up := startUp(t, data, args...)
	c := &processes{t: t, nats: up.get("nats"), all: []*proc{up}}
	finish := c.load()
	server.Kill()
	eventually(t, "a primary notices", func() error {
		log, err := os.ReadFile(up.log)
		if err == nil && !strings.Contains(string(log), "segment not put") {
			err = errors.New("no word of it in its log")
		}
		return err
	})
	server.Start()
	finish()
	c.verify()
	up.stop()

	up = startUp(t, data, args...)
	c.nats, c.all = up.get("nats"), []*proc{up}
	c.verify()
	if head := c.head("cpu"); head != 200 {
		t.Fatalf("head %d after the restart, want 200", head)
	}
	up.stop()
}

// TestUpSaysWhatIsWrongWithS3: an error of the object store ends the start, on one line, with what to do.
func TestUpSaysWhatIsWrongWithS3(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("BRAID_S3_ENDPOINT", "http://127.0.0.1:1")
	status, _, stderr := braid(t, "up", "--data", t.TempDir(), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--objects", "s3:bucket", "--s3-path-style", "--log-level", "error")
	if status != 1 || !strings.HasPrefix(stderr, "braid: p1: open object store s3:bucket: ") ||
		!strings.HasSuffix(stderr, "is --s3-endpoint its URL?)\n") || strings.Count(stderr, "\n") != 1 {
		t.Fatalf("status %d, %q", status, stderr)
	}
}
