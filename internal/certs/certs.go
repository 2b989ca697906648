// Package certs reads certificates for both ends of TLS, and makes some for development.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Server is the configuration of a port that shows the certificate of these files. They are read again for each
// connection, so that a new certificate needs no restart; they must be good now.
func Server(certFile, keyFile string) (*tls.Config, error) {
	pair := func() (*tls.Certificate, error) { return load(certFile, keyFile) }
	if _, err := pair(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair() },
	}, nil
}

// Client is the configuration of whoever asks: it trusts the certificates of caFile, or what the system trusts if that is
// "", and shows the certificate of the other files, or none.
func Client(caFile, certFile, keyFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in it", caFile)
		}
	}
	if certFile == "" && keyFile == "" {
		return c, nil
	}
	pair := func() (*tls.Certificate, error) { return load(certFile, keyFile) }
	if _, err := pair(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() }
	return c, nil
}

func load(certFile, keyFile string) (*tls.Certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("a certificate and its key come together")
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}
