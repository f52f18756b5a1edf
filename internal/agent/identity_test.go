package agent_test

import (
	"bytes"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/errs"
)

func TestARestartedAgentIsTheSameAgent(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
	first := start(t, c)
	url := await[agent.TunnelOnline](first, 1).URLs[0]
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, c)
	if got := await[agent.TunnelOnline](second, 1).URLs[0]; got != url {
		t.Errorf("its URL is %s, was %s", got, url)
	}
	before, after := server.Session(1), server.Session(2)
	if before.Auth.GetAgentId() != "" || after.Auth.GetAgentId() != before.Welcome.GetAgentId() || after.Auth.GetResumeToken() != before.Welcome.GetResumeToken() {
		t.Errorf("introduced itself as %q with %q, was %v", after.Auth.GetAgentId(), after.Auth.GetResumeToken(), before.Welcome)
	}
	if before.Tunnel() != after.Tunnel() {
		t.Errorf("tunnel id %s, was %s", after.Tunnel(), before.Tunnel())
	}
	if len(after.Auth.GetInstance()) != 16 || bytes.Equal(before.Auth.GetInstance(), after.Auth.GetInstance()) {
		t.Error("two processes are one instance")
	}
}

// Random names hang on tunnel ids: asked for in another order, they stay where
// they were.
func TestTunnelsKeepTheirIDsInAnyOrder(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: upstream(t, "3000")}, agent.Tunnel{Upstream: upstream(t, "9090")})
	ids := make([]map[string]string, 2)
	for i := range ids {
		r := start(t, c)
		await[agent.TunnelOnline](r, 2)
		ids[i] = map[string]string{}
		for _, m := range agenttest.Received[*agentv1.ConnectRequest_ReqTunnel](server.Session(i + 1)) {
			ids[i][m.ReqTunnel.GetForwardsTo()] = m.ReqTunnel.GetTunnelId()
		}
		_ = r.stop()
		c.Tunnels[0], c.Tunnels[1] = c.Tunnels[1], c.Tunnels[0]
	}
	if len(ids[0]) != 2 || ids[0]["localhost:3000"] != ids[1]["localhost:3000"] || ids[0]["localhost:9090"] != ids[1]["localhost:9090"] {
		t.Errorf("ids %v, then %v", ids[0], ids[1])
	}
}

// A copy of this machine runs: whoever is told so must not use the id again, or
// the two would take each other's names for ever.
func TestAnAgentThatIsTakenOverBecomesAnother(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func(*agenttest.Session){
		"its tunnel": func(s *agenttest.Session) {
			s.CloseTunnel(s.Tunnel(), agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER)
		},
		"go away": func(s *agenttest.Session) { s.GoAway(agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER) },
		"its session": func(s *agenttest.Session) {
			s.End(errs.New(errs.FailedPrecondition, errs.ReasonTakenOver, "taken over"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := agenttest.New(t)
			server.Start()
			c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
			r := start(t, c)
			await[agent.TunnelOnline](r, 1)
			old := server.Session(1)
			tell(old)
			await[agent.TakenOver](r, 1)
			await[agent.TunnelOnline](r, 2)
			anew := server.Session(2)
			if anew.Auth.GetAgentId() != "" || anew.Auth.GetResumeToken() != "" || anew.Tunnel() == old.Tunnel() {
				t.Errorf("came back as %q with tunnel %s", anew.Auth.GetAgentId(), anew.Tunnel())
			}
			anew.End(nil)
			if third := server.Session(3); third.Auth.GetAgentId() != anew.Welcome.GetAgentId() {
				t.Errorf("then came back as %q, want %q", third.Auth.GetAgentId(), anew.Welcome.GetAgentId())
			}
			_ = r.stop()
			again := start(t, c)
			await[agent.TunnelOnline](again, 1)
			if last := server.Session(4); last.Auth.GetAgentId() != anew.Welcome.GetAgentId() {
				t.Errorf("after a restart it is %q, want %q", last.Auth.GetAgentId(), anew.Welcome.GetAgentId())
			}
		})
	}
}

// An id that belongs to another account is answered with a new one.
func TestANewIdentityFromTheServerIsKept(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(auth *agentv1.Auth) (*agentv1.AuthResp, error) {
		if auth.GetAgentId() == "other" {
			return &agentv1.AuthResp{}, nil
		}
		return &agentv1.AuthResp{AgentId: "other", ResumeToken: "proof"}, nil
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	server.Session(1).End(nil)
	if auth := server.Session(2).Auth; auth.GetAgentId() != "other" || auth.GetResumeToken() != "proof" {
		t.Errorf("introduced itself as %q with %q", auth.GetAgentId(), auth.GetResumeToken())
	}
}
