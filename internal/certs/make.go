package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Make writes an authority and what it has signed into dir: ca.pem, server.pem for the hosts (names and IP addresses),
// client.pem, each with its .key. An authority that is there already is kept, the others are made anew, valid from now
// for lifetime. Nobody but the owner may read the keys.
//
// They are for development: whoever can read ca.key can be anybody.
func Make(dir string, hosts []string, now time.Time, lifetime time.Duration) error {
	if len(hosts) == 0 {
		return errors.New("no host that the server's certificate is for")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	m := maker{dir: dir, from: now.Add(-time.Minute), to: now.Add(lifetime)} // clocks differ a little
	if err := m.authority(); err != nil {
		return err
	}
	server := m.template("braid server")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} // NATS's routes are both
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	client := m.template("braid client")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if err := m.issue("server", server); err != nil {
		return err
	}
	return m.issue("client", client)
}

type maker struct {
	dir      string
	from, to time.Time
	ca       *x509.Certificate
	caKey    any
}

func (m *maker) path(name string) string { return filepath.Join(m.dir, name) }

func (m *maker) template(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"Braid development"}},
		NotBefore: m.from, NotAfter: m.to, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
}

// authority reads the authority, or makes it.
func (m *maker) authority() error {
	pair, err := tls.LoadX509KeyPair(m.path("ca.pem"), m.path("ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		ca := m.template("braid development CA")
		ca.IsCA, ca.KeyUsage, ca.MaxPathLenZero = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, true
		if err := m.issue("ca", ca); err != nil {
			return err
		}
		pair, err = tls.LoadX509KeyPair(m.path("ca.pem"), m.path("ca.key"))
	}
	if err != nil {
		return fmt.Errorf("authority in %s: %w", m.dir, err)
	}
	if pair.Leaf.NotAfter.Before(m.to) {
		m.to = pair.Leaf.NotAfter // nothing outlives its authority
	}
	if !m.from.Before(m.to) {
		return fmt.Errorf("authority %s has expired: remove it with its key, and a new one is made", m.path("ca.pem"))
	}
	m.ca, m.caKey = pair.Leaf, pair.PrivateKey
	return nil
}

// issue makes a key and a certificate for it, signed by the authority, or by itself if there is none yet.
func (m *maker) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.NotAfter = m.to
	parent, signer := m.ca, m.caKey
	if parent == nil {
		parent, signer = template, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	bare, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key is not taken for an authority.
	if err := m.write(name+".key", "PRIVATE KEY", bare, 0o600); err != nil {
		return err
	}
	return m.write(name+".pem", "CERTIFICATE", cert, 0o644)
}

// write replaces a file: the mode of one that was there does not matter.
func (m *maker) write(name, kind string, data []byte, mode fs.FileMode) error {
	next := m.path(name + ".next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), mode); err != nil {
		return err
	}
	return os.Rename(next, m.path(name))
}
