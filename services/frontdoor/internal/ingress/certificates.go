package ingress

import (
	"crypto/tls"
	"errors"
)

// Certificates are those that the operator has given, each reloaded by its
// source when it changes.
type Certificates []interface{ Certificate() *tls.Certificate }

var errNoCertificate = errors.New("no certificate for this name")

// Find returns the first certificate that is good for a name, nil if none is.
func (l Certificates) Find(name string) *tls.Certificate {
	for _, source := range l {
		if c := source.Certificate(); c != nil && c.Leaf != nil && c.Leaf.VerifyHostname(name) == nil {
			return c
		}
	}
	return nil
}

// Has holds if there is a certificate for a name.
func (l Certificates) Has(name string) bool { return l.Find(name) != nil }

// Covers holds if the certificate for one name is good for another.
func (l Certificates) Covers(name, other string) bool {
	c := l.Find(name)
	return c != nil && c.Leaf.VerifyHostname(other) == nil
}

// TLS returns how visitors' connections are decrypted.
func (l Certificates) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := l.Find(h.ServerName); c != nil {
				return c, nil
			}
			return nil, errNoCertificate
		},
	}
}
