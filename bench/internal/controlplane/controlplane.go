// Package controlplane runs a registry on a real etcd, both processes of their own
// with their defaults, and gives a measurement what nodes have: certificates,
// auth's word on agents, connections.
package controlplane

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	// Domain is the deployment's.
	Domain = "bench.example"
	// startLimit is how long a program has to get ready: a registry reads all that
	// there is, which may be a million routes.
	startLimit = 3 * time.Minute
)

// Config says where the programs are.
type Config struct {
	Bin   string // folder of the registry
	Tools string // folder of etcd
	Dir   string // for data and certificates alone; its disk is what etcd writes to
	// Registry are more arguments of the registry's.
	Registry []string
	// Auth has agents judged by a real auth, for agents that are real, too. Else
	// Assert gives its word.
	Auth bool
	// Fill puts data into etcd before there is a registry; nil: there is none.
	Fill func(ctx context.Context, etcd *clientv3.Client) error
}

// Plane is a running control plane.
type Plane struct {
	Etcd     *Etcd
	Registry *process.Process
	// Address is the registry's; Metrics is where its /metrics are, a URL.
	Address, Metrics string

	cfg    Config
	judge  *process.Process // auth; nil: this process is
	keys   string           // address of what serves auth's keys
	ca     *tlsconf.CA
	signer ed25519.PrivateKey
	auth   *grpc.Server
}

// Start starts an empty etcd and a registry on it, and waits until it serves.
func Start(ctx context.Context, cfg Config) (p *Plane, err error) {
	p = &Plane{cfg: cfg}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	if p.ca, err = tlsconf.NewCA("bench"); err != nil {
		return p, err
	}
	if p.Etcd, err = startEtcd(ctx, cfg); err != nil {
		return p, err
	}
	if cfg.Fill != nil {
		if err := cfg.Fill(ctx, p.Etcd.Client); err != nil {
			return p, fmt.Errorf("fill etcd: %w", err)
		}
	}
	if cfg.Auth {
		err = p.startAuth(ctx)
	} else {
		p.keys, err = p.serveKeys(ctx)
	}
	if err != nil {
		return p, err
	}
	return p, p.startRegistry(ctx, cfg, p.keys)
}

// Stop ends everything.
func (p *Plane) Stop() {
	p.Registry.Stop()
	p.judge.Stop()
	if p.auth != nil {
		p.auth.Stop()
	}
	p.Etcd.stop()
}

// Alive returns an error when one of the programs has ended.
func (p *Plane) Alive() error { return errors.Join(p.Registry.Alive(), p.Etcd.Alive()) }

func (p *Plane) startRegistry(ctx context.Context, cfg Config, keys string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	files, err := p.Credential(cfg.Dir, tlsconf.RoleRegistry, "r1")
	if err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	p.Address, p.Metrics = ports[0], "http://"+ports[1]+"/metrics"
	args := append(append([]string{
		"--listen", ports[0], "--debug", ports[1], "--domain", Domain, "--auth", "dns:///" + keys, "--etcd", p.Etcd.Address,
	}, files...), cfg.Registry...)
	p.Registry, err = process.Start(process.Local, process.Spec{Name: "registry", Path: filepath.Join(cfg.Bin, "registry"), Args: args})
	if err != nil {
		return err
	}
	return p.Registry.WaitLine(ctx, process.Contains(`"serving"`))
}

// Credential writes a service's certificate, its key and the authority below dir,
// and returns the flags that name them.
func (p *Plane) Credential(dir, role, name string) ([]string, error) {
	cert, err := p.issue(role, name)
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, role+"-"+name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	certFile, keyFile, caFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	if err := tlsconf.WritePair(cert, certFile, keyFile); err != nil {
		return nil, err
	}
	if err := os.WriteFile(caFile, p.ca.CertPEM(), 0o600); err != nil {
		return nil, err
	}
	return []string{"--cert", certFile, "--key", keyFile, "--ca", caFile}, nil
}

// Dial calls the registry as a node of a role. The caller closes the connection.
func (p *Plane) Dial(role, name string) (*grpc.ClientConn, error) {
	cert, err := p.issue(role, name)
	if err != nil {
		return nil, err
	}
	return rpc.Dial(rpc.ClientConfig{Target: "dns:///" + p.Address, TLS: tlsconf.ServiceClient(*cert, p.ca.Pool(), tlsconf.RoleRegistry)})
}

// freePorts returns addresses on loopback that nobody listens at. All are open at
// once, so that no two are the same.
func freePorts(n int) (list []string, err error) {
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a port: %w", err)
		}
		open, list = append(open, l), append(list, l.Addr().String())
	}
	return list, nil
}
