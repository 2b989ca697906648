package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestHealth: the exit status tells, and the service's own words say why not.
func TestHealth(t *testing.T) {
	well := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !well {
			http.Error(w, "node p1 is recovering", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"health", server.URL}, &stderr, &stderr); status != 0 {
		t.Errorf("a service that is well: status %d, %s", status, &stderr)
	}
	well = false
	status := run(t.Context(), []string{"health", server.URL}, &stderr, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "node p1 is recovering") {
		t.Errorf("one that is not: status %d, %s", status, &stderr)
	}
	server.Close()
	if status := run(t.Context(), []string{"health", server.URL}, &stderr, &stderr); status != 1 {
		t.Errorf("one that is gone: status %d", status)
	}
}
