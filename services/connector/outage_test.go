package connector_test

import (
	"errors"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector"
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
	host := taken.GetUrl()[len("http://"):]
	r.registry.mu.Lock()
	// Meanwhile one name went to another process of its agent, and one has run out.
	r.registry.claims[host] = 7
	r.registry.taken = []*registryv1.Claim{{Hostname: host, Generation: 7, AgentId: a.GetAgentId(), Instance: instance(2)}}
	delete(r.registry.claims, gone.GetUrl()[len("http://"):])
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
	tcp := reqTunnel(4, tunnelID(1))
	tcp.Protocol = 2
	if e := a.ask(tcp)[0].GetError(); e.GetReason() != "OPTION_UNSUPPORTED" {
		t.Errorf("tcp: %v", e)
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

func TestTakeOversReachTheAgent(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	var hosts []string
	for i := range byte(4) {
		hosts = append(hosts, a.ask(reqTunnel(uint64(i), tunnelID(i)))[0].GetUrl()[len("http://"):])
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
	host := old.ask(reqTunnel(1, tunnelID(1)))[0].GetUrl()[len("http://"):]
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

func TestDrainLetsAgentsLeaveFirst(t *testing.T) {
	t.Parallel()
	r := start(t)
	watch := r.watch()
	a, stays := r.join(hello("t-acme")), r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	f := r.frontdoor()
	r.stop()
	away := a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetGoAway() != nil }).GetGoAway()
	if away.GetReason() != agentv1.CloseReason_CLOSE_REASON_SHUTDOWN || away.GetDeadline().AsDuration() <= 0 ||
		away.GetSpread().AsDuration() > away.GetDeadline().AsDuration()/2 {
		t.Errorf("%v", away)
	}
	eventually(t, func() bool {
		return see(r.registry, func() bool { return r.registry.node.GetState() == registryv1.NodeState_NODE_STATE_DRAINING })
	}, "the registry hears of the drain")
	_, err := r.tryJoin(hello("t-acme"))
	if e, ok := errs.From(err); !ok || !errors.Is(err, unavailable) || e.RetryAfter() <= 0 {
		t.Errorf("a new session: %v", err)
	}
	if v := verdict(t, requestProxy(r.ctx, t, f, a.wanted(ticket()))); v.GetVerdict() != asked {
		t.Errorf("a dial-back while draining: %v", v.GetVerdict())
	}
	for _, leaves := range []*agent{a, stays} {
		if err := leaves.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Error(err)
		}
	}
	if err := <-r.stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.stopped <- nil
	if !see(r.registry, func() bool { return r.registry.left }) {
		t.Error("the node is still in the table")
	}
	if _, ok := r.registry.endOf(a.GetSessionId()); !ok {
		t.Error("the registry was not told of the session's end")
	}
	if _, err := watch.Recv(); !errors.Is(err, unavailable) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestDrainEndsWhoStaysAtTheDeadline(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	r.stop()
	if err := a.end(); !errors.Is(err, unavailable) {
		t.Errorf("the agent was told %v", err)
	}
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
}
