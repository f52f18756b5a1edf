package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startHAProxy starts the load balancer: one port for visitors without TLS, one
// for visitors with TLS and for agents, told apart by the name that they ask for.
func (c *Cluster) startHAProxy(ctx context.Context) error {
	program, err := findHAProxy()
	if err != nil {
		return err
	}
	file := filepath.Join(c.config.Dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(c.haproxyConfig()), 0o600); err != nil {
		return err
	}
	if err := c.start(&Part{Name: haproxy, Kind: HAProxy, program: program, args: []string{"-db", "-f", file}}); err != nil {
		return err
	}
	if c.TLS = c.addr(haproxy + secure); !c.config.OnePort {
		c.HTTP = c.addr(haproxy + plain)
	}
	return until(ctx, "the load balancer listens", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.TLS)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// findHAProxy looks where Debian puts it, too: it is not in everybody's path.
func findHAProxy() (string, error) {
	if path, err := exec.LookPath("haproxy"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/haproxy")
}

// haproxyConfig balances connections.
func (c *Cluster) haproxyConfig() string {
	var b strings.Builder
	fmt.Fprint(&b, `global
    maxconn 4000
defaults
    mode tcp
    timeout connect 3s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    retries 3
    option redispatch 1
    default-server check inter 500ms fall 2 rise 1
`)
	if c.config.OnePort {
		c.balanceAll(&b)
	} else {
		c.balanceByName(&b)
	}
	return b.String()
}

// balanceAll reads nothing, and says from whom each connection is.
func (c *Cluster) balanceAll(b *strings.Builder) {
	fmt.Fprintf(b, "frontend all\n    bind %s\n    default_backend all\nbackend all\n    balance roundrobin\n", c.addr(haproxy+secure))
	for _, name := range replicas(Frontdoor) {
		fmt.Fprintf(b, "    server %s %s send-proxy-v2 check-send-proxy\n", name, c.addr(name+secure))
	}
}

// balanceByName reads nothing but names. A connector has a new id at each start,
// which begins with its name: an agent that asks for a particular one gets that
// one or none.
func (c *Cluster) balanceByName(b *strings.Builder) {
	fmt.Fprintf(b, `frontend visitors
    bind %s
    default_backend visitors
frontend secure
    bind %s
    tcp-request inspect-delay 5s
    tcp-request content accept if { req.ssl_hello_type 1 }
    use_backend connectors if { req.ssl_sni -i control.%s }
`, c.addr(haproxy+plain), c.addr(haproxy+secure), Domain)
	for _, name := range replicas(Connector) {
		fmt.Fprintf(b, "    use_backend %s if { req.ssl_sni -i -m beg %s- } { req.ssl_sni -i -m end .control.%s }\n", name, name, Domain)
	}
	fmt.Fprint(b, "    default_backend secure\n")
	c.backend(b, "visitors", plain, replicas(Frontdoor)...)
	c.backend(b, "secure", secure, replicas(Frontdoor)...)
	c.backend(b, "connectors", agents, replicas(Connector)...)
	for _, name := range replicas(Connector) {
		c.backend(b, name, agents, name)
	}
}

func (c *Cluster) backend(b *strings.Builder, name, purpose string, servers ...string) {
	fmt.Fprintf(b, "backend %s\n    balance roundrobin\n", name)
	for _, server := range servers {
		fmt.Fprintf(b, "    server %s %s\n", server, c.addr(server+purpose))
	}
}
