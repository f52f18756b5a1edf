// Package ctlconfig keeps dialbackctl's contexts: which deployments there are,
// where their REST is, and the API key for each. The file is the user's own, for
// it holds keys.
package ctlconfig

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/dialback/dialback/internal/privatefile"
	"github.com/dialback/dialback/internal/secret"
)

// Config is the whole file.
type Config struct {
	// Current names the context that is used when none is asked for.
	Current string `yaml:"current-context,omitempty"`
	// Contexts by name.
	Contexts map[string]Context `yaml:"contexts,omitempty"`
}

// Context is one deployment, and who one is there.
type Context struct {
	// Server is the base URL of REST, for instance "https://api.example.com".
	Server string `yaml:"server"`
	// Key is an API key; empty: none yet.
	Key secret.String `yaml:"key,omitempty"`
	// CAFile names the certificates (PEM) that Server's is checked with; empty: the
	// system's.
	CAFile string `yaml:"ca-file,omitempty"`
}

// DefaultPath returns $DIALBACK_CTL_CONFIG, else dialback/ctl.yaml in the folder of
// the user's configuration files.
func DefaultPath() (string, error) {
	if path := os.Getenv("DIALBACK_CTL_CONFIG"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of configuration files: %w; name the file in DIALBACK_CTL_CONFIG", err)
	}
	return filepath.Join(dir, "dialback", "ctl.yaml"), nil
}

// Load reads and checks the file. One that does not exist has no contexts.
func Load(path string) (*Config, error) {
	c := &Config{}
	if _, err := privatefile.ReadYAML(path, c); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Save checks the contexts and replaces the file with them, readable by its owner
// alone.
func (c *Config) Save(path string) error {
	if err := c.validate(); err != nil {
		return err
	}
	return privatefile.WriteYAML(path, c.plain())
}

// Set adds a context or replaces it. The first one becomes the current one.
func (c *Config) Set(name string, one Context) {
	if c.Contexts == nil {
		c.Contexts = map[string]Context{}
	}
	c.Contexts[name] = one
	if c.Current == "" {
		c.Current = name
	}
}

func (c *Config) validate() error {
	for name, one := range c.Contexts {
		if name == "" {
			return errors.New("a context has no name")
		}
		u, err := url.Parse(one.Server)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("context %s: server %q: want a URL such as https://api.example.com", name, one.Server)
		}
	}
	if _, ok := c.Contexts[c.Current]; c.Current != "" && !ok {
		return fmt.Errorf("current-context: there is no context %q", c.Current)
	}
	return nil
}

// plainContext is a Context whose secret is written out.
type plainContext struct {
	Server string `yaml:"server"`
	Key    string `yaml:"key,omitempty"`
	CAFile string `yaml:"ca-file,omitempty"`
}

// plain is what the file holds. It exists for Save alone: however else a Config is
// printed, its keys are hidden.
func (c *Config) plain() any {
	contexts := make(map[string]plainContext, len(c.Contexts))
	for name, one := range c.Contexts {
		contexts[name] = plainContext{Server: one.Server, Key: one.Key.Reveal(), CAFile: one.CAFile}
	}
	return struct {
		Current  string                  `yaml:"current-context,omitempty"`
		Contexts map[string]plainContext `yaml:"contexts,omitempty"`
	}{c.Current, contexts}
}
