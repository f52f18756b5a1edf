package agentconfig

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dialback/dialback/internal/privatefile"
)

// formatVersion is the format that this package writes and reads.
const formatVersion = 1

// Config is the whole file.
type Config struct {
	// Version of the format: 1.
	Version int `yaml:"version"`
	// Default names the server that is used when none is asked for.
	Default string `yaml:"default,omitempty"`
	// Servers by address, "host:port".
	Servers map[string]Server `yaml:"servers,omitempty"`
}

// DefaultPath returns where the file is when nobody says otherwise, for
// instance ~/.config/dialback/config.yaml.
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of configuration files: %w; give the file with --config", err)
	}
	return filepath.Join(dir, "dialback", "config.yaml"), nil
}

// Load reads and checks the file. A file that does not exist is an empty
// configuration. Errors name the file and, where there is one, the line.
func Load(path string) (*Config, error) {
	c := &Config{}
	found, err := privatefile.ReadYAML(path, c)
	if err != nil {
		return nil, err
	}
	if !found {
		c.Version = formatVersion
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Save checks the configuration and replaces the file with it.
func (c *Config) Save(path string) error {
	if err := c.validate(); err != nil {
		return err
	}
	return privatefile.WriteYAML(path, c.plain())
}

// AddServer adds a server, or replaces it, and leaves the others as they are.
// The first one becomes the default, a later one if asDefault says so.
func (c *Config) AddServer(address string, s Server, asDefault bool) error {
	canonical, err := ParseAddress(address)
	if err != nil {
		return err
	}
	if err := s.validate(canonical); err != nil {
		return err
	}
	if c.Servers == nil {
		c.Servers = map[string]Server{}
	}
	c.Servers[canonical] = s
	if asDefault || c.Default == "" {
		c.Default = canonical
	}
	return nil
}

func (c *Config) check() error {
	if err := c.canonicalize(); err != nil {
		return err
	}
	return c.validate()
}

// canonicalize gives every address the form that lookups use.
func (c *Config) canonicalize() error {
	servers := make(map[string]Server, len(c.Servers))
	for address, s := range c.Servers {
		canonical, err := ParseAddress(address)
		if err != nil {
			return fmt.Errorf("servers: %w", err)
		}
		if _, twice := servers[canonical]; twice {
			return fmt.Errorf("servers: %s is there twice", canonical)
		}
		servers[canonical] = s
	}
	c.Servers = servers
	if c.Default == "" {
		return nil
	}
	canonical, err := ParseAddress(c.Default)
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	c.Default = canonical
	return nil
}

func (c *Config) validate() error {
	if c.Version != formatVersion {
		return fmt.Errorf("version is %d, this program reads version %d", c.Version, formatVersion)
	}
	for address, s := range c.Servers {
		if err := s.validate(address); err != nil {
			return fmt.Errorf("servers: %s: %w", address, err)
		}
	}
	if _, ok := c.Servers[c.Default]; c.Default != "" && !ok {
		return fmt.Errorf("default: %s is not among the servers", c.Default)
	}
	return nil
}

// plainServer is a Server whose secret is written out.
type plainServer struct {
	Authtoken string   `yaml:"authtoken"`
	Pins      []string `yaml:"pins,omitempty"`
	Domain    string   `yaml:"domain,omitempty"`
}

// plain is what the file holds. It exists for Save alone: however else a Config
// is printed, its secrets are hidden.
func (c *Config) plain() any {
	servers := make(map[string]plainServer, len(c.Servers))
	for address, s := range c.Servers {
		servers[address] = plainServer{Authtoken: s.Authtoken.Reveal(), Pins: s.Pins, Domain: s.Domain}
	}
	return struct {
		Version int                    `yaml:"version"`
		Default string                 `yaml:"default,omitempty"`
		Servers map[string]plainServer `yaml:"servers,omitempty"`
	}{c.Version, c.Default, servers}
}
