package objstore

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestS3WhereAndHow: flags come before the environment, and its endpoint, region and certificates
// are used.
func TestS3WhereAndHow(t *testing.T) {
	const size = 4
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Header().Set("X-Amz-Meta-Saw", r.Header.Get("Authorization"))
	}))
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	const away = "http://127.0.0.1:1"
	for _, test := range []struct {
		name, endpoint, region string // of the environment
		cfg                    S3Config
		want                   string // the region that a request is signed for
	}{
		{"by the environment", server.URL, "eu-north-1", S3Config{}, "/eu-north-1/s3/"},
		{"no region", server.URL, "", S3Config{}, "/us-east-1/s3/"},
		{"by flags", away, "eu-north-1", S3Config{Endpoint: server.URL, Region: "eu-west-3"}, "/eu-west-3/s3/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			credentials(t)
			t.Setenv("AWS_CA_BUNDLE", bundle)
			t.Setenv("AWS_ENDPOINT_URL_S3", test.endpoint)
			t.Setenv("AWS_REGION", test.region)
			s := &S3{limits: testLimits}
			test.cfg.PathStyle = true
			must(t, s.setUp(t.Context(), "bucket", test.cfg))
			defer s.Close()
			key := "k"
			head, err := s.head(t.Context(), &key)
			must(t, err)
			if got := head.Metadata["saw"]; *head.ContentLength != size || !strings.Contains(got, test.want) {
				t.Errorf("signed %s, want %s", got, test.want)
			}
		})
	}
	credentials(t)
	err := new(S3).setUp(t.Context(), "bucket", S3Config{})
	if err == nil || !strings.Contains(err.Error(), "--s3-region") {
		t.Errorf("neither endpoint nor region: %v", err)
	}
}

// endless is a context that the context package does not know: a child that is not let go of keeps a
// goroutine waiting, which TestMain finds.
type endless struct{ context.Context }

func (endless) Done() <-chan struct{} { return make(chan struct{}) }

func TestI7_NothingIsLeftOfAGet(t *testing.T) {
	closed := make(chan struct{})
	s := &S3{limits: testLimits}
	s.limits.silence = time.Hour // or it would close the connection
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "data")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed) // a second time, which panics, if there was more than one connection
		}
	}
	server.Start()
	defer server.Close()
	credentials(t)
	must(t, s.setUp(t.Context(), "bucket", S3Config{Endpoint: server.URL, PathStyle: true}))
	for range 10 {
		r, _, err := s.Get(endless{t.Context()}, "k")
		must(t, err)
		_, err = io.Copy(io.Discard, r)
		must(t, errors.Join(err, r.Close()))
	}
	must(t, s.Close())
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Fatal("a connection is left")
	}
}
