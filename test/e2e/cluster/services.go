package cluster

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// startServices starts two of each. Nobody waits for anybody: each part tries
// until it finds those that it needs.
func (c *Cluster) startServices(ctx context.Context) error {
	pin, err := c.pin(ctx)
	if err != nil {
		return err
	}
	if err := c.issuePublic(); err != nil {
		return err
	}
	for _, kind := range []string{Auth, Registry, Connector, Frontdoor} {
		for _, name := range replicas(kind) {
			part := &Part{Name: name, Kind: kind, program: filepath.Join(c.config.Bin, kind), env: c.config.Env}
			part.args = append(c.identityArgs(kind, name), c.serviceArgs(kind, name, pin)...)
			if err := c.start(part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) identityArgs(kind, name string) []string {
	file := func(file string) string { return c.credential(kind, name, file) }
	return []string{"--cert", file("service.crt"), "--key", file("service.key"), "--ca", file("service-ca.crt"), "--log-format", "text"}
}

// serviceArgs are the flags that the services do not share.
func (c *Cluster) serviceArgs(kind, name, pin string) []string {
	file := func(file string) string { return c.credential(kind, name, file) }
	etcd := []string{"--etcd", "https://" + strings.Join(c.addrs(Etcd), ",https://"), "--etcd-ca", file("etcd-ca.crt")}
	switch kind {
	case Auth:
		return append(etcd, "--listen", c.addr(name), "--server", c.agentAddr(), "--ca-pin", pin)
	case Registry:
		return append(etcd, "--listen", c.addr(name), "--domain", Domain, "--auth", c.target(Auth))
	case Connector:
		return append([]string{
			"--domain", Domain, "--listen", c.addr(name), "--address", c.addr(name),
			"--agent-listen", c.addr(name + agents), "--agent-cert", file("control.crt"), "--agent-key", file("control.key"),
			"--proxy-ca-pin", pin, "--auth", c.target(Auth), "--registry", c.target(Registry),
			"--public-https-port", strconv.Itoa(c.ports[haproxy+secure]), "--drain-timeout", "5s",
		}, c.reachArgs(kind, name)...)
	default:
		public := func(file string) string { return filepath.Join(c.config.Dir, "public", file) }
		return append([]string{
			"--domain", Domain, "--tls-listen", c.addr(name + secure), "--api-listen", c.addr(name + rest),
			"--proxy-cert", file("proxy.crt"), "--proxy-key", file("proxy.key"),
			"--public-cert", public("public.crt"), "--public-key", public("public.key"),
			"--auth", c.target(Auth), "--registry", c.target(Registry),
			"--drain-delay", "0s", "--drain-timeout", "5s",
		}, c.reachArgs(kind, name)...)
	}
}

// reachArgs say how visitors and agents reach a connector or a frontdoor.
func (c *Cluster) reachArgs(kind, name string) []string {
	relay := []string{"--relay-listen", c.addr(name + relays), "--relay-address", c.addr(name + relays)}
	switch {
	case kind == Connector && c.config.OnePort:
		return append(relay, "--relay-from", "127.0.0.1/32", "--public-http-port", "0")
	case kind == Connector:
		return []string{"--public-http-port", strconv.Itoa(c.ports[haproxy+plain])}
	case c.config.OnePort:
		return append(relay, "--proxy-protocol-from", "127.0.0.1/32")
	default:
		// Agents dial the frontdoor that asks for them, past the load balancer.
		return []string{"--http-listen", c.addr(name + plain), "--agent-address", c.addr(name + secure)}
	}
}

// target is where gRPC finds the replicas of a kind.
func (c *Cluster) target(kind string) string { return "list:///" + strings.Join(c.addrs(kind), ",") }

// agentAddr is where agents connect: the load balancer.
func (c *Cluster) agentAddr() string { return Domain + ":" + strconv.Itoa(c.ports[haproxy+secure]) }

// issuePublic makes the certificate for visitors, who would have one of a public
// authority.
func (c *Cluster) issuePublic() error {
	err := selfSigned(filepath.Join(c.config.Dir, "public"), append([]string{Domain, "*." + Domain}, c.config.Names...)...)
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(c.PublicCert())
	c.public = x509.NewCertPool()
	c.public.AppendCertsFromPEM(cert)
	return err
}
