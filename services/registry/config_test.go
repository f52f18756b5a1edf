package registry_test

import (
	"testing"
	"time"

	"github.com/dialback/dialback/services/registry"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := registry.Default("example.com").Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for name, change := range map[string]func(*registry.Config){
		"no domain":         func(c *registry.Config) { c.Domain = "" },
		"a domain in caps":  func(c *registry.Config) { c.Domain = "Example.com" },
		"an address":        func(c *registry.Config) { c.Domain = "10.0.0.1" },
		"half a second":     func(c *registry.Config) { c.LeaseTTL = 500 * time.Millisecond },
		"a second and half": func(c *registry.Config) { c.LeaseTTL = 1500 * time.Millisecond },
		"no grace":          func(c *registry.Config) { c.Grace = 0 },
		"no park":           func(c *registry.Config) { c.Park = -1 },
		"no drain":          func(c *registry.Config) { c.DrainTimeout = 0 },
		"no history":        func(c *registry.Config) { c.History = 0 },
	} {
		config := registry.Default("example.com")
		change(&config)
		if err := config.Validate(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
