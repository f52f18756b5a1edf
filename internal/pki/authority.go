package pki

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dialback/dialback/internal/tlsconf"
)

// Authority is one of the deployment's authorities.
type Authority string

// The authorities.
const (
	ServiceCA Authority = "service-ca" // signs service identities and nothing else
	ProxyCA   Authority = "proxy-ca"   // signs the names that agents dial; agents pin it
	EtcdCA    Authority = "etcd-ca"    // signs etcd's members and its root user
)

// Authorities returns all of them.
func Authorities() []Authority { return []Authority{ServiceCA, ProxyCA, EtcdCA} }

// generations are numbers of an authority's keys; 0: there is none.
type generations struct {
	Current  int `json:"current"`
	Next     int `json:"next,omitempty"`
	Previous int `json:"previous,omitempty"`
}

// trusted returns those that peers must accept, the current one first.
func (g generations) trusted() []int {
	list := []int{g.Current}
	for _, n := range []int{g.Next, g.Previous} {
		if n != 0 {
			list = append(list, n)
		}
	}
	return list
}

func generationName(a Authority, generation int) string { return fmt.Sprintf("%s-%d", a, generation) }

// create makes a generation of an authority; one that is there is left alone.
func (s *Store) create(a Authority, generation int) error {
	_, err := tlsconf.LoadOrCreateCA(s.caDir(), generationName(a, generation))
	return err
}

// load reads a generation of an authority. One that is missing is not made anew:
// nobody would trust it.
func (s *Store) load(a Authority, generation int) (*tlsconf.CA, error) {
	name := generationName(a, generation)
	if _, err := os.Stat(filepath.Join(s.caDir(), name+".crt")); err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	return tlsconf.LoadOrCreateCA(s.caDir(), name)
}

func (s *Store) current(a Authority) (*tlsconf.CA, error) {
	return s.load(a, s.manifest.Authorities[a].Current)
}

// trust returns the generations of an authority that peers must accept.
func (s *Store) trust(a Authority) ([]*tlsconf.CA, error) {
	var list []*tlsconf.CA
	for _, generation := range s.manifest.Authorities[a].trusted() {
		ca, err := s.load(a, generation)
		if err != nil {
			return nil, err
		}
		list = append(list, ca)
	}
	return list, nil
}

// bundle returns the certificates of all that is to be trusted, PEM.
func (s *Store) bundle(authorities ...Authority) ([]byte, error) {
	var pem bytes.Buffer
	for _, a := range authorities {
		cas, err := s.trust(a)
		if err != nil {
			return nil, err
		}
		for _, ca := range cas {
			pem.Write(ca.CertPEM())
		}
	}
	return pem.Bytes(), nil
}

// Pins returns the pins that agents must have now, the current authority's
// first.
func (s *Store) Pins() ([]tlsconf.Pin, error) {
	cas, err := s.trust(ProxyCA)
	if err != nil {
		return nil, err
	}
	pins := make([]tlsconf.Pin, len(cas))
	for i, ca := range cas {
		pins[i] = ca.Pin()
	}
	return pins, nil
}

// discard removes the key and the certificate of an authority that nobody
// trusts any more.
func (s *Store) discard(a Authority, generation int) error {
	var failures []error
	for _, suffix := range []string{".key", ".crt"} {
		err := os.Remove(filepath.Join(s.caDir(), generationName(a, generation)+suffix))
		if !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}
