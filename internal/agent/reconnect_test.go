package agent_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
)

func TestALostSessionComesBack(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "back")}))
	url := await[agent.TunnelOnline](r, 1).URLs[0]
	server.Session(1).End(errs.New(errs.Unavailable, errs.ReasonUnavailable, "etcd is away"))
	if lost := await[agent.Retrying](r, 1); !lost.Lost {
		t.Errorf("event %+v", lost)
	}
	if again := await[agent.TunnelOnline](r, 2); !again.Again || again.URLs[0] != url {
		t.Errorf("came back as %+v, was %s", again, url)
	}
	session := server.Session(2)
	if status, body := server.Visit(session, session.Tunnel(), "/"); status != 200 || body != "back/" {
		t.Errorf("%d %q", status, body)
	}
}

func TestRetryInfoIsHonoured(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return nil, errs.New(errs.ResourceExhausted, errs.ReasonOverloaded, "full").WithRetry(time.Minute)
	}
	server.Start()
	r := start(t, config(t, server))
	if try := await[agent.Retrying](r, 1); try.In < time.Minute || try.In > 2*time.Minute {
		t.Errorf("next try in %v, asked for a minute", try.In)
	}
}

func TestBothSidesPing(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return &agentv1.AuthResp{PingInterval: durationpb.New(20 * time.Millisecond), PingTimeout: durationpb.New(agenttest.Limit)}, nil
	}
	server.Start()
	start(t, config(t, server))
	session := server.Session(1)
	session.Ping(42)
	if pong := agenttest.Await[*agentv1.ConnectRequest_Pong](session).Pong; pong.GetId() != 42 || pong.GetUptime() == nil {
		t.Errorf("pong %v", pong)
	}
	testkit.Eventually(t, agenttest.Limit, func() bool {
		return len(agenttest.Received[*agentv1.ConnectRequest_Ping](session)) > 3
	}, "pings of the agent")
}

// The connection stands, the other side is dead: no error ever comes.
func TestASilentServerIsLeft(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return &agentv1.AuthResp{PingInterval: durationpb.New(20 * time.Millisecond), PingTimeout: durationpb.New(500 * time.Millisecond)}, nil
	}
	server.Start()
	start(t, config(t, server))
	server.Session(1).Mute.Store(true)
	server.Session(2)
}

// The order is: attach elsewhere, have the tunnels there, only then leave.
func TestGoAwayIsMakeBeforeBreak(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := agenttest.New(t)
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return &agentv1.AuthResp{OtherConnectors: []string{"c2", "not a label"}}, nil
	}
	server.Bind = func(s *agenttest.Session, req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
		if s.Welcome.GetSessionId() == "session-2" {
			<-release
		}
		return []*agentv1.NewTunnel{{Url: agenttest.URL(req), Last: true}}
	}
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "moved")})
	c.Attachments = 1
	r := start(t, c)
	await[agent.TunnelOnline](r, 1)
	old := server.Session(1)
	old.GoAway(agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
	anew := server.Session(2)
	if anew.Tunnel() != old.Tunnel() {
		t.Errorf("tunnel %s on the new session, %s on the old", anew.Tunnel(), old.Tunnel())
	}
	if status, _ := server.Visit(old, old.Tunnel(), "/"); status != 200 {
		t.Errorf("a visit by the session that is being left: %d", status)
	}
	select {
	case <-old.Ended():
		t.Error("the old session was left before the new one had the tunnel")
	default:
	}
	moved := time.Now()
	close(release)
	<-old.Ended()
	if both := time.Since(moved); both < time.Second {
		t.Errorf("both served for %v: there are frontdoors that have not heard of the new one", both)
	}
	if !old.Clean() {
		t.Error("the old session was not closed in order")
	}
	if status, _ := server.Visit(anew, anew.Tunnel(), "/"); status != 200 {
		t.Errorf("a visit by the new session: %d", status)
	}
	if names := server.ServerNames(); !slices.Equal(names, []string{"control.localhost", "c2.control.localhost"}) {
		t.Errorf("server names %v", names)
	}
	if lost := all[agent.Retrying](r); len(lost) > 0 || len(all[agent.TunnelOnline](r)) != 1 {
		t.Errorf("the owner was told of a move that changes nothing for him: %v", r.events)
	}
}

func TestATunnelEndedByTheServerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	session := server.Session(1)
	session.CloseTunnel(session.Tunnel(), agentv1.CloseReason_CLOSE_REASON_UNSPECIFIED)
	if again := await[agent.TunnelOnline](r, 2); !again.Again {
		t.Errorf("%+v", again)
	}
	if server.Sessions() != 1 {
		t.Error("the session was left for it")
	}
}

// The new session fails before it has the tunnels: the old one is all there is.
func TestTheOldSessionStaysWhileTheNewOneFails(t *testing.T) {
	t.Parallel()
	visited := make(chan struct{})
	server := agenttest.New(t)
	server.Bind = func(s *agenttest.Session, req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
		switch s.Welcome.GetSessionId() {
		case "session-2":
			return nil
		case "session-3":
			<-visited
		}
		return []*agentv1.NewTunnel{{Url: agenttest.URL(req), Last: true}}
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	await[agent.TunnelOnline](r, 1)
	old := server.Session(1)
	old.GoAway(agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
	failing := server.Session(2)
	failing.Tunnel()
	failing.End(errs.New(errs.Unavailable, errs.ReasonUnavailable, "not ready"))
	<-failing.Ended()
	if status, _ := server.Visit(old, old.Tunnel(), "/"); status != 200 {
		t.Errorf("a visit by the old session: %d", status)
	}
	close(visited)
	server.Session(3)
	<-old.Ended()
	if !old.Clean() {
		t.Error("the old session was not closed in order")
	}
}
