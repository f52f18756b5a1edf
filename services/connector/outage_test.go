package connector_test

import (
	"errors"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

var (
	unavailable = errs.New(errs.Unavailable, errs.ReasonUnavailable, "")
	revoked     = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "")
)

func TestRevocationEndsSessionsFrontdoorsFirst(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	watch := r.watch()
	a, other := r.join(hello("t-acme")), r.join(hello("t-other"))
	a.ask(reqTunnel(1, tunnelID(1)))
	f := r.frontdoor()
	pending := requestProxy(r.ctx, t, f, a.wanted(ticket()))
	verdict(t, pending)
	// Neither the registry nor the agent is needed for frontdoors to hear of it.
	r.registry.set(errDown, "EndSession")
	r.auth.revoke("t-acme", false)
	end, err := watch.Recv()
	if err != nil || end.GetSessionId() != a.GetSessionId() || end.GetAgentId() != a.GetAgentId() ||
		string(end.GetInstance()) != string(a.instance) || end.GetReason() != agentv1.CloseReason_CLOSE_REASON_REVOKED || end.GetTunnelId() != "" {
		t.Fatalf("frontdoors heard %v, %v", end, err)
	}
	if v := verdict(t, pending); v.GetVerdict() != ended {
		t.Errorf("verdict %v", v.GetVerdict())
	}
	if err := a.end(); !errors.Is(err, revoked) {
		t.Errorf("the agent was told %v", err)
	}
	if _, err := r.tryJoin(hello("t-acme")); !errors.Is(err, revoked) {
		t.Errorf("afterwards: %v", err)
	}
	r.registry.set(nil)
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_REVOKED)
	other.ping(1)
	other.hearPong(1)
}

// What was revoked while the watch was down is found by judging all anew.
func TestAGapInTheRevocationsIsClosed(t *testing.T) {
	t.Parallel()
	for name, compacted := range map[string]bool{"resumed": false, "compacted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, quickDrain)
			a, other := r.join(hello("t-acme")), r.join(hello("t-other"))
			r.auth.revoke("t-third", false) // a revision to resume from
			if compacted {
				r.auth.set(errCompacted, "resume")
			}
			r.auth.revoke("t-acme", true)
			r.auth.breakWatches()
			if err := a.end(); !errors.Is(err, revoked) {
				t.Errorf("the agent was told %v", err)
			}
			r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_REVOKED)
			other.ping(1)
			other.hearPong(1)
		})
	}
}

func TestARecentCredentialCountsWhileAuthIsAway(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	first := r.join(hello("t-acme"))
	r.auth.set(errDown, "Validate")
	back := hello("t-acme")
	back.AgentId, back.ResumeToken = first.GetAgentId(), first.GetResumeToken()
	a := r.join(back)
	if a.GetAgentId() != first.GetAgentId() || a.GetResumeToken() != "" {
		t.Errorf("came back as %s", a.GetAgentId())
	}
	a.ask(reqTunnel(1, tunnelID(1)))

	strangers := map[string]*agentv1.Auth{"another token": hello("t-other"), "another instance": hello("t-acme"), "another resume token": hello("t-acme")}
	strangers["another instance"].AgentId, strangers["another instance"].ResumeToken = back.GetAgentId(), back.GetResumeToken()
	strangers["another instance"].Instance = instance(2)
	strangers["another resume token"].AgentId, strangers["another resume token"].ResumeToken = back.GetAgentId(), "r-guess"
	for name, auth := range strangers {
		_, err := r.tryJoin(auth)
		if e, ok := errs.From(err); !ok || !errors.Is(err, unavailable) || e.RetryAfter() <= 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A revocation beats a recent judgement.
	r.auth.revoke("t-acme", false)
	if err := a.end(); !errors.Is(err, revoked) {
		t.Errorf("the agent was told %v", err)
	}
	if _, err := r.tryJoin(back); err == nil {
		t.Error("a revoked credential counts")
	}
}

func TestAssertionsAreRenewed(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	r.auth.mu.Lock()
	r.auth.validFor = 2 * time.Second
	r.auth.mu.Unlock()
	r.join(hello("t-acme"))
	eventually(t, func() bool {
		r.auth.mu.Lock()
		defer r.auth.mu.Unlock()
		return r.auth.validations >= 3
	}, "the session is judged again before its assertion expires")
	if r.node.Sessions() != 1 {
		t.Error("the session has ended")
	}
}

func TestAForgottenRegistrationIsMadeAnewWithAllItHad(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	watch := r.watch()
	a, b := r.join(hello("t-acme")), r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	b.ask(reqTunnel(1, tunnelID(2)))
	taken, gone := a.ask(reqTunnel(2, tunnelID(3)))[0], b.ask(reqTunnel(2, tunnelID(4)))[0]
	host := hostOf(taken)
	r.registry.mu.Lock()
	// Meanwhile one name went to another process of its agent, and one has run out.
	r.registry.claims[host] = 7
	r.registry.taken = []*registryv1.Claim{{Hostname: host, Generation: 7, AgentId: a.GetAgentId(), Instance: instance(2)}}
	delete(r.registry.claims, hostOf(gone))
	r.registry.mu.Unlock()
	r.registry.forget()
	if c := a.hearClosed(); c.GetTunnelId() != tunnelID(3) || c.GetReason() != agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER {
		t.Errorf("taken over: %v", c)
	}
	if c := b.hearClosed(); c.GetTunnelId() != tunnelID(4) || c.GetReason() != agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED {
		t.Errorf("run out: %v", c)
	}
	for _, want := range []string{tunnelID(3), tunnelID(4)} {
		if end, err := watch.Recv(); err != nil || end.GetTunnelId() != want {
			t.Errorf("frontdoors heard %v, %v", end, err)
		}
	}
	r.registry.ready(t)
	again := map[string]string{}
	for _, at := range see(r.registry, func() []*registryv1.Attachment { return r.registry.reattached }) {
		again[at.GetHostname()] = at.GetSessionId()
		if at.GetConnectorId() != r.node.NodeID() || at.GetGeneration() != 1 {
			t.Errorf("asserted %v", at)
		}
	}
	if len(again) != 2 || again["random-"+tunnelID(1)+".example.com"] != a.GetSessionId() || again["random-"+tunnelID(2)+".example.com"] != b.GetSessionId() {
		t.Errorf("asserted %v", again)
	}
	if e := b.ask(reqTunnel(3, tunnelID(4)))[0].GetError(); e != nil {
		t.Errorf("asked again: %v", e)
	}
}

// An outage that outlasts the lease: nobody has said that the registration is
// gone, and it is made anew all the same; what stood stands again.
func TestAnOutageThatOutlastsTheLease(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	see(r.registry, func() bool { r.registry.ttl = 600 * time.Millisecond; return true })
	r.registry.forget()
	r.registry.ready(t)
	r.registry.set(errDown, "Heartbeat", "RegisterNode", "Reattach", "Bind", "EndSession")
	eventually(t, func() bool { return see(r.registry, func() bool { return r.registry.refused > 0 }) }, "the connector registers anew")
	a.ping(1)
	a.hearPong(1) // sessions do not notice
	see(r.registry, func() bool { r.registry.synced = false; return true })
	r.registry.set(nil)
	r.registry.ready(t)
	if again := see(r.registry, func() []*registryv1.Attachment { return r.registry.reattached }); len(again) != 1 || again[0].GetSessionId() != a.GetSessionId() {
		t.Errorf("asserted %v", again)
	}
}

// A bind that meets a forgotten registration waits for the new one.
func TestABindFindsTheRegistrationForgotten(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	r.registry.mu.Lock()
	r.registry.ttl = time.Hour // no heartbeat will find it out
	r.registry.mu.Unlock()
	r.registry.forget()
	r.registry.ready(t)
	r.registry.forget()
	if answers := a.ask(reqTunnel(1, tunnelID(1))); answers[0].GetError() != nil {
		t.Errorf("answer %v", answers[0])
	}
	if r.node.Attachments() != 1 {
		t.Error("the tunnel is not noted")
	}
}

func TestEndsAreKeptForARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a, b := r.join(hello("t-acme")), r.join(hello("t-acme"))
	b.ask(reqTunnel(1, tunnelID(2)))
	r.registry.set(errDown, "EndSession", "Release", "Heartbeat")
	_ = a.conn.Close()
	b.closeTunnel(tunnelID(2))
	b.hearClosed() // the agent need not wait for the registry
	r.registry.set(nil)
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	eventually(t, func() bool { return r.registry.hasReleased(tunnelID(2)) }, "the tunnel is released")
}

func TestOtherConnectorsAreNamed(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	node := func(id string, state registryv1.NodeState) *registryv1.Change {
		return &registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
			Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: id, State: state,
		}}}
	}
	r.registry.announce(node(r.node.NodeID(), registryv1.NodeState_NODE_STATE_READY),
		node("c2-abcd", registryv1.NodeState_NODE_STATE_READY), node("c3-abcd", registryv1.NodeState_NODE_STATE_DRAINING))
	eventually(t, func() bool {
		others := r.join(hello("t-acme")).GetOtherConnectors()
		return len(others) == 1 && others[0] == "c2-abcd"
	}, "the agent is told of the other connector that takes sessions")
}
