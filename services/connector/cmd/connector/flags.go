package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	Domain       string        `required:"" help:"The deployment's domain."`
	Listen       string        `default:"127.0.0.1:7403" help:"Where frontdoors call, host:port."`
	Address      string        `required:"" help:"Where frontdoors reach --listen, host:port."`
	AgentListen  string        `default:"127.0.0.1:7443" help:"Where agents connect, host:port."`
	AgentAddress []string      `help:"Where agents reach --agent-listen, host:port, in order of preference."`
	AgentCert    string        `required:"" type:"path" help:"Certificate of control.<domain> and *.control.<domain>, PEM. Reloaded when it changes."`
	AgentKey     string        `required:"" type:"path" help:"Its key, PEM."`
	PublicHTTP   int           `name:"public-http-port" default:"80" help:"Port of http URLs; 0: none."`
	PublicHTTPS  int           `name:"public-https-port" default:"443" help:"Port of https URLs; 0: none."`
	ProxyCAPin   []string      `name:"proxy-ca-pin" help:"Pin of an authority of proxy connections, sha256:<hex>; several during a rotation."`
	MaxSessions  int           `default:"15000" help:"How many agents' sessions are held at most."`
	MaxTunnels   int           `default:"256" help:"How many tunnels one session may have."`
	PingInterval time.Duration `default:"10s" help:"How often each side pings."`
	PingTimeout  time.Duration `default:"15s" help:"After how much silence the other side counts as dead."`
	DrainTimeout time.Duration `default:"20s" help:"How long agents may take to attach elsewhere at a stop."`
	Banner       string        `help:"A line for agents' owners."`
	Auth         string        `required:"" help:"Where auth is, a gRPC target such as dns:///auth:7401."`
	Registry     string        `required:"" help:"Where the registry is, a gRPC target such as dns:///registry:7402."`
	Cert         string        `required:"" type:"path" help:"Service certificate, PEM; the node's name is in it."`
	Key          string        `required:"" type:"path" help:"Its key, PEM."`
	CA           string        `required:"" type:"path" help:"CA of the service certificates, PEM."`
	LogFormat    string        `enum:"text,json" default:"json" help:"Log as text or json."`
	LogLevel     string        `enum:"debug,info,warn,error" default:"info" help:"Log from this level on."`
}

func (f flags) config(name string) (connector.Config, error) {
	c := connector.Default()
	c.NodeName, c.Domain, c.Address, c.AgentAddresses = name, f.Domain, f.Address, f.AgentAddress
	c.PublicHTTPPort, c.PublicHTTPSPort = f.PublicHTTP, f.PublicHTTPS
	c.PingInterval, c.PingTimeout, c.DrainTimeout = f.PingInterval, f.PingTimeout, f.DrainTimeout
	c.MaxSessions, c.MaxTunnels, c.Banner = f.MaxSessions, f.MaxTunnels, f.Banner
	for _, text := range f.ProxyCAPin {
		pin, err := tlsconf.ParsePin(text)
		if err != nil {
			return c, fmt.Errorf("--proxy-ca-pin: %w", err)
		}
		c.ProxyCAPins = append(c.ProxyCAPins, pin)
	}
	return c, c.Validate()
}

// identity is who this service is, and the CA that says who others are.
type identity struct {
	name string
	cert tls.Certificate
	pool *x509.CertPool
}

func (f flags) identity() (identity, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return identity{}, fmt.Errorf("service certificate: %w", err)
	}
	own, err := tlsconf.IdentityOf(cert.Leaf)
	if err != nil {
		return identity{}, err
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return identity{}, err
	}
	pool, err := tlsconf.LoadPool(pem)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.CA, err)
	}
	return identity{name: own.Name, cert: cert, pool: pool}, nil
}
