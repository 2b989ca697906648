package objstore_test

import (
	"fmt"
	"strings"
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
	server := s3test.Start(t)
	for _, prefix := range []string{"", "/a/prefix"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			n := 0
			objstoretest.Run(t, func(t *testing.T) objstore.Store {
				n++
				bucket := fmt.Sprintf("bucket-%d-%d", len(prefix), n)
				server.Bucket(bucket)
				return openS3(t, server, bucket+prefix)
			})
		})
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
