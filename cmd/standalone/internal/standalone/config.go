// Package standalone runs all parts of Dialback in one process, on an embedded
// etcd: the same code as a cluster's, wired in memory.
package standalone

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/portrange"
	"github.com/dialback/dialback/services/auth"
)

// Config is what an operator can set. The tags are command line flags; the same
// names are keys of the configuration file.
type Config struct {
	Data   string `help:"Directory of what must survive a restart: names, tokens, authorities." default:"${data}" type:"path" placeholder:"DIR"`
	Domain string `help:"Domain of this server: endpoints are names below it." default:"localhost"`

	HTTP      string `name:"http" help:"Address for visitors in clear text." default:"127.0.0.1:7080" placeholder:"ADDR"`
	TLS       string `name:"tls" help:"Address for agents, and for visitors by https." default:"127.0.0.1:7443" placeholder:"ADDR"`
	API       string `name:"api" help:"Address for REST: clear text on a loopback address, else TLS with --tls-cert." default:"127.0.0.1:7082" placeholder:"ADDR"`
	Admin     string `help:"Address for dialbackctl." default:"127.0.0.1:7081" placeholder:"ADDR"`
	APIPublic bool   `name:"api-public" help:"Serve REST as api.<domain> on --tls, too; needs --tls-cert for that name."`
	Debug     string `help:"Address for /metrics and /debug/pprof; none: not served. It has no access control." placeholder:"ADDR"`

	TLSCert []string `name:"tls-cert" help:"Certificate for visitors by https, PEM; repeat for several. Reloaded when it changes." type:"path" placeholder:"FILE"`
	TLSKey  []string `name:"tls-key" help:"Key of the certificate at the same place." type:"path" placeholder:"FILE"`

	PublicHTTPPort  int `name:"public-http-port" help:"Port in http URLs, if it is not the one that --http listens on." placeholder:"PORT"`
	PublicHTTPSPort int `name:"public-https-port" help:"Port in https URLs, and for agents, if it is not the one that --tls listens on." placeholder:"PORT"`

	TCPPorts portrange.Range `name:"tcp-ports" help:"Ports of tcp tunnels, on the address of --tls; outside of those of outgoing connections. Empty: no tcp tunnels." default:"20000-20099" placeholder:"FIRST-LAST"`

	OIDC auth.OIDC `embed:"" prefix:"oidc-"`

	TrustedProxies  []string      `help:"Networks (CIDR) whose X-Forwarded-* headers and sampling are believed." placeholder:"CIDR"`
	Hold            time.Duration `help:"How long a request waits for an agent that has just gone." default:"5s"`
	IdleTimeout     time.Duration `help:"How long an idle connection of a visitor, or to a service, is kept." default:"90s"`
	UpstreamTimeout time.Duration `help:"How long a service may take to begin its answer." default:"2m"`
}

// certified holds if one of the certificates is good for the names below the
// domain.
func (c *Config) certified() bool {
	return slices.ContainsFunc(c.TLSCert, func(file string) bool {
		text, err := os.ReadFile(file) // #nosec G304 -- the operator's own choice
		block, _ := pem.Decode(text)
		if err != nil || block == nil {
			return false
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		return err == nil && cert.VerifyHostname("any."+c.Domain) == nil
	})
}

// Validate says what is wrong and what to do.
func (c *Config) Validate() error {
	domain, err := hostname.Normalize(c.Domain)
	if err != nil {
		return fmt.Errorf("--domain: %w", err)
	}
	c.Domain = domain
	for flag, addr := range map[string]string{"--http": c.HTTP, "--tls": c.TLS, "--admin": c.Admin, "--api": c.API, "--debug": c.Debug} {
		if addr == "" && flag == "--debug" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s %q: want host:port, for instance 127.0.0.1:7080 or :80", flag, addr)
		}
	}
	if err := c.TCPPorts.CheckEphemeral(portrange.EphemeralFile); err != nil {
		return fmt.Errorf("--tcp-ports: %w", err)
	}
	if err := c.OIDC.Validate(); err != nil {
		return err
	}
	if len(c.TLSCert) != len(c.TLSKey) {
		return fmt.Errorf("%d --tls-cert and %d --tls-key: each certificate needs its key", len(c.TLSCert), len(c.TLSKey))
	}
	for flag, files := range map[string][]string{"--tls-cert": c.TLSCert, "--tls-key": c.TLSKey} {
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("%s: %w", flag, err)
			}
		}
	}
	return nil
}
