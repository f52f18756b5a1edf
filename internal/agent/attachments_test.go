package agent_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
)

// twice starts an agent that is attached to c1 and c2, and has its tunnel on both.
func twice(t *testing.T, change ...func(*agenttest.Server)) (*agenttest.Server, *running, [2]*agenttest.Session) {
	t.Helper()
	server := agenttest.New(t)
	for _, f := range change {
		f(server)
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "served")}))
	first := server.Session(1)
	first.Tunnel()
	first.Connectors("c2")
	second := server.Session(2)
	second.Tunnel()
	return server, r, [2]*agenttest.Session{first, second}
}

// serves checks that a session's agent serves its tunnel.
func serves(t *testing.T, server *agenttest.Server, s *agenttest.Session) {
	t.Helper()
	if status, body := server.Visit(s, s.Tunnel(), "/"); status != 200 || body != "served/" {
		t.Errorf("by %s: %d %q", s.Welcome.GetConnectorId(), status, body)
	}
}

func TestAnAgentAttachesToTwoConnectors(t *testing.T) {
	t.Parallel()
	server, r, on := twice(t)
	if a, b := on[0].Auth, on[1].Auth; !slices.Equal(a.GetInstance(), b.GetInstance()) || b.GetAgentId() != on[0].Welcome.GetAgentId() {
		t.Error("the second attachment is another agent's")
	}
	if on[0].Tunnel() != on[1].Tunnel() {
		t.Errorf("tunnel %s, and on the second attachment %s", on[0].Tunnel(), on[1].Tunnel())
	}
	if names := server.ServerNames(); !slices.Equal(names, []string{"control.localhost", "c2.control.localhost"}) {
		t.Errorf("server names %v", names)
	}
	serves(t, server, on[0])
	serves(t, server, on[1])

	on[1].Connectors("c1", "c3") // two are wanted
	serves(t, server, on[1])
	if n := server.Sessions(); n != 2 {
		t.Errorf("%d attachments", n)
	}
	if connected := all[agent.Connected](r); len(connected) != 2 || connected[0].Additional || !connected[1].Additional {
		t.Errorf("events %v", connected)
	}
	if online := all[agent.TunnelOnline](r); len(online) != 1 {
		t.Errorf("the owner was told %d times that his tunnel is online", len(online))
	}
}

func TestATicketByBothAttachmentsIsDialledOnce(t *testing.T) {
	t.Parallel()
	server, _, on := twice(t)
	ticket, arrival := server.Ticket()
	dial := &agentv1.Dial{Ticket: ticket, ServerName: agenttest.FrontdoorName, Remaining: durationpb.New(agenttest.Limit)}
	on[0].Ask(dial)
	on[1].Ask(dial)
	conn := <-arrival
	defer conn.Close()
	for _, s := range on { // behind it: what was to come has come
		_ = server.DialBack(s, nil).Close()
	}
	if all, _ := server.Dials(); all != 3 {
		t.Errorf("%d dial-backs for 3 tickets", all)
	}
}

func TestTheLossOfOneAttachmentLosesNothing(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"the first", "the second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, r, on := twice(t)
			lost, other := on[i], on[1-i]
			other.Connectors("c3")
			serves(t, server, other) // it has read it
			lost.End(errs.New(errs.Unavailable, errs.ReasonUnavailable, "killed"))
			if e := await[agent.Narrowed](r, 1); e.Connector != lost.Welcome.GetConnectorId() {
				t.Errorf("lost %s", e.Connector)
			}
			serves(t, server, other)
			third := server.Session(3)
			if id := third.Welcome.GetConnectorId(); id != "c3" {
				t.Errorf("attached to %s", id)
			}
			serves(t, server, third)
			if len(all[agent.Retrying](r)) > 0 || len(all[agent.TunnelOnline](r)) > 1 {
				t.Errorf("the owner was told of a loss that is none: %v", r.events)
			}
		})
	}
}

// Its tunnel was closed on one of two: it is asked for there again, in silence.
func TestATunnelClosedOnOneAttachmentIsOnlineByTheOther(t *testing.T) {
	t.Parallel()
	_, r, on := twice(t)
	on[1].CloseTunnel(on[1].Tunnel(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	testkit.Eventually(t, agenttest.Limit, func() bool {
		return len(agenttest.Received[*agentv1.ConnectRequest_ReqTunnel](on[1])) > 1
	}, "the tunnel is asked for again")
	if len(all[agent.TunnelEnded](r)) > 0 || len(all[agent.TunnelOnline](r)) != 1 {
		t.Errorf("the owner was told: %v", r.events)
	}
}

// A load balancer may lead anywhere, and a connector's word on its id decides.
func TestASecondAttachmentToOneConnectorIsNotMade(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) { return &agentv1.AuthResp{ConnectorId: "c1"}, nil }
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "served")}))
	first := server.Session(1)
	first.Tunnel()
	first.Connectors("c2")
	second := server.Session(2)
	<-second.Ended()
	if asked := agenttest.Received[*agentv1.ConnectRequest_ReqTunnel](second); len(asked) > 0 || !second.Clean() {
		t.Errorf("the second session asked for %d tunnels; closed in order: %v", len(asked), second.Clean())
	}
	serves(t, server, first)
}

// Without an agent id that proves it, it would be a rival for its own names.
func TestASecondAttachmentAsAnotherAgentIsNotMade(t *testing.T) {
	t.Parallel()
	var sessions atomic.Int32
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		id := "known"
		if sessions.Add(1) > 1 {
			id = "stranger"
		}
		return &agentv1.AuthResp{AgentId: id}, nil
	}
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "served")}))
	first := server.Session(1)
	first.Tunnel()
	first.Connectors("c2")
	second := server.Session(2)
	<-second.Ended()
	if asked := agenttest.Received[*agentv1.ConnectRequest_ReqTunnel](second); len(asked) > 0 {
		t.Error("a stranger asked for the tunnel")
	}
	serves(t, server, first)
}

// A connector that comes later is attached to without being asked for.
func TestANewConnectorIsAttachedTo(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "served")}))
	first := server.Session(1)
	first.Tunnel()
	first.Connectors()
	serves(t, server, first)
	first.Connectors("not a label", "c7")
	second := server.Session(2)
	if id := second.Welcome.GetConnectorId(); id != "c7" {
		t.Errorf("attached to %s", id)
	}
	serves(t, server, second)
}

// Both connectors stop in the same second. The agent leaves neither before there
// is another one, and the second only when the first has let it go.
func TestAnAgentLeavesOneConnectorAtATime(t *testing.T) {
	t.Parallel()
	server, r, on := twice(t, func(s *agenttest.Server) { s.HoldEnd = make(chan struct{}) })
	on[0].Connectors("c3")
	on[1].Connectors("c3")
	serves(t, server, on[0])
	serves(t, server, on[1])
	for _, s := range on {
		s.GoAway(agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
	}
	third := server.Session(3)
	third.Tunnel()
	testkit.Eventually(t, agenttest.Limit, func() bool { return on[0].Clean() || on[1].Clean() }, "one is being left")
	left, stays := on[0], on[1]
	if stays.Clean() {
		left, stays = stays, left
	}
	serves(t, server, stays)
	if stays.Clean() {
		t.Error("both are being left at once")
	}
	close(server.HoldEnd)
	<-left.Ended()
	<-stays.Ended()
	if !stays.Clean() {
		t.Error("the second session was not closed in order")
	}
	serves(t, server, third)
	if len(all[agent.Retrying](r))+len(all[agent.Narrowed](r)) > 0 {
		t.Errorf("the owner was told of a move: %v", r.events)
	}
}

// The other attachment serves: there is nothing to wait for but those frontdoors
// that have not heard of it.
func TestAnAgentLeavesForTheAttachmentThatItHas(t *testing.T) {
	t.Parallel()
	server, _, on := twice(t)
	on[0].GoAway(agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
	<-on[0].Ended()
	if !on[0].Clean() || server.Sessions() != 2 {
		t.Errorf("closed in order: %v, %d sessions", on[0].Clean(), server.Sessions())
	}
	serves(t, server, on[1])
}

// Whichever attachment hears of it: the identity is not used again on any.
func TestATakeOverHeardByOneAttachmentEndsBoth(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"the first", "the second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, r, on := twice(t)
			on[i].CloseTunnel(on[i].Tunnel(), agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER)
			await[agent.TakenOver](r, 1)
			<-on[0].Ended()
			<-on[1].Ended()
			anew := server.Session(3)
			if anew.Auth.GetAgentId() != "" || anew.Tunnel() == on[0].Tunnel() {
				t.Errorf("came back as %q with tunnel %s", anew.Auth.GetAgentId(), anew.Tunnel())
			}
			anew.Connectors("c2")
			if again := server.Session(4); again.Auth.GetAgentId() != anew.Welcome.GetAgentId() {
				t.Errorf("attached as %q too", again.Auth.GetAgentId())
			}
		})
	}
}

func TestARevocationHeardByOneAttachmentEndsTheAgent(t *testing.T) {
	t.Parallel()
	_, r, on := twice(t)
	on[1].End(errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "revoked"))
	if err := r.wait(); agent.Classify(err) != agent.FailureToken {
		t.Errorf("ended with %v", err)
	}
}

func TestTheNamesAreGivenBackByEveryAttachment(t *testing.T) {
	t.Parallel()
	server, r, on := twice(t)
	r.cancel()
	for _, s := range on {
		closed := agenttest.Await[*agentv1.ConnectRequest_CloseTunnel](s).CloseTunnel
		if closed.GetTunnelId() != s.Tunnel() {
			t.Errorf("closed %s", closed.GetTunnelId())
		}
		serves(t, server, s) // whose frontdoor has not heard
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if !on[0].Clean() || !on[1].Clean() {
		t.Error("a session was not closed in order")
	}
}
