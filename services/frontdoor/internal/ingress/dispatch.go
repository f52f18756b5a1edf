package ingress

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/dialback/dialback/internal/clienthello"
	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/proxyheader"
)

// ProxyProtocol is the ALPN name of proxy connections.
const ProxyProtocol = "dialback-proxy/1"

// Config says which names are the system's, and the bounds.
type Config struct {
	// Domain is the deployment's. Below it "control" and "proxy" are the system's,
	// with all that is below them.
	Domain string
	// NodeID is this frontdoor's: its proxy name is "<id>.proxy.<domain>".
	NodeID string
	// MaxConns bounds the connections of one listener.
	MaxConns int
	// Behind are the networks of load balancers that say for whom they connect.
	Behind proxyheader.Networks
}

// Deps are where connections go.
type Deps struct {
	// Control takes over a connection for "control.<domain>" (id "") or for
	// "<id>.control.<domain>", still encrypted.
	Control func(c *clienthello.Replayed, connectorID string)
	// Elsewhere takes over one for another frontdoor's proxy name, still encrypted.
	Elsewhere func(c *clienthello.Replayed, frontdoorID string)
	// Proxy serves a connection for this frontdoor's proxy name.
	Proxy    func(ctx context.Context, c *tls.Conn)
	ProxyTLS *tls.Config
	// Visitor takes over a visitor's connection and does not wait for its end. Public
	// is how it is decrypted; HasName says whether there is a certificate for a name.
	Visitor func(c net.Conn)
	Public  *tls.Config
	HasName func(name string) bool
	Logger  *slog.Logger
}

// Port is a TLS listener on which everything arrives, told apart by name.
type Port struct {
	cfg      Config
	deps     Deps
	accept   *acceptor
	handling sync.WaitGroup
}

// NewPort returns a port that Run serves.
func NewPort(l *net.TCPListener, cfg Config, deps Deps) *Port {
	return &Port{
		cfg: cfg, deps: deps,
		accept: &acceptor{listener: l, limit: int64(cfg.MaxConns), behind: cfg.Behind, log: deps.Logger},
	}
}

// Run accepts until Close, then waits for connections that are not told apart yet.
func (p *Port) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	err := p.accept.run(func(c *Conn) {
		p.handling.Go(func() { p.serve(ctx, c) })
	})
	cancel()
	p.handling.Wait()
	return err
}

// Close ends the accepting.
func (p *Port) Close() error { return p.accept.listener.Close() }

// serve tells what a connection is for. The order is fixed: the system's own
// names come before everything that a tenant could have claimed.
func (p *Port) serve(ctx context.Context, raw *Conn) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if !p.accept.introduced(raw) {
		return
	}
	h, c, err := clienthello.Peek(ctx, raw)
	if err != nil {
		_ = raw.Close()
		return
	}
	name, err := hostname.Normalize(h.ServerName)
	if err != nil {
		name = ""
	}
	p.dispatch(ctx, c, name, h.Protocols)
}

func (p *Port) dispatch(ctx context.Context, c *clienthello.Replayed, name string, protocols []string) {
	control, proxy := "control."+p.cfg.Domain, "proxy."+p.cfg.Domain
	switch {
	case name == "":
		clienthello.Refuse(c)
	case name == p.cfg.NodeID+"."+proxy:
		p.deps.Proxy(ctx, tls.Server(c, p.deps.ProxyTLS))
	case hostname.Within(name, control):
		p.deps.Control(c, idOf(name, control))
	case hostname.Within(name, proxy):
		p.deps.Elsewhere(c, idOf(name, proxy))
	case slices.Contains(protocols, ProxyProtocol) || !p.deps.HasName(name):
		clienthello.Refuse(c)
	default:
		p.deps.Visitor(tls.Server(c, p.deps.Public))
	}
}

// idOf returns what stands before a domain: no more than one label is a node's id.
func idOf(name, domain string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
}
