package standalone

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"time"

	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/tlsconf"
)

// nodeName is the name in the certificate of each part: there is one of each.
const nodeName = "standalone"

// processLife is how long the certificates are good for that are made at each
// start: their keys stay in the process, or beside the authority's own key.
const processLife = 5 * 365 * 24 * time.Hour

// pki holds the two authorities, kept in the data directory: one that was made
// anew at each start would break every agent's pin.
type pki struct {
	services *tlsconf.CA
	proxy    *tlsconf.CA
}

func openPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	services, err := tlsconf.LoadOrCreateCA(dir, "service-ca")
	if err != nil {
		return nil, err
	}
	proxy, err := tlsconf.LoadOrCreateCA(dir, "proxy-ca")
	if err != nil {
		return nil, err
	}
	return &pki{services: services, proxy: proxy}, nil
}

// identity is one part's certificate and what it trusts.
type identity struct {
	cert tls.Certificate
	ca   *tlsconf.CA
}

func (p *pki) identity(role string) (identity, error) {
	cert, err := p.services.Issue(tlsconf.Request{
		Identity: tlsconf.Identity{Role: role, Name: nodeName}, Client: true, Server: true, ValidFor: processLife,
	})
	if err != nil {
		return identity{}, err
	}
	return identity{cert: *cert, ca: p.services}, nil
}

func (i identity) server() *tls.Config { return tlsconf.ServiceServer(i.cert, i.ca.Pool()) }

func (i identity) client(role string) *tls.Config {
	return tlsconf.ServiceClient(i.cert, i.ca.Pool(), role)
}

// agentFacing returns the configuration for names that agents dial.
func (p *pki) agentFacing(names ...string) (*tls.Config, error) {
	cert, err := p.proxy.Issue(tlsconf.Request{DNSNames: names, Server: true, ValidFor: processLife})
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}}, nil
}

// writeAdmin writes an administrator's certificate, new at each start, where
// dialbackctl looks for it.
func (p *pki) writeAdmin(data string) error {
	dir := datadir.Admin(data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cert, err := p.services.Issue(tlsconf.Request{
		Identity: tlsconf.Identity{Role: tlsconf.RoleAdmin, Name: nodeName}, Client: true, ValidFor: processLife,
	})
	if err != nil {
		return err
	}
	if err := tlsconf.WritePair(cert, filepath.Join(dir, datadir.AdminCert), filepath.Join(dir, datadir.AdminKey)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, datadir.AdminCA), p.services.CertPEM(), 0o600)
}
