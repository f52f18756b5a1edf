package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

// httpCommand is `dialback http`.
type httpCommand struct {
	Upstream string `arg:"" name:"service" help:"The local service: a port, host:port, http://host:port or https://host:port."`

	serving
	Subdomain string          `xor:"name" help:"Wanted name below the deployment's domain; else a random one, the same at each start."`
	Hostname  string          `xor:"name" help:"Wanted whole hostname."`
	Pooling   bool            `help:"Serve the name together with other agents of the account that say the same; needs --subdomain or --hostname."`
	BasicAuth []secret.String `sep:"none" placeholder:"USER:PASSWORD" help:"Visitors must log in; repeatable. Only a hash leaves this machine."`

	UpstreamTLSVerify bool   `name:"upstream-tls-verify" default:"true" negatable:"" help:"Verify the certificate of an https service."`
	UpstreamCAFile    string `name:"upstream-ca-file" type:"existingfile" placeholder:"FILE" help:"PEM file with the authorities that may sign it; else the system's."`
}

// Run serves until the user ends it.
func (c *httpCommand) Run(p *program) error {
	tunnel, err := c.tunnel()
	if err != nil {
		return usageError{err}
	}
	return c.serve(p, tunnel)
}

func (c *httpCommand) tunnel() (agent.Tunnel, error) {
	options := forward.TLSOptions{Insecure: !c.UpstreamTLSVerify}
	if c.UpstreamCAFile != "" {
		pem, err := os.ReadFile(c.UpstreamCAFile)
		if err != nil {
			return agent.Tunnel{}, err
		}
		if options.Roots, err = tlsconf.LoadPool(pem); err != nil {
			return agent.Tunnel{}, fmt.Errorf("%s: %w", c.UpstreamCAFile, err)
		}
	}
	upstream, err := forward.ParseUpstream(c.Upstream, options)
	if err != nil {
		return agent.Tunnel{}, err
	}
	tunnel := agent.Tunnel{Hostname: c.Hostname, Subdomain: c.Subdomain, Pooling: c.Pooling, Upstream: upstream}
	for _, text := range c.BasicAuth {
		user, password, ok := strings.Cut(text.Reveal(), ":")
		if !ok || user == "" || password == "" {
			return agent.Tunnel{}, errors.New("--basic-auth: want user:password")
		}
		tunnel.BasicAuth = append(tunnel.BasicAuth, agent.Credential{Username: user, Password: secret.String(password)})
	}
	return tunnel, nil
}
