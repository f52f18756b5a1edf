package ingress

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/dialback/dialback/internal/hostname"
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
}

// Deps are where connections go.
type Deps struct {
	// Control takes over a connection for "control.<domain>" (id "") or for
	// "<id>.control.<domain>", still encrypted. Nil: such names are refused.
	Control func(c net.Conn, connectorID string)
	// Proxy serves a connection for this frontdoor's proxy name.
	Proxy    func(ctx context.Context, c *tls.Conn)
	ProxyTLS *tls.Config
	// Public is how visitors' connections are decrypted; HasName says whether
	// there is a certificate for a name.
	Public  *tls.Config
	HasName func(name string) bool
	Logger  *slog.Logger
}

// Port is a TLS listener on which everything arrives, told apart by name.
type Port struct {
	cfg      Config
	deps     Deps
	accept   *acceptor
	public   *Queue
	handling sync.WaitGroup
}

// NewPort returns a port that Run serves.
func NewPort(l *net.TCPListener, cfg Config, deps Deps) *Port {
	return &Port{
		cfg: cfg, deps: deps, public: newQueue(l.Addr()),
		accept: &acceptor{listener: l, limit: int64(cfg.MaxConns), log: deps.Logger},
	}
}

// Public is the listener of visitors' connections, each a *tls.Conn.
func (p *Port) Public() net.Listener { return p.public }

// Run accepts until Close, then waits for connections that are not told apart yet.
func (p *Port) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	err := p.accept.run(func(c *Conn) {
		p.handling.Go(func() { p.serve(ctx, c) })
	})
	cancel()
	_ = p.public.Close()
	p.handling.Wait()
	return err
}

// Close ends the accepting.
func (p *Port) Close() error { return p.accept.listener.Close() }

// serve tells what a connection is for. The order is fixed: the system's own
// names come before everything that a tenant could have claimed.
func (p *Port) serve(ctx context.Context, raw *Conn) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	h, c, err := peek(ctx, raw)
	if err != nil {
		stop()
		_ = raw.Close()
		return
	}
	name, err := hostname.Normalize(h.serverName)
	if err != nil {
		name = ""
	}
	control, proxy := "control."+p.cfg.Domain, "proxy."+p.cfg.Domain
	switch {
	case name == "":
		refuse(c)
	case hostname.Within(name, control):
		p.control(c, name, control)
	case hostname.Within(name, proxy):
		if name != p.cfg.NodeID+"."+proxy {
			refuse(c) // another frontdoor's, or nobody's
			break
		}
		p.deps.Proxy(ctx, tls.Server(c, p.deps.ProxyTLS))
	case slices.Contains(h.protocols, ProxyProtocol) || !p.deps.HasName(name):
		refuse(c)
	default:
		p.public.put(tls.Server(c, p.deps.Public))
	}
	stop()
}

func (p *Port) control(c net.Conn, name, domain string) {
	id := strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
	if p.deps.Control == nil || strings.Contains(id, ".") {
		refuse(c)
		return
	}
	p.deps.Control(c, id)
}

// Clear is a listener for visitors without TLS.
type Clear struct {
	accept *acceptor
	queue  *Queue
}

// NewClear returns a listener that Run serves.
func NewClear(l *net.TCPListener, maxConns int, log *slog.Logger) *Clear {
	return &Clear{
		queue:  newQueue(l.Addr()),
		accept: &acceptor{listener: l, limit: int64(maxConns), log: log},
	}
}

// Public is the listener of visitors' connections.
func (c *Clear) Public() net.Listener { return c.queue }

// Run accepts until Close.
func (c *Clear) Run(context.Context) error {
	err := c.accept.run(func(conn *Conn) { c.queue.put(conn) })
	_ = c.queue.Close()
	return err
}

// Close ends the accepting.
func (c *Clear) Close() error { return c.accept.listener.Close() }
