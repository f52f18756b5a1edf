package connector_test

import (
	"strings"
	"testing"

	"github.com/dialback/dialback/services/connector"
)

func valid() connector.Config {
	c := connector.Default()
	c.NodeName, c.Domain, c.Address, c.PublicHTTPPort = "c1", "example.com", "connector:7403", 80
	return c
}

func TestConfigIsValidated(t *testing.T) {
	t.Parallel()
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*connector.Config){
		"node name":     func(c *connector.Config) { c.NodeName = "C1" },
		"40 characters": func(c *connector.Config) { c.NodeName = strings.Repeat("c", 41) },
		"domain":        func(c *connector.Config) { c.Domain = "Example.com" },
		"address":       func(c *connector.Config) { c.Address = "" },
		"public ports":  func(c *connector.Config) { c.PublicHTTPPort = 0 },
		"70000":         func(c *connector.Config) { c.PublicHTTPSPort = 70000 },
		"ping":          func(c *connector.Config) { c.PingTimeout = c.PingInterval - 1 },
		"max sessions":  func(c *connector.Config) { c.MaxSessions = 0 },
		"max tunnels":   func(c *connector.Config) { c.MaxTunnels = 501 },
		"banner":        func(c *connector.Config) { c.Banner = strings.Repeat("b", 1025) },
		"relay":         func(c *connector.Config) { c.RelayAddress = "c1:7444" },
		"drain":         func(c *connector.Config) { c.DrainTimeout = 0 },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAllThatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	err := connector.Config{}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") < 6 {
		t.Errorf("got %v", err)
	}
}

func TestDependenciesMustBeThere(t *testing.T) {
	t.Parallel()
	if _, err := connector.New(valid(), connector.Deps{}); err == nil {
		t.Error("a connector of nothing")
	}
}
