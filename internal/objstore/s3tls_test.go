package objstore

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-551dd829/braid/internal/certs"
)

// TestS3OverTLS: an https:// endpoint is asked over TLS, and its authority must be one that is trusted.
func TestS3OverTLS(t *testing.T) {
	credentials(t)
	dir := t.TempDir()
	if err := certs.Make(dir, []string{"127.0.0.1"}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	asked := make(chan bool, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.TLS != nil
		refuse(w, 404, "NoSuchKey")
	}))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	server.TLS, server.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{pair}}, log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	for bundle, want := range map[string]func(error) bool{
		"":                           func(err error) bool { return err != nil && strings.Contains(err.Error(), "certificate") },
		filepath.Join(dir, "ca.pem"): func(err error) bool { return errors.Is(err, ErrNotFound) },
	} {
		t.Setenv("AWS_CA_BUNDLE", bundle)
		s := &S3{limits: testLimits}
		if err := s.setUp(t.Context(), "bucket", S3Config{Endpoint: server.URL, PathStyle: true}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(t.Context(), "key"); !want(err) {
			t.Errorf("with the authorities of %q: %v", bundle, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(asked) == 0 || !<-asked {
		t.Error("it was not asked over TLS")
	}
}
