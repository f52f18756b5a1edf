package ingress

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/dialback/dialback/internal/proxyheader"
)

// Raw is a listener of connections that nobody here looks into.
type Raw struct {
	accept   *acceptor
	serve    func(context.Context, *Conn)
	handling sync.WaitGroup
}

// NewRaw returns a listener that Run serves: each connection by a call of serve,
// side by side. behind are the networks of load balancers that say for whom they
// connect.
func NewRaw(l *net.TCPListener, maxConns int, behind proxyheader.Networks, serve func(context.Context, *Conn), log *slog.Logger) *Raw {
	return &Raw{serve: serve, accept: &acceptor{listener: l, limit: int64(maxConns), behind: behind, log: log}}
}

// Run accepts until Close, and returns when the last connection has been served.
func (r *Raw) Run(ctx context.Context) error {
	err := r.accept.run(func(c *Conn) {
		r.handling.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			introduced := r.accept.introduced(c)
			if stop() && introduced {
				r.serve(ctx, c)
			}
		})
	})
	r.handling.Wait()
	return err
}

// Close ends the accepting.
func (r *Raw) Close() error { return r.accept.listener.Close() }
