package agent_test

import (
	"slices"
	"testing"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
)

// A server that ignored it would send all visitors to one member.
func TestPoolingIsAskedForAndMustNotBeIgnored(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Subdomain: "shop", Pooling: true, Upstream: service(t, "x")}))
	asked := agenttest.Await[*agentv1.ConnectRequest_ReqTunnel](server.Session(1)).ReqTunnel
	if !asked.GetPooling() || !slices.Contains(asked.GetCritical(), "pooling") {
		t.Errorf("asked for %v", asked)
	}
	if _, err := agent.New(config(t, server, agent.Tunnel{Pooling: true, Upstream: service(t, "x")}), agent.Deps{}); err == nil {
		t.Error("a pool without a name is accepted")
	}
}
