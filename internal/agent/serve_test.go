package agent_test

import (
	"testing"

	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
)

func TestVisitorsReachTheLocalService(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Subdomain: "app", Upstream: service(t, "hello")}))
	if online := await[agent.TunnelOnline](r, 1); online.URLs[0] != "http://app.localhost:7080" {
		t.Errorf("online: %+v", online)
	}
	session := server.Session(1)
	for range 3 {
		if status, body := server.Visit(session, session.Tunnel(), "/path"); status != 200 || body != "hello/path" {
			t.Errorf("%d %q", status, body)
		}
	}
	if all, resumed := server.Dials(); all != 3 || resumed != 2 {
		t.Errorf("%d dial-backs, %d of them resumed a TLS session; want 3 and 2", all, resumed)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	<-session.Ended()
	if !session.Clean() {
		t.Error("the agent did not hang up in order")
	}
}
