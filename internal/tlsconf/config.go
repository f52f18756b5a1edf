package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ServiceServer returns the configuration of a service that other services
// call: TLS 1.3, and a client certificate with an identity of the service CA.
func ServiceServer(cert tls.Certificate, pool *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := IdentityOf(state.PeerCertificates[0])
			return err
		},
	}
}

// ServiceClient returns the configuration for calls to a service of a role. The
// server is known by its identity, not by a name: addresses change.
func ServiceClient(cert tls.Certificate, pool *x509.CertPool, role string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{cert},
		InsecureSkipVerify: true, // #nosec G402 -- VerifyConnection verifies the chain and the role instead of a name
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyChain(state, pool, ""); err != nil {
				return err
			}
			id, err := IdentityOf(state.PeerCertificates[0])
			if err != nil {
				return err
			}
			if id.Role != role {
				return fmt.Errorf("the server is %s, want a %s", id, role)
			}
			return nil
		},
	}
}

// PinError says that a server's authority is not among the pinned ones.
type PinError struct {
	// Found are the pins of the authorities that the server presented.
	Found []Pin
	// Want are the configured ones.
	Want []Pin
}

// Error names both, so that they can be compared.
func (e *PinError) Error() string {
	return fmt.Sprintf("the server's authority is not the pinned one: it presents %s, configured is %s",
		joinPins(e.Found), joinPins(e.Want))
}

func joinPins(pins []Pin) string {
	if len(pins) == 0 {
		return "none"
	}
	texts := make([]string, len(pins))
	for i, p := range pins {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// PinnedClient returns the configuration for a server that answers to
// serverName with a certificate of a pinned authority; without pins, of one
// that the system trusts. A pinned authority must be in the chain that the
// server sends. A failure is a *PinError or an x509 error.
func PinnedClient(serverName string, pins []Pin) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName}
	if len(pins) == 0 {
		return config
	}
	config.InsecureSkipVerify = true // #nosec G402 -- VerifyConnection verifies name and chain against the pinned authority
	config.VerifyConnection = func(state tls.ConnectionState) error {
		pool, err := pinnedPool(state.PeerCertificates, pins)
		if err != nil {
			return err
		}
		return verifyChain(state, pool, serverName)
	}
	return config
}

func pinnedPool(chain []*x509.Certificate, pins []Pin) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	var found []Pin
	matched := false
	for _, cert := range chain {
		if !cert.IsCA {
			continue
		}
		pin := PinOf(cert)
		found = append(found, pin)
		if slices.Contains(pins, pin) {
			pool.AddCert(cert)
			matched = true
		}
	}
	if !matched {
		return nil, &PinError{Found: found, Want: pins}
	}
	return pool, nil
}

func verifyChain(state tls.ConnectionState, pool *x509.CertPool, name string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server presents no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         pool,
		Intermediates: intermediates,
		DNSName:       name,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// LoadPool reads PEM certificates of authorities.
func LoadPool(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in PEM form")
	}
	return pool, nil
}
