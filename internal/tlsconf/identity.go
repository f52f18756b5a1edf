// Package tlsconf makes and checks the certificates of Dialback: service
// identities (mutual TLS between services), the names that agents connect to,
// and pins.
//
// Two authorities, never one: the service CA signs identities and nothing else;
// the proxy CA signs the names that agents dial. A key of one cannot stand for
// the other.
package tlsconf

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// The roles that a service identity can have.
const (
	RoleAuth      = "auth"
	RoleRegistry  = "registry"
	RoleConnector = "connector"
	RoleFrontdoor = "frontdoor"
	RoleAdmin     = "admin"
)

// trustDomain is the SPIFFE trust domain of every identity.
const trustDomain = "dialback"

// Identity is who a service, or an administrator, is: a URI SAN of the form
// spiffe://dialback/<role>/<name>.
type Identity struct {
	Role string
	Name string
}

// String returns the URI.
func (i Identity) String() string {
	return "spiffe://" + trustDomain + "/" + i.Role + "/" + i.Name
}

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/" + i.Role + "/" + i.Name}
}

// IdentityOf returns the identity in a verified certificate. It is an error if
// there is none, or more than one.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("certificate %q has %d URI names, want one identity", cert.Subject.CommonName, len(cert.URIs))
	}
	u := cert.URIs[0]
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Scheme != "spiffe" || u.Host != trustDomain || !ok || role == "" || name == "" || strings.Contains(name, "/") {
		return Identity{}, fmt.Errorf("certificate %q has no identity of Dialback: %q", cert.Subject.CommonName, u)
	}
	return Identity{Role: role, Name: name}, nil
}
