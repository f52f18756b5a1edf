package pki

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

// Step is how far the replacement of an authority is.
type Step string

// The steps.
const (
	Settled  Step = "settled"
	Prepared Step = "prepared"
	Switched Step = "switched"
)

// AuthorityStatus is what there is to know of an authority.
type AuthorityStatus struct {
	Authority Authority
	Step      Step
	Pins      []tlsconf.Pin // of all that are trusted, the current one's first
}

// Status returns the state of all authorities.
func (s *Store) Status() ([]AuthorityStatus, error) {
	var list []AuthorityStatus
	for _, a := range Authorities() {
		status := AuthorityStatus{Authority: a, Step: s.manifest.Authorities[a].step()}
		cas, err := s.trust(a)
		if err != nil {
			return nil, err
		}
		for _, ca := range cas {
			status.Pins = append(status.Pins, ca.Pin())
		}
		list = append(list, status)
	}
	return list, nil
}

func (g generations) step() Step {
	switch {
	case g.Next != 0:
		return Prepared
	case g.Previous != 0:
		return Switched
	}
	return Settled
}

// Expiry returns when the first of a node's certificates runs out.
func (s *Store) Expiry(n Node) (first time.Time, err error) {
	for _, c := range n.certificates(s.manifest.Domain) {
		chain, err := readChain(filepath.Join(s.Dir(n), c.cert))
		if err != nil {
			return first, err
		}
		if end := chain[0].NotAfter; first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first, nil
}

// readChain reads a certificate and what follows it; at least one.
func readChain(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s: no certificate in PEM form", path)
	}
	return chain, nil
}
