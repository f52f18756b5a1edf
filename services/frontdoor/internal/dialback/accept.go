package dialback

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
)

const handshakeTimeout = 10 * time.Second

// Accept serves one connection that came for the proxy name. It returns when the
// agent has introduced itself, or will not: until then the caller's bounds on
// unknown peers hold.
func (d *Dialer) Accept(ctx context.Context, c *tls.Conn) {
	certificate := d.cfg.Certificate() // before the handshake: never a newer one than is shown
	shake, cancel := context.WithTimeout(ctx, handshakeTimeout)
	began := time.Now()
	err := c.HandshakeContext(shake)
	cancel()
	if err != nil {
		d.log.Debug("proxy connection without a handshake", "remote", c.RemoteAddr().String(), "error", err)
		_ = c.Close()
		return
	}
	// The handshake waited for the agent once: a round trip, and what it computed.
	server, reg, err := proxyconn.Accept(ctx, c, proxyconn.Options{RTT: time.Since(began)})
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
	if !d.pool.Add(pool.Arrival{
		Server: server, Agent: w.agent, Via: via(c), Why: w.why, Took: time.Since(w.begun), Certificate: certificate,
	}) {
		_ = server.Close()
		d.pool.Failed(w.agent, 1, errConns)
	}
}

// via is the frontdoor that has handed a connection over, empty if none has.
func via(c *tls.Conn) string {
	if relayed, ok := c.NetConn().(interface{ Via() string }); ok {
		return relayed.Via()
	}
	return ""
}
