package cli

import (
	"context"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/state"
	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/version"
)

// tryLimit is how long add-server tries the new server.
const tryLimit = 15 * time.Second

type configCommands struct {
	AddServer addServerCommand `cmd:"" help:"Try a server and, if it works, save it."`
	Show      showCommand      `cmd:"" help:"Print the configuration, without its secrets."`
	Path      pathCommand      `cmd:"" help:"Print where the configuration file is."`
}

// addServerCommand is `dialback config add-server`.
type addServerCommand struct {
	Address   string        `arg:"" name:"host:port" help:"Address of the server."`
	Authtoken secret.String `required:"" placeholder:"dbt_..." help:"The token that its operator gave you ($$DIALBACK_AUTHTOKEN)."`
	Pin       []string      `placeholder:"sha256:..." help:"Pin of the authority that signs the server's certificate; repeatable. Without one, the system's authorities."`
	Domain    string        `help:"The deployment's domain, if it is not the server's host."`
	Default   bool          `help:"Use this server when none is named."`
}

// Run saves nothing that has not worked.
func (c *addServerCommand) Run(p *program) error {
	config, path, err := p.loadConfig()
	if err != nil {
		return err
	}
	server := agentconfig.Server{Authtoken: c.Authtoken, Pins: c.Pin, Domain: c.Domain}
	address, err := agentconfig.ParseAddress(c.Address)
	if err != nil {
		return usageError{err}
	}
	if err := config.AddServer(address, server, c.Default); err != nil {
		return usageError{err}
	}
	p.say("Trying %s ...", address)
	if err := try(p.ctx, address, server); err != nil {
		return advised{err, address}.orNil()
	}
	if err := config.Save(path); err != nil {
		return fmt.Errorf("the server works, but it could not be saved: %w", err)
	}
	p.say("It works; saved to %s.", path)
	if config.Default != address {
		p.say("%s stays the default; name this one with --server %s.", config.Default, address)
	}
	return nil
}

// try connects, verifies the server and authenticates.
func try(ctx context.Context, address string, server agentconfig.Server) error {
	pins, err := server.TLSPins()
	if err != nil {
		return usageError{err}
	}
	dir, err := state.DefaultDir()
	if err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	return agent.Try(ctx, agent.Config{
		Address: address, Domain: server.Domain, Authtoken: server.Authtoken, Pins: pins, StateDir: dir, Version: version.Version,
	})
}

type showCommand struct{}

// Run prints the file as it was understood; secrets print as ***.
func (showCommand) Run(p *program) error {
	config, path, err := p.loadConfig()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	p.say("# %s\n%s", path, text)
	return nil
}

type pathCommand struct{}

// Run prints the path.
func (pathCommand) Run(p *program) error {
	path, err := p.configPath()
	if err != nil {
		return usageError{err}
	}
	p.say("%s", path)
	return nil
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(p *program) error {
	p.say("dialback %s", version.String())
	return nil
}

// say prints a line of the command's own output.
func (p *program) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Stdout, format+"\n", args...)
}
