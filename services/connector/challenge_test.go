package connector_test

import (
	"errors"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

// challenge asks as a service of this role whether an agent's process is there.
func (r *rig) challenge(role, agentID string, instance []byte) (bool, error) {
	client := connectorv1.NewChallengeServiceClient(r.dial(r.services, role, tlsconf.RoleConnector))
	resp, err := client.Challenge(r.ctx, &connectorv1.ChallengeRequest{AgentId: agentID, Instance: instance})
	return resp.GetAnswered(), err
}

func TestAnAgentProvesThatItIsThere(t *testing.T) {
	t.Parallel()
	r := start(t)
	mute := r.join(hello("t-acme"))
	again := hello("t-acme")
	again.AgentId, again.ResumeToken = mute.GetAgentId(), mute.GetResumeToken()
	alive := r.join(again)
	if mute.GetAgentId() != alive.GetAgentId() {
		t.Fatal("the sessions are of two agents")
	}
	id := alive.GetAgentId()
	ask := func(what string, want bool, instance []byte) {
		t.Helper()
		if got, err := r.challenge(tlsconf.RoleRegistry, id, instance); got != want || err != nil {
			t.Errorf("%s: answered %v, %v", what, got, err)
		}
	}
	ask("nobody reads", false, alive.instance)
	ask("another process of the agent", false, instance(9))

	done := make(chan struct{})
	go func() { // reads, and answers pings, to its end
		defer close(done)
		for {
			msg, err := alive.stream.Recv()
			if err != nil {
				return
			}
			if ping := msg.GetPing(); ping != nil {
				_ = alive.stream.Send(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Pong{Pong: &agentv1.Pong{Id: ping.GetId()}}})
			}
		}
	}()
	ask("one of two sessions answers", true, alive.instance)
	ask("and again", true, alive.instance)
	_ = alive.conn.Close()
	<-done
	r.ended(alive.GetSessionId(), 0)
	ask("it has gone", false, alive.instance)

	if _, err := r.challenge(tlsconf.RoleRegistry, id, []byte("short")); !errors.Is(err, errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "")) {
		t.Errorf("a malformed instance: %v", err)
	}
	if _, err := r.challenge(tlsconf.RoleFrontdoor, id, alive.instance); !errors.Is(err, errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied, "")) {
		t.Errorf("a frontdoor asks: %v", err)
	}
}
