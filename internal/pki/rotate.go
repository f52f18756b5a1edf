package pki

import (
	"fmt"
	"path/filepath"

	"github.com/dialback/dialback/internal/tlsconf"
)

// Prepare makes the next generation of an authority and has everybody trust it
// beside the current one. Doing it again changes nothing.
func (s *Store) Prepare(a Authority) error {
	g := s.manifest.Authorities[a]
	if g.Previous != 0 {
		return fmt.Errorf("the last replacement of %s is not finished: finish it first", a)
	}
	if g.Next == 0 {
		g.Next = g.Current + 1
		if err := s.create(a, g.Next); err != nil {
			return err
		}
		if err := s.set(a, g); err != nil {
			return err
		}
	}
	return s.distribute()
}

// Switch makes the next generation the current one and issues every certificate
// anew. The previous one is still trusted. Doing it again issues again, for
// instance behind one that was interrupted.
func (s *Store) Switch(a Authority) error {
	g := s.manifest.Authorities[a]
	switch {
	case g.Next != 0:
		if err := s.set(a, generations{Current: g.Next, Previous: g.Current}); err != nil {
			return err
		}
	case g.Previous == 0:
		return fmt.Errorf("there is no next %s: prepare it first, and let everybody hear of it", a)
	}
	return s.Renew()
}

// Finish ends the trust in the previous generation and removes its key. It
// refuses while a certificate in the folder is still by that one.
func (s *Store) Finish(a Authority) error {
	g := s.manifest.Authorities[a]
	switch {
	case g.Next != 0:
		return fmt.Errorf("the next %s is not in use yet: switch to it first", a)
	case g.Previous == 0:
		return s.distribute()
	}
	for _, n := range s.manifest.Nodes {
		if err := s.isCurrent(n, a); err != nil {
			return err
		}
	}
	if err := s.set(a, generations{Current: g.Current}); err != nil {
		return err
	}
	if err := s.distribute(); err != nil {
		return err
	}
	return s.discard(a, g.Previous)
}

// Renew issues every certificate anew.
func (s *Store) Renew() error {
	for _, n := range s.Nodes() {
		if _, err := s.Issue(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// distribute tells every node whom to trust.
func (s *Store) distribute() error {
	for _, n := range s.manifest.Nodes {
		if err := s.writeBundles(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

func (s *Store) set(a Authority, g generations) error {
	s.manifest.Authorities[a] = g
	return s.save()
}

// isCurrent checks that a node's certificates of an authority are by its current
// generation.
func (s *Store) isCurrent(n Node, a Authority) error {
	ca, err := s.current(a)
	if err != nil {
		return err
	}
	for _, c := range n.certificates(s.manifest.Domain) {
		if c.by != a {
			continue
		}
		pin, err := issuerPin(filepath.Join(s.Dir(n), c.cert))
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if pin != ca.Pin() {
			return fmt.Errorf("%s of %s is not by the current %s: switch again", c.cert, n, a)
		}
	}
	return nil
}

// issuerPin returns the pin of the authority in a certificate's chain.
func issuerPin(path string) (tlsconf.Pin, error) {
	chain, err := readChain(path)
	if err != nil {
		return tlsconf.Pin{}, err
	}
	return tlsconf.PinOf(chain[len(chain)-1]), nil
}
