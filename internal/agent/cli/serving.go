package cli

import (
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/state"
	"github.com/dialback/dialback/internal/version"
)

// serving is what the commands that open a tunnel have in common.
type serving struct {
	Server        string `placeholder:"HOST:PORT" help:"Server to use; else $$DIALBACK_SERVER, else the configuration file's default."`
	Domain        string `help:"The deployment's domain, if it is not the server's host."`
	ExitOnFailure bool   `help:"Exit with code 5 if the server cannot be reached at the start, rather than try again."`
}

// serve keeps a tunnel open until the user ends it.
func (c *serving) serve(p *program, tunnel agent.Tunnel) error {
	config, err := c.agentConfig(p, tunnel)
	if err != nil {
		return err
	}
	log, err := p.logger()
	if err != nil {
		return usageError{err}
	}
	a, err := agent.New(config, agent.Deps{Log: log, Events: newStatus(p, log)})
	if err != nil {
		return usageError{err}
	}
	return advised{a.Run(p.ctx), config.Address}.orNil()
}

func (c *serving) agentConfig(p *program, tunnel agent.Tunnel) (agent.Config, error) {
	address, server, err := p.selectServer(c.Server, c.Domain)
	if err != nil {
		return agent.Config{}, err
	}
	pins, err := server.TLSPins()
	if err != nil {
		return agent.Config{}, usageError{err}
	}
	dir, err := state.DefaultDir()
	if err != nil {
		return agent.Config{}, usageError{err}
	}
	return agent.Config{
		Address:   address,
		Domain:    server.Domain,
		Authtoken: server.Authtoken,
		Pins:      pins,
		Tunnels:   []agent.Tunnel{tunnel},
		StateDir:  dir,
		FailFast:  c.ExitOnFailure,
		Version:   version.Version,
	}, nil
}
