package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-551dd829/braid/internal/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

func made(t *testing.T, dir string) func(name string) *x509.Certificate {
	return func(name string) *x509.Certificate {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func TestMake(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	if err := certs.Make(dir, []string{"nats-1", "127.0.0.1", "::1"}, now, 10*day); err != nil {
		t.Fatal(err)
	}
	read := made(t, dir)
	ca, server, client := read("ca"), read("server"), read("client")
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, c := range []struct {
		cert *x509.Certificate
		host string
		use  x509.ExtKeyUsage
		ok   bool
	}{
		{server, "nats-1", x509.ExtKeyUsageServerAuth, true}, {server, "127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{server, "::1", x509.ExtKeyUsageServerAuth, true}, {server, "", x509.ExtKeyUsageClientAuth, true},
		{server, "nats-2", x509.ExtKeyUsageServerAuth, false}, {client, "", x509.ExtKeyUsageClientAuth, true},
		{client, "", x509.ExtKeyUsageServerAuth, false},
	} {
		o := x509.VerifyOptions{Roots: roots, DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{c.use}, CurrentTime: now.Add(9 * day)}
		if _, err := c.cert.Verify(o); (err == nil) != c.ok {
			t.Errorf("%s for host %q: %v", c.cert.Subject, c.host, err)
		}
	}
	for _, name := range []string{"ca.key", "server.key", "client.key"} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, s.Mode(), err)
		}
	}

	// A second time, with other hosts: the authority stays, and nothing outlives it.
	if err := certs.Make(dir, []string{"nats-2"}, now.Add(day), 100*day); err != nil {
		t.Fatal(err)
	}
	again := read("server")
	if !read("ca").Equal(ca) || again.Equal(server) || !slices.Equal(again.DNSNames, []string{"nats-2"}) ||
		again.NotAfter.After(ca.NotAfter) {
		t.Errorf("made again: %+v", again)
	}
	if err := certs.Make(dir, []string{"nats-2"}, now.Add(11*day), day); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an authority that has expired signs: %v", err)
	}
	if err := certs.Make(t.TempDir(), nil, now, day); err == nil {
		t.Error("a certificate for no host is made")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 6 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// TestConfigurations: both ends on the files, and the server takes new ones without a restart.
func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	remake := func() {
		t.Helper()
		if err := certs.Make(dir, []string{"127.0.0.1"}, time.Now(), day); err != nil {
			t.Fatal(err)
		}
	}
	remake()
	server, err := certs.Server(at("server.pem"), at("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := certs.Client(at("ca.pem"), at("client.pem"), at("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, client.RootCAs
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serial := func() string {
		t.Helper()
		accepted := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				err = c.(*tls.Conn).HandshakeContext(t.Context())
				c.Close()
			}
			accepted <- err
		}()
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", l.Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := <-accepted; err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	remake()
	if serial() == before {
		t.Error("the new certificate is not shown")
	}
	for name, err := range map[string]error{
		"no key":      second(certs.Server(at("server.pem"), "")),
		"no file":     second(certs.Server(at("no.pem"), at("no.key"))),
		"another key": second(certs.Server(at("server.pem"), at("ca.key"))),
		"no CA":       second(certs.Client(at("ca.key"), "", "")),
		"half":        second(certs.Client("", at("client.pem"), "")),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func second(_ *tls.Config, err error) error { return err }
