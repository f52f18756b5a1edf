package ingress

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/dialback/dialback/internal/proxyheader"
)

// Clear is a listener for visitors without TLS.
type Clear struct {
	accept   *acceptor
	visitor  func(net.Conn)
	handling sync.WaitGroup
}

// NewClear returns a listener that Run serves. visitor takes over each connection
// and does not wait for its end. behind are the networks of load balancers that say
// for whom they connect.
func NewClear(l *net.TCPListener, maxConns int, behind proxyheader.Networks, visitor func(net.Conn), log *slog.Logger) *Clear {
	return &Clear{
		visitor: visitor,
		accept:  &acceptor{listener: l, limit: int64(maxConns), behind: behind, log: log},
	}
}

// Run accepts until Close.
func (c *Clear) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	err := c.accept.run(func(conn *Conn) {
		if !c.accept.behind.Contain(conn.RemoteAddr()) {
			c.visitor(conn)
			return
		}
		c.handling.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			introduced := c.accept.introduced(conn)
			if stop() && introduced {
				c.visitor(conn)
			}
		})
	})
	cancel()
	c.handling.Wait()
	return err
}

// Close ends the accepting.
func (c *Clear) Close() error { return c.accept.listener.Close() }
