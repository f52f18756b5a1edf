package cli

import (
	"fmt"
	"strings"

	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/secret"
)

const (
	envServer = "DIALBACK_SERVER"
	envToken  = "DIALBACK_AUTHTOKEN" // #nosec G101 -- a name
	envPin    = "DIALBACK_CA_PIN"
)

// howToAdd is the line that saves a server, given its address.
const howToAdd = "dialback config add-server %s --pin <pin> --authtoken <token>"

var errNoServer = fmt.Errorf("no server is configured: ask its operator for a token and run the line that comes with it:\n  "+howToAdd, "<host:port>")

func defaultConfigPath() (string, error) { return agentconfig.DefaultPath() }

// configPath is the file that --config or DIALBACK_CONFIG names, or the default.
func (p *program) configPath() (string, error) {
	if p.flags.ConfigFile != "" {
		return p.flags.ConfigFile, nil
	}
	return defaultConfigPath()
}

func (p *program) loadConfig() (*agentconfig.Config, string, error) {
	path, err := p.configPath()
	if err != nil {
		return nil, "", usageError{err}
	}
	config, err := agentconfig.Load(path)
	if err != nil {
		return nil, "", usageError{err}
	}
	return config, path, nil
}

// selectServer decides which server to use and with what: flags beat the
// environment, which beats the file. The environment's token and pin belong to
// the environment's server, if it names one: they are not sent to another.
func (p *program) selectServer(address, domain string) (string, agentconfig.Server, error) {
	config, _, err := p.loadConfig()
	if err != nil {
		return "", agentconfig.Server{}, err
	}
	chosen, err := canonical(address, p.Getenv(envServer), config.Default)
	if err != nil {
		return "", agentconfig.Server{}, usageError{err}
	}
	if chosen == "" {
		return "", agentconfig.Server{}, usageError{errNoServer}
	}
	server := config.Servers[chosen]
	if fromEnv, err := canonical(p.Getenv(envServer)); err == nil && (fromEnv == "" || fromEnv == chosen) {
		server = p.overlay(server)
	}
	if domain != "" {
		server.Domain = domain
	}
	if server.Authtoken == "" {
		return "", agentconfig.Server{}, usageError{fmt.Errorf("there is no authtoken for %s: set %s, or save one with:\n  "+howToAdd,
			chosen, envToken, chosen)}
	}
	if server.Domain, err = agentconfig.DomainOf(chosen, server.Domain); err != nil {
		return "", agentconfig.Server{}, usageError{err}
	}
	return chosen, server, nil
}

// overlay puts the environment's values over the file's.
func (p *program) overlay(s agentconfig.Server) agentconfig.Server {
	if token := p.Getenv(envToken); token != "" {
		s.Authtoken = secret.String(token)
	}
	if pins := p.Getenv(envPin); pins != "" {
		s.Pins = strings.Split(pins, ",")
	}
	return s
}

// canonical returns the first address that is not empty.
func canonical(addresses ...string) (string, error) {
	for _, address := range addresses {
		if address != "" {
			return agentconfig.ParseAddress(address)
		}
	}
	return "", nil
}
