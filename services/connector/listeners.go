package connector

import (
	"context"
	"errors"
	"net"

	"github.com/dialback/dialback/internal/lobby"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/relayport"
)

// maxIntroduced bounds the connections of load balancers that have not said for
// whom they are.
const maxIntroduced = 2048

// agentListener is the agents' listener, whose connections have the agents' own
// addresses even behind a load balancer.
func (c *Connector) agentListener() net.Listener {
	if len(c.cfg.ProxyProtocolFrom) == 0 {
		return c.deps.AgentListener
	}
	behind := proxyheader.Networks(c.cfg.ProxyProtocolFrom)
	return lobby.New(c.deps.AgentListener, lobby.Config{
		MaxWaiting: maxIntroduced, Logger: c.log,
		Admit: func(_ context.Context, raw net.Conn) (net.Conn, error) {
			tcp, ok := raw.(*net.TCPConn)
			if !ok || !behind.Contain(raw.RemoteAddr()) {
				return raw, nil
			}
			conn := proxyheader.NewConn(tcp)
			if err := conn.Expect(); err != nil {
				return nil, errors.Join(err, raw.Close())
			}
			return conn, nil
		},
	})
}

// relayListener takes agents' connections from frontdoors: for any connector, or
// for this one.
func (c *Connector) relayListener() net.Listener {
	control := "control." + c.cfg.Domain
	return relayport.Listen(c.deps.RelayListener, relayport.Config{
		Names: []string{control, c.nodeID + "." + control},
		From:  proxyheader.Networks(c.cfg.RelayFrom).Contain, Logger: c.log,
	})
}
