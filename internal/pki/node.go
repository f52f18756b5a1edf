package pki

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/tlsconf"
)

// The roles of nodes.
const (
	RoleAuth      = tlsconf.RoleAuth
	RoleRegistry  = tlsconf.RoleRegistry
	RoleConnector = tlsconf.RoleConnector
	RoleFrontdoor = tlsconf.RoleFrontdoor
	RoleAdmin     = tlsconf.RoleAdmin
	RoleEtcd      = "etcd"      // a member
	RoleEtcdRoot  = "etcd-root" // etcd's administrator
)

// Roles returns all of them.
func Roles() []string {
	return []string{RoleAuth, RoleRegistry, RoleConnector, RoleFrontdoor, RoleAdmin, RoleEtcd, RoleEtcdRoot}
}

// The files of a node, by what they are for.
const (
	ServiceCert   = "service.crt"
	ServiceKey    = "service.key"
	ServiceBundle = "service-ca.crt"
	ControlCert   = "control.crt" // a connector's, for agents
	ControlKey    = "control.key"
	ProxyCert     = "proxy.crt" // a frontdoor's, for agents
	ProxyKey      = "proxy.key"
	EtcdCert      = "etcd.crt"
	EtcdKey       = "etcd.key"
	EtcdBundle    = "etcd-ca.crt"
	EtcdClients   = "clients-ca.crt" // whom a member lets in
)

// Node is who gets certificates.
type Node struct {
	Role string `json:"role"`
	Name string `json:"name"`
	// Hosts are the names and IP addresses of an etcd member.
	Hosts []string `json:"hosts,omitempty"`
}

// String returns role and name.
func (n Node) String() string { return n.Role + " " + n.Name }

func (n Node) is(other Node) bool { return n.Role == other.Role && n.Name == other.Name }

func (n Node) validate() error {
	if !slices.Contains(Roles(), n.Role) {
		return fmt.Errorf("role %q: want one of %s", n.Role, strings.Join(Roles(), ", "))
	}
	if label, err := hostname.Label(n.Name); err != nil || label != n.Name {
		return fmt.Errorf("name %q: want a DNS label in lower case", n.Name)
	}
	if wanted := n.Role == RoleEtcd; wanted != (len(n.Hosts) > 0) {
		return fmt.Errorf("%s with %d hosts: members of etcd have some, nobody else has", n, len(n.Hosts))
	}
	return nil
}

// certificate is one that a node gets.
type certificate struct {
	cert, key string // files
	by        Authority
	request   tlsconf.Request
}

// certificates returns those of a node.
func (n Node) certificates(domain string) []certificate {
	service := certificate{ServiceCert, ServiceKey, ServiceCA, tlsconf.Request{
		Identity: tlsconf.Identity{Role: n.Role, Name: n.Name}, Client: true, Server: true,
		CommonName: "dialback-" + n.Role, // is etcd's user
	}}
	switch n.Role {
	case RoleConnector:
		control := "control." + domain
		return []certificate{service, {ControlCert, ControlKey, ProxyCA, tlsconf.Request{DNSNames: []string{control, "*." + control}, Server: true}}}
	case RoleFrontdoor:
		return []certificate{service, {ProxyCert, ProxyKey, ProxyCA, tlsconf.Request{DNSNames: []string{"*.proxy." + domain}, Server: true}}}
	case RoleAdmin:
		service.cert, service.key, service.request.Server = datadir.AdminCert, datadir.AdminKey, false
		return []certificate{service}
	case RoleEtcd:
		member := tlsconf.Request{CommonName: "etcd " + n.Name, Client: true, Server: true}
		for _, host := range n.Hosts {
			if ip := net.ParseIP(host); ip != nil {
				member.IPAddresses = append(member.IPAddresses, ip)
			} else {
				member.DNSNames = append(member.DNSNames, host)
			}
		}
		return []certificate{{EtcdCert, EtcdKey, EtcdCA, member}}
	case RoleEtcdRoot:
		return []certificate{{EtcdCert, EtcdKey, EtcdCA, tlsconf.Request{CommonName: "root", Client: true}}}
	default:
		return []certificate{service}
	}
}

// bundles returns the files that say whom a node trusts.
func (n Node) bundles() map[string][]Authority {
	switch n.Role {
	case RoleAuth, RoleRegistry:
		return map[string][]Authority{ServiceBundle: {ServiceCA}, EtcdBundle: {EtcdCA}}
	case RoleAdmin:
		return map[string][]Authority{datadir.AdminCA: {ServiceCA}}
	case RoleEtcd:
		return map[string][]Authority{EtcdBundle: {EtcdCA}, EtcdClients: {EtcdCA, ServiceCA}}
	case RoleEtcdRoot:
		return map[string][]Authority{EtcdBundle: {EtcdCA}}
	default:
		return map[string][]Authority{ServiceBundle: {ServiceCA}}
	}
}

// Issue makes all that a node needs, in the folder that it returns, or makes it
// anew. The keys of a node are its own: a new certificate has a new one.
func (s *Store) Issue(n Node) (dir string, err error) {
	if err := n.validate(); err != nil {
		return "", err
	}
	dir = s.Dir(n)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// Who trusts more is written before what has to be trusted.
	if err := s.writeBundles(n); err != nil {
		return "", err
	}
	for _, c := range n.certificates(s.manifest.Domain) {
		ca, err := s.current(c.by)
		if err != nil {
			return "", err
		}
		cert, err := ca.Issue(c.request)
		if err != nil {
			return "", err
		}
		if err := tlsconf.WritePair(cert, filepath.Join(dir, c.cert), filepath.Join(dir, c.key)); err != nil {
			return "", err
		}
	}
	return dir, s.remember(n)
}

func (s *Store) writeBundles(n Node) error {
	for name, authorities := range n.bundles() {
		pem, err := s.bundle(authorities...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.Dir(n), name), pem, 0o644); err != nil { // #nosec G306 -- public certificates
			return err
		}
	}
	return nil
}
