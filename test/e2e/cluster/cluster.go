// Package cluster runs Dialback on one machine as a distributed system: three
// members of etcd, two of each service, all with mutual TLS, a load balancer in
// front, and an agent with a sample service. Every part is a process of its own
// and can be killed.
package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Domain is the deployment's: every name below it is this machine.
const Domain = "localhost"

// The kinds of parts, from those that others need to those that need others.
const (
	Etcd      = "etcd"
	Auth      = "auth"
	Registry  = "registry"
	Connector = "connector"
	Frontdoor = "frontdoor"
	HAProxy   = "haproxy"
	Agent     = "agent"
)

var kinds = []string{Etcd, Auth, Registry, Connector, Frontdoor, HAProxy, Agent}

// stopLimit bounds the orderly end of a part. Members of etcd would wait for each
// other, and their data is thrown away.
func stopLimit(kind string) time.Duration {
	if kind == Etcd {
		return time.Second
	}
	return 15 * time.Second
}

// Config says where things are.
type Config struct {
	// Dir takes all data, certificates and logs.
	Dir string
	// Bin holds Dialback's binaries, Tools etcd and etcdctl.
	Bin, Tools string
	// Names are hostnames of the visitors' certificate beside Domain and what is
	// below it: clients do not take a wildcard right below a top-level domain.
	Names []string
	// OnePort lets visitors and agents in by one port, that of a load balancer which
	// reads nothing: frontdoors hand agents' connections over to the nodes that they
	// are for. Else there is a port for visitors without TLS, the load balancer reads
	// server names, and agents dial back past it.
	OnePort bool
	// Env is added to the environment of the four services.
	Env []string
}

// Cluster is a running cluster.
type Cluster struct {
	config Config
	ports  map[string]int
	parts  []*Part
	sample *sample
	// agentEnv is what agents are told by their environment, but for their homes.
	agentEnv []string
	public   *x509.CertPool // trusts the visitors' certificate

	// URL is the agent's public URL. HTTP and TLS are the load balancer's addresses,
	// for visitors without TLS (empty: there is none), and for visitors with TLS and
	// agents.
	URL, HTTP, TLS string
}

// Start starts everything and returns when a visitor can be served. Stop ends it.
func Start(ctx context.Context, config Config) (c *Cluster, err error) {
	c = &Cluster{config: config}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	for _, dir := range []string{"log", "etcd"} {
		if err := os.MkdirAll(filepath.Join(config.Dir, dir), 0o700); err != nil {
			return c, err
		}
	}
	if c.ports, err = freePorts(portNames()); err != nil {
		return c, err
	}
	for _, step := range []func(context.Context) error{
		c.issue, c.startEtcd, c.startServices, c.startHAProxy, c.startAgent,
	} {
		if err := step(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Part returns a part by its name, for instance "registry-2".
func (c *Cluster) Part(name string) *Part {
	for _, p := range c.parts {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Parts returns all parts, in the order in which they were started.
func (c *Cluster) Parts() []*Part { return slices.Clone(c.parts) }

// Ctl runs dialbackctl as the administrator and returns what it prints.
func (c *Cluster) Ctl(ctx context.Context, args ...string) (string, error) {
	return c.ctl(ctx, append([]string{"--server", c.addr("auth-1"), "--credentials", c.credential("admin", "admin", "")}, args...)...)
}

// PublicCert is the file of the visitors' certificate, which is its own authority.
func (c *Cluster) PublicCert() string { return filepath.Join(c.config.Dir, "public", "public.crt") }

// Frontdoors are the addresses of each frontdoor for visitors without TLS.
func (c *Cluster) Frontdoors() []string {
	var list []string
	for _, name := range replicas(Frontdoor) {
		list = append(list, c.addr(name+plain))
	}
	return list
}

// FrontdoorOf is the frontdoor whose node id this is.
func (c *Cluster) FrontdoorOf(id string) *Part {
	for _, p := range c.parts {
		if p.Kind == Frontdoor && strings.HasPrefix(id, p.Name+"-") {
			return p
		}
	}
	return nil
}

// Stop ends everything, those that need others first.
func (c *Cluster) Stop() error {
	for _, kind := range slices.Backward(kinds) {
		var ending sync.WaitGroup
		for _, p := range c.parts {
			if p.Kind == kind {
				ending.Go(func() { p.end(stopLimit(kind)) })
			}
		}
		ending.Wait()
	}
	if c.sample != nil {
		return c.sample.close()
	}
	return nil
}

// start adds a part and starts it.
func (c *Cluster) start(p *Part) error {
	p.log = filepath.Join(c.config.Dir, "log", p.Name+".log")
	c.parts = append(c.parts, p)
	return p.Start()
}

// addr is where a part listens for one purpose.
func (c *Cluster) addr(name string) string { return fmt.Sprintf("127.0.0.1:%d", c.ports[name]) }

// replicas are the names of a kind's parts.
func replicas(kind string) []string {
	n := 2
	if kind == Etcd {
		n = 3
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", kind, i+1)
	}
	return names
}

// until waits for a condition; it returns the last reason why it does not hold.
func until(ctx context.Context, what string, holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // what the end of the wait breaks off says nothing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ctx.Err(), last)
		}
	}
}

// startLimit bounds each wait of a start.
const startLimit = time.Minute

// alone keeps a part out of the terminal's process group, so that Ctrl-C ends
// the parts in their order, and ends it with whoever started it.
func alone() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
