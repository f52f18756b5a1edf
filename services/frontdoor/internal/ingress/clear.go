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
	queue    *Queue
	handling sync.WaitGroup
}

// NewClear returns a listener that Run serves. behind are the networks of load
// balancers that say for whom they connect.
func NewClear(l *net.TCPListener, maxConns int, behind proxyheader.Networks, log *slog.Logger) *Clear {
	return &Clear{
		queue:  NewQueue(l.Addr()),
		accept: &acceptor{listener: l, limit: int64(maxConns), behind: behind, log: log},
	}
}

// Public is the listener of visitors' connections.
func (c *Clear) Public() net.Listener { return c.queue }

// Run accepts until Close.
func (c *Clear) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	err := c.accept.run(func(conn *Conn) {
		if !c.accept.behind.Contain(conn.RemoteAddr()) {
			c.queue.Put(conn)
			return
		}
		c.handling.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			if c.accept.introduced(conn) {
				c.queue.Put(conn)
			}
		})
	})
	cancel()
	_ = c.queue.Close()
	c.handling.Wait()
	return err
}

// Close ends the accepting.
func (c *Clear) Close() error { return c.accept.listener.Close() }
