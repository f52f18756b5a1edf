package connector_test

import (
	"errors"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector"
)

func TestBindsAreRefusedForTheRightReason(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	taken := reqTunnel(1, tunnelID(1))
	taken.Name = &agentv1.ReqTunnel_Hostname{Hostname: "taken.example.com"}
	answer := a.ask(taken)[0]
	if e := answer.GetError(); e.GetReason() != "NAME_TAKEN" || e.GetRetryAfter() != nil || answer.GetReqId() != 1 || answer.GetUrl() != "" {
		t.Errorf("taken: %v", answer)
	}
	r.registry.set(errDown, "Bind")
	answer = a.ask(reqTunnel(2, tunnelID(1)))[0]
	if e := answer.GetError(); e.GetReason() != "UNAVAILABLE" || e.GetRetryAfter().AsDuration() <= 0 {
		t.Errorf("registry away: %v", answer)
	}
	r.registry.set(errors.New("etcd at 10.1.2.3"), "Bind")
	answer = a.ask(reqTunnel(3, tunnelID(1)))[0]
	if e := answer.GetError(); e.GetRetryAfter().AsDuration() <= 0 || len(e.GetMessage()) > 60 {
		t.Errorf("an inner error: %v", answer)
	}
	r.registry.set(nil)
	tls := reqTunnel(4, tunnelID(1))
	tls.Protocol = proxyv1.Protocol_PROTOCOL_TLS
	if e := a.ask(tls)[0].GetError(); e.GetReason() != "OPTION_UNSUPPORTED" {
		t.Errorf("tls: %v", e)
	}
	empty := reqTunnel(5, tunnelID(1))
	empty.Name = &agentv1.ReqTunnel_Hostname{}
	if e := a.ask(empty)[0].GetError(); e.GetReason() != "INVALID_ARGUMENT" { // not a random name
		t.Errorf("empty name: %v", e)
	}
	if e := a.ask(reqTunnel(5, "../../etc"))[0].GetError(); e.GetReason() != "INVALID_ARGUMENT" {
		t.Errorf("tunnel id: %v", e)
	}
	if answer = a.ask(reqTunnel(6, tunnelID(1)))[0]; answer.GetError() != nil {
		t.Errorf("in the end: %v", answer)
	}
}

func TestATCPTunnelHasAPort(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	req := reqTunnel(1, tunnelID(1))
	req.Protocol, req.Name = proxyv1.Protocol_PROTOCOL_TCP, &agentv1.ReqTunnel_RemotePort{RemotePort: 20017}
	answers := a.ask(req)
	if len(answers) != 1 || answers[0].GetUrl() != "tcp://example.com:20017" || answers[0].GetProtocol() != proxyv1.Protocol_PROTOCOL_TCP {
		t.Errorf("bound: %v", answers)
	}
	req = reqTunnel(2, tunnelID(2))
	req.Protocol = proxyv1.Protocol_PROTOCOL_TCP
	if answers = a.ask(req); answers[0].GetUrl() != "tcp://example.com:20001" {
		t.Errorf("some port: %v", answers)
	}
	req = reqTunnel(3, tunnelID(3))
	req.Protocol, req.Name = proxyv1.Protocol_PROTOCOL_TCP, &agentv1.ReqTunnel_RemotePort{RemotePort: 70000}
	if e := a.ask(req)[0].GetError(); e.GetReason() != "INVALID_ARGUMENT" {
		t.Errorf("no port: %v", e)
	}
}

func TestTunnelsAreLimitedAndRepeatsAreNot(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, func(cfg *connector.Config, _ *connector.Deps) { cfg.MaxTunnels = 2 })
	a := r.join(hello("t-acme"))
	if a.GetMaxTunnels() != 2 {
		t.Errorf("the agent was told %d", a.GetMaxTunnels())
	}
	for i := range uint64(6) {
		if e := a.ask(reqTunnel(i, tunnelID(byte(i%2))))[0].GetError(); e != nil {
			t.Fatalf("request %d: %v", i, e)
		}
	}
	if e := a.ask(reqTunnel(7, tunnelID(7)))[0].GetError(); e.GetReason() != "TUNNEL_LIMIT" {
		t.Errorf("one too many: %v", e)
	}
	a.closeTunnel(tunnelID(0))
	a.hearClosed()
	if e := a.ask(reqTunnel(8, tunnelID(7)))[0].GetError(); e != nil {
		t.Errorf("with room: %v", e)
	}
	if r.node.Attachments() != 2 {
		t.Errorf("%d attachments", r.node.Attachments())
	}
}

// Pings pass while a bind waits for the registry, and a session that ends
// meanwhile leaves no attachment behind.
func TestASlowBindBlocksNothing(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	hold := make(chan struct{})
	r.registry.mu.Lock()
	r.registry.hold = hold
	r.registry.mu.Unlock()
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ReqTunnel{ReqTunnel: reqTunnel(1, tunnelID(1))}})
	a.ping(1)
	a.hearPong(1)
	_ = a.conn.Close()
	eventually(t, func() bool { return r.node.Sessions() == 0 }, "the session ends")
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	see(r.registry, func() bool { clear(r.registry.ended); return true })
	close(hold)
	eventually(t, func() bool { return see(r.registry, func() bool { return len(r.registry.binds) == 1 }) }, "the bind goes on")
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
}

func TestTakeOversReachTheAgent(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	var hosts []string
	for i := range byte(4) {
		hosts = append(hosts, hostOf(a.ask(reqTunnel(uint64(i), tunnelID(i)))[0]))
	}
	attachment := func(host string) *registryv1.Attachment {
		return &registryv1.Attachment{Hostname: host, Generation: 1, ConnectorId: r.node.NodeID(), SessionId: a.GetSessionId()}
	}
	over := func(at *registryv1.Attachment, reason agentv1.CloseReason) *registryv1.Change {
		return &registryv1.Change{Change: &registryv1.Change_AttachmentEnded{AttachmentEnded: &registryv1.AttachmentEnded{Attachment: at, Reason: reason}}}
	}
	claim := func(host string, generation uint64) *registryv1.Change {
		return &registryv1.Change{Change: &registryv1.Change_Claim{Claim: &registryv1.Claim{
			Hostname: host, Generation: generation, AgentId: a.GetAgentId(), Instance: instance(2),
		}}}
	}
	stale := attachment(hosts[3])
	stale.Generation = 0
	elsewhere := attachment(hosts[3])
	elsewhere.ConnectorId = "c2-abcd"
	r.registry.announce(
		claim(hosts[3], 1), // the tunnel's own
		over(stale, agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER),
		over(elsewhere, agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER),
		over(attachment(hosts[0]), agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER),
		over(attachment(hosts[1]), agentv1.CloseReason_CLOSE_REASON_DELETED),
		claim(hosts[2], 2),
	)
	for i, want := range []agentv1.CloseReason{
		agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER, agentv1.CloseReason_CLOSE_REASON_DELETED, agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER,
	} {
		if c := a.hearClosed(); c.GetTunnelId() != tunnelID(byte(i)) || c.GetReason() != want {
			t.Errorf("tunnel %d: %v", i, c)
		}
	}
	if r.node.Attachments() != 1 {
		t.Errorf("%d tunnels are left", r.node.Attachments())
	}
}

// The old process of an agent comes back while its successor serves.
func TestASupersededInstanceIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	old := r.join(hello("t-acme"))
	host := hostOf(old.ask(reqTunnel(1, tunnelID(1)))[0])
	successor := hello("t-acme")
	successor.AgentId, successor.ResumeToken, successor.Instance = old.GetAgentId(), old.GetResumeToken(), instance(2)
	r.registry.mu.Lock()
	r.registry.claims[host] = 2
	r.registry.mu.Unlock()
	b := r.join(successor)
	b.ask(reqTunnel(1, tunnelID(1)))
	if c := old.hearClosed(); c.GetTunnelId() != tunnelID(1) || c.GetReason() != agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER {
		t.Errorf("closed %v", c)
	}
	_ = old.conn.Close()
	back := hello("t-acme")
	back.AgentId, back.ResumeToken = old.GetAgentId(), old.GetResumeToken()
	if _, err := r.tryJoin(back); !errors.Is(err, errs.New(errs.FailedPrecondition, errs.ReasonTakenOver, "")) {
		t.Errorf("the old one was told %v", err)
	}
	r.join(successor)
}
