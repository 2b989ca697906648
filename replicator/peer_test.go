package replicator

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed-551dd829/braid/internal/api"
	"github.com/seed-551dd829/braid/internal/bearer"
)

// TestPeersWithTLSAndTokens: a node asks another for a segment over TLS, trusting whom it is told to and no one else, with
// its token, which it sends nowhere else.
func TestPeersWithTLSAndTokens(t *testing.T) {
	const token = "0123456789abcdef0123456789"
	tokens, err := bearer.Parse("read " + token)
	if err != nil {
		t.Fatal(err)
	}
	quietly := log.New(io.Discard, "", 0)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the request went elsewhere, with %q", r.Header)
	}))
	defer elsewhere.Close()
	peer := httptest.NewUnstartedServer(tokens.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/segments/p2/1/1" {
			io.WriteString(w, "segment")
			return
		}
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	})))
	peer.Config.ErrorLog = quietly
	peer.StartTLS()
	defer peer.Close()
	trusted := &tls.Config{RootCAs: x509.NewCertPool()}
	trusted.RootCAs.AddCert(peer.Certificate())
	node := api.Node{ID: "p2", HTTP: peer.URL}
	for _, c := range []struct {
		name     string
		trust    *tls.Config
		token    string
		sequence uint64
		ok       bool
	}{
		{"all is right", trusted, token, 1, true}, {"no trust", nil, token, 1, false}, {"no token", trusted, "", 1, false},
		{"sent elsewhere", trusted, token, 2, false},
	} {
		s := &Service{deps: Deps{Token: c.token}, client: newClient(1, c.trust)}
		body, err := s.fromPeer(t.Context(), node, api.SegmentID{Node: "p2", Epoch: 1, Sequence: c.sequence})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			if text, err := io.ReadAll(body); string(text) != "segment" || err != nil {
				t.Errorf("%s: %q, %v", c.name, text, err)
			}
			body.Close()
		}
		s.client.CloseIdleConnections()
	}
}
