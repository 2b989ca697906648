package objstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-551dd829/braid/internal/objstore"
	"github.com/seed-551dd829/braid/internal/objstore/objstoretest"
	"github.com/seed-551dd829/braid/internal/objstore/s3test"
)

// openS3 opens a store that the end of the test closes.
func openS3(t *testing.T, s *s3test.Server, name string) objstore.Store {
	t.Helper()
	store, err := objstore.OpenS3(t.Context(), name, s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestS3(t *testing.T) {
	for name, prefix := range map[string]string{"without a prefix": "", "prefix": "/a/prefix"} {
		t.Run(name, func(t *testing.T) {
			server := s3test.Start(t)
			n := 0
			objstoretest.Run(t, func(t *testing.T) objstore.Store {
				n++
				bucket := fmt.Sprintf("bucket-%d", n)
				server.Bucket(bucket)
				return openS3(t, server, bucket+prefix)
			})
		})
	}
}

// TestProbesDoNotMeet: nodes that start at the same moment probe under keys of their own, and what
// they leave behind is no object.
func TestProbesDoNotMeet(t *testing.T) {
	server := s3test.Start(t)
	server.Bucket("bucket")
	stores := make([]*objstore.S3, 8)
	errs := make([]error, len(stores))
	var done sync.WaitGroup
	for i := range stores {
		done.Go(func() {
			if stores[i], errs[i] = objstore.OpenS3(t.Context(), "bucket", server.Config()); errs[i] == nil {
				errs[i] = stores[i].Close()
			}
		})
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for info, err := range openS3(t, server, "bucket").List(t.Context(), "") {
		t.Errorf("%+v, %v is listed", info, err)
	}
}

func TestI9_AServerThatReplacesIsRefused(t *testing.T) {
	server := s3test.Start(t, "--nometa")
	server.Bucket("bucket")
	_, err := objstore.OpenS3(t.Context(), "bucket", server.Config())
	if err == nil || !strings.Contains(err.Error(), "ignores If-None-Match") {
		t.Fatal(err)
	}
}

func TestS3SaysWhatIsWrong(t *testing.T) {
	server := s3test.Start(t)
	server.Bucket("bucket")
	for _, test := range []struct {
		name, bucket string
		cfg          func(*objstore.S3Config)
		env          [2]string
		want         string
	}{
		{name: "wrong secret", bucket: "bucket", env: [2]string{"AWS_SECRET_ACCESS_KEY", "wrong"},
			want: "the credentials are wrong"},
		{name: "wrong key", bucket: "bucket", env: [2]string{"AWS_ACCESS_KEY_ID", "wrong"},
			want: "access key"},
		{name: "no credentials", bucket: "bucket", env: [2]string{"AWS_ACCESS_KEY_ID", ""},
			want: "no credentials (set AWS_ACCESS_KEY_ID"},
		{name: "no such bucket", bucket: "another", want: "create the bucket"},
		{name: "another region", bucket: "bucket", cfg: func(c *objstore.S3Config) { c.Region = "eu-west-1" },
			want: "--s3-region"},
		{name: "no server", bucket: "bucket", cfg: func(c *objstore.S3Config) { c.Endpoint = "http://127.0.0.1:1" },
			want: "is the server running"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.env[0] != "" {
				t.Setenv(test.env[0], test.env[1])
			}
			cfg := server.Config()
			if test.cfg != nil {
				test.cfg(&cfg)
			}
			_, err := objstore.OpenS3(t.Context(), test.bucket, cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v, want %q on one line", err, test.want)
			}
		})
	}
}

// TestI2_AServerIsKilledInTheMiddle: puts are under way when the server is killed. Those that were
// answered are there when it is back; those of unknown outcome are put again, and none is taken for
// another object.
func TestI2_AServerIsKilledInTheMiddle(t *testing.T) {
	server := s3test.Start(t)
	server.Bucket("bucket")
	store := openS3(t, server, "bucket")
	const writers, size = 4, 2 << 20
	unknown := make(chan string, writers)
	enough := make(chan struct{}, 1000)
	data := func(key string) string { return strings.Repeat(key, size/len(key)) }
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("wal/p%d/1/%d.seg", w, i)
				if err := store.Put(t.Context(), key, objstore.Bytes([]byte(data(key)))); err != nil {
					unknown <- key
					return
				}
				enough <- struct{}{}
			}
		}()
	}
	for range 3 * writers {
		<-enough
	}
	server.Kill()
	var again []string
	for range writers {
		again = append(again, <-unknown)
	}
	_, statErr := store.Stat(t.Context(), "k")
	putErr := store.Put(t.Context(), "k", objstore.Bytes(nil))
	for op, err := range map[string]error{"put": putErr, "stat": statErr} {
		if err == nil || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrDifferent) {
			t.Fatalf("%s without a server: %v", op, err)
		}
	}
	server.Start()
	for _, key := range again {
		if err := store.Put(t.Context(), key, objstore.Bytes([]byte(data(key)))); err != nil {
			t.Errorf("put %s again: %v", key, err)
		}
	}
	for w := range writers { // all up to the one of unknown outcome
		for i := 0; ; i++ {
			key := fmt.Sprintf("wal/p%d/1/%d.seg", w, i)
			objstoretest.Holds(t, store, key, data(key))
			if slices.Contains(again, key) {
				break
			}
		}
	}
}
