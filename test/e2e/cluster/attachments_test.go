package cluster

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// An agent is attached through both connectors: neither's death, nor the stop of
// both one after the other, costs a visitor anything.
func TestTheLossOfAConnectorLosesNothing(t *testing.T) {
	c := start(t) // not in parallel: it fills the machine
	both := replicas(Connector)
	attached(t, c, both...)
	l := startLoad(t, c)
	l.more(t, 50)
	for _, name := range both {
		p := c.Part(name)
		forget(t, c)
		p.Kill()
		l.more(t, 300)
		must(t, p.Start())
		attached(t, c, name)
		l.more(t, 50)
		t.Logf("%s was killed, and is back", name)
	}
	for _, name := range both {
		p := c.Part(name)
		forget(t, c)
		p.end(limit)
		l.more(t, 50)
		must(t, p.Start())
		attached(t, c, name)
		l.more(t, 50)
		t.Logf("%s was restarted", name)
	}
	t.Logf("%d requests answered", l.answered.Load())
}

// attached waits until the agent has logged an attachment to each of them.
func attached(t *testing.T, c *Cluster, connectors ...string) {
	t.Helper()
	must(t, until(t.Context(), "the agent is attached", func(context.Context) error {
		text, err := os.ReadFile(c.Part("agent-1").Log())
		if err != nil {
			return err
		}
		found := map[string]bool{}
		for _, match := range sessions.FindAllSubmatch(text, -1) {
			found[string(match[1])] = true
		}
		for _, name := range connectors {
			if !found[name] {
				return fmt.Errorf("not to %s", name)
			}
		}
		return nil
	}))
}

// forget empties the agent's log: what it says from now on is new.
func forget(t *testing.T, c *Cluster) {
	t.Helper()
	must(t, os.Truncate(c.Part("agent-1").Log(), 0))
}
