package dialback

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
)

const handshakeTimeout = 10 * time.Second

// Accept serves one connection that came for the proxy name. It returns when the
// agent has introduced itself, or will not: until then the caller's bounds on
// unknown peers hold.
func (d *Dialer) Accept(ctx context.Context, c *tls.Conn) {
	shake, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := c.HandshakeContext(shake)
	cancel()
	if err != nil {
		d.log.Debug("proxy connection without a handshake", "remote", c.RemoteAddr().String(), "error", err)
		_ = c.Close()
		return
	}
	server, reg, err := proxyconn.Accept(ctx, c, proxyconn.Options{})
	if err != nil {
		d.log.Debug("proxy connection without an introduction", "remote", c.RemoteAddr().String(), "error", err)
		return
	}
	w := d.tickets.redeem(reg.GetTicket())
	if w == nil {
		d.log.Info("proxy connection with a ticket that is not valid", "remote", c.RemoteAddr().String(),
			"agent_version", reg.GetAgentVersion())
		_ = server.Close()
		return
	}
	conn := &Conn{Server: server, Agent: w.agent}
	if d.conns.count() >= d.cfg.MaxConns || !d.conns.add(conn) {
		_ = server.Close()
		return
	}
	if !w.deliver(conn) {
		d.Keep(conn) // its visitor has gone; the next one will be glad of it
	}
}
