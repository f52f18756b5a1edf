package frontdoor

import (
	"crypto/sha256"
	"crypto/tls"

	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// wireConnections makes what holds the agents' connections and what asks for them.
func (f *Frontdoor) wireConnections(table *route.Table) {
	f.pool = pool.New(pool.Config{
		Max: f.cfg.MaxConns, Keep: f.cfg.IdleTimeout, Floor: f.cfg.PoolFloor,
	}, pool.Deps{
		Named:       func(agentID string) bool { return pool.Named(f.id, f.nodes.ReadyFrontdoors(), agentID) },
		Certificate: f.proxyCertificate,
	})
	f.metrics = newMetrics(f.deps.Metrics, f.pool, table.Progress)
	f.dialer = dialback.New(dialback.Config{
		Timeout: f.cfg.DialbackTimeout, MaxTickets: f.cfg.MaxTickets, FloorRate: f.cfg.PoolFloorRate,
		Addresses: f.cfg.AgentAddresses, ServerName: f.proxyName(),
		Certificate: f.proxyCertificate, Waited: f.metrics.waited,
	}, dialback.Deps{Table: table, Pool: f.pool, Connector: f.deps.Connector, Log: f.log})
}

// proxyName is the server name under which agents know this frontdoor, and no other.
func (f *Frontdoor) proxyName() string { return f.id + ".proxy." + f.cfg.Domain }

// proxyCertificate identifies the certificate that agents are shown now.
func (f *Frontdoor) proxyCertificate() string {
	c := f.deps.ProxyTLS
	var leaf []byte
	switch {
	case c.GetCertificate != nil:
		if cert, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: f.proxyName()}); err == nil && cert != nil && len(cert.Certificate) > 0 {
			leaf = cert.Certificate[0]
		}
	case len(c.Certificates) > 0 && len(c.Certificates[0].Certificate) > 0:
		leaf = c.Certificates[0].Certificate[0]
	}
	sum := sha256.Sum256(leaf)
	return string(sum[:])
}
