package connector_test

import (
	"errors"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
)

// A grant that is taken back ends the tunnels that lived by it, and no others.
func TestATightenedGrantEndsItsTunnels(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.auth.change(func() { r.auth.grants["t-acc"] = []string{"bind:*.example.com"} }, &authv1.WatchRevocationsResponse{})
	a := r.join(hello("t-acc"))
	kept, lost := reqTunnel(1, tunnelID(1)), reqTunnel(2, tunnelID(2))
	keptHost, lostHost := hostOf(a.ask(kept)[0]), hostOf(a.ask(lost)[0])
	if keptHost == lostHost {
		t.Fatal("both tunnels have one name")
	}
	r.auth.change(func() { r.auth.grants["t-acc"] = []string{"bind:" + keptHost} },
		&authv1.WatchRevocationsResponse{ChangedTokenIds: []string{"t-acc"}})
	closed := a.hearClosed()
	if closed.GetTunnelId() != tunnelID(2) || closed.GetReason() != agentv1.CloseReason_CLOSE_REASON_REVOKED || closed.GetMessage() == "" {
		t.Errorf("the agent is told %v", closed)
	}
	eventually(t, func() bool { return r.registry.hasReleased(tunnelID(2)) }, "the registry is told")
	if r.registry.hasReleased(tunnelID(1)) {
		t.Error("a granted tunnel has ended too")
	}
	a.ping(7)
	a.hearPong(7)
}

// The news of a tightened grant overtakes the answer to a bind.
func TestATunnelThatWasBoundWhileItsGrantWasTightenedEnds(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.join(hello("t-acc"))
	hold := make(chan struct{})
	r.registry.mu.Lock()
	r.registry.hold = hold
	r.registry.mu.Unlock()
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ReqTunnel{ReqTunnel: reqTunnel(1, tunnelID(1))}})
	eventually(t, func() bool { return see(r.registry, func() int { return r.registry.asked }) > 0 }, "the registry is asked")
	before := r.auth.judged()
	r.auth.change(func() { r.auth.grants["t-acc"] = []string{"bind:elsewhere.example.com"} },
		&authv1.WatchRevocationsResponse{ChangedTokenIds: []string{"t-acc"}})
	eventually(t, func() bool { return r.auth.judged() > before }, "the session is judged anew")
	a.ping(7) // answered behind the judgement or not: the bind is answered later than both
	a.hearPong(7)
	close(hold)
	if closed := a.hearClosed(); closed.GetTunnelId() != tunnelID(1) {
		t.Errorf("the agent is told %v", closed)
	}
}

func (a *fakeAuth) judged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.validations
}

func TestASuspendedAccountsSessionsEndAndComeBack(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, other := r.join(hello("t-acc")), r.join(hello("t-other"))
	r.auth.change(func() { r.auth.suspended["acc"] = true }, &authv1.WatchRevocationsResponse{EndedAccountIds: []string{"acc"}})
	if err := a.end(); !errors.Is(err, errSuspended) {
		t.Errorf("the agent is told %v", err)
	}
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_REVOKED)
	if _, err := r.tryJoin(hello("t-acc")); !errors.Is(err, errSuspended) {
		t.Errorf("a new session: %v", err)
	}
	other.ping(7)
	other.hearPong(7)
	r.auth.change(func() { r.auth.suspended["acc"] = false }, &authv1.WatchRevocationsResponse{ChangedAccountIds: []string{"acc"}})
	eventually(t, func() bool { _, err := r.tryJoin(hello("t-acc")); return err == nil }, "the account's agents are taken again")
}

// A session that auth's news overtook is refused, whatever was validated before.
func TestALoweredQuotaEndsTheSessionThatIsTooMany(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.join(hello("t-acc"))
	r.auth.change(func() { r.auth.full = true }, &authv1.WatchRevocationsResponse{ChangedAccountIds: []string{"acc"}})
	if err := a.end(); !errors.Is(err, errQuota) {
		t.Errorf("the agent is told %v", err)
	}
	r.auth.change(func() { r.auth.full = false }, &authv1.WatchRevocationsResponse{})
	if _, err := r.tryJoin(hello("t-acc")); err != nil {
		t.Errorf("the token counts as revoked: %v", err)
	}
}

// The old secret of a rotated token is refused; the new one is not.
func TestARefusedSecretLeavesTheTokenAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.join(hello("t-acc"))
	r.auth.set(errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid, "rotated"), "Validate")
	r.auth.change(func() {}, &authv1.WatchRevocationsResponse{ChangedTokenIds: []string{"t-acc"}})
	if err := a.end(); !errors.Is(err, errTokenInvalid) {
		t.Errorf("the agent is told %v", err)
	}
	r.auth.set(nil)
	if _, err := r.tryJoin(hello("t-acc")); err != nil {
		t.Errorf("the token counts as revoked: %v", err)
	}
}

func TestAuthHearsThatACountedAgentHasLeft(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.auth.change(func() { r.auth.maxAgents = 1 }, &authv1.WatchRevocationsResponse{})
	a := r.join(hello("t-acc"))
	again := hello("t-acc")
	again.AgentId, again.ResumeToken = a.GetAgentId(), a.GetResumeToken()
	b := r.join(again)
	counted := "acc/" + a.GetAgentId()
	_ = a.stream.CloseSend()
	_ = a.end()
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_CLOSED)
	b.ping(7)
	b.hearPong(7)
	if r.auth.hasLeft(counted) {
		t.Error("an agent with another session here was counted out")
	}
	_ = b.stream.CloseSend()
	_ = b.end()
	eventually(t, func() bool { return r.auth.hasLeft(counted) }, "auth is told")
}
