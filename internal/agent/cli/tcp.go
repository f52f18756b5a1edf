package cli

import (
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/forward"
)

// tcpCommand is `dialback tcp`.
type tcpCommand struct {
	Upstream string `arg:"" name:"service" help:"The local service: a port, or host:port."`

	serving
	RemotePort uint16 `placeholder:"PORT" help:"Wanted public port; else one that the server chooses, the same at each start."`
}

// Run serves until the user ends it.
func (c *tcpCommand) Run(p *program) error {
	upstream, err := forward.ParseTCPUpstream(c.Upstream)
	if err != nil {
		return usageError{err}
	}
	return c.serve(p, agent.Tunnel{Protocol: agent.TCP, RemotePort: c.RemotePort, Upstream: upstream})
}
