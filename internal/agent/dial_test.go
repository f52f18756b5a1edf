package agent_test

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/internal/testkit"
)

// A frontdoor in doubt sends the same ticket again, by another session too.
func TestATicketIsDialledOnce(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server))
	session := server.Session(1)
	ticket, arrival := server.Ticket()
	dial := &agentv1.Dial{Ticket: ticket, ServerName: agenttest.FrontdoorName, Remaining: durationpb.New(agenttest.Limit)}
	session.Ask(dial, dial)
	session.Ask(dial)
	conn := <-arrival
	defer conn.Close()
	_ = server.DialBack(session, nil).Close() // behind it: what was to come has come
	if all, _ := server.Dials(); all != 2 {
		t.Errorf("%d dial-backs for 2 tickets", all)
	}
}

// listen returns an address where connections are accepted and nothing is said.
func listen(t *testing.T) (addr string, accepted <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			c <- struct{}{}
		}
	}()
	return l.Addr().String(), c
}

// closed returns an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestFailedDialBacksAreToldAtOnce(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.ProxyCA = testkit.CA(t) // that the agent does not know
	server.Start()
	start(t, config(t, server))
	for name, c := range map[string]struct {
		serverName string
		addresses  []string
		want       agentv1.FailReason
	}{
		"another domain":          {"fd1.proxy.example.com", nil, agentv1.FailReason_FAIL_REASON_FORBIDDEN},
		"the proxy domain itself": {"proxy.localhost", nil, agentv1.FailReason_FAIL_REASON_FORBIDDEN},
		"no name":                 {"", nil, agentv1.FailReason_FAIL_REASON_FORBIDDEN},
		"the wrong authority":     {agenttest.FrontdoorName, nil, agentv1.FailReason_FAIL_REASON_TLS},
		// The last resort is the address of the control connection.
		"none of them, mixed": {agenttest.FrontdoorName, []string{"10.0.0.5:443", closed(t)}, agentv1.FailReason_FAIL_REASON_TLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := server.Session(1)
			ticket, _ := server.Ticket()
			session.Ask(&agentv1.Dial{Ticket: ticket, ServerName: c.serverName, Addresses: c.addresses, Remaining: durationpb.New(time.Minute)})
			if got := failure(t, session, ticket); got != c.want {
				t.Errorf("told %v, want %v", got, c.want)
			}
		})
	}
}

func failure(t *testing.T, session *agenttest.Session, ticket []byte) (reason agentv1.FailReason) {
	t.Helper()
	testkit.Eventually(t, agenttest.Limit, func() bool {
		for _, m := range agenttest.Received[*agentv1.ConnectRequest_ProxyFailed](session) {
			if string(m.ProxyFailed.GetTicket()) == string(ticket) {
				reason = m.ProxyFailed.GetReason()
				return true
			}
		}
		return false
	}, "ProxyFailed")
	return reason
}

// An authority can be replaced: the server sends its successor's pin over a
// connection that the configured pin has verified.
func TestPinsThatTheServerSendsAreAdded(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.ProxyCA = testkit.CA(t)
	pin := server.ProxyCA.Pin()
	server.Auth = func(*agentv1.Auth) (*agentv1.AuthResp, error) {
		return &agentv1.AuthResp{ProxyCaPins: [][]byte{{1}, pin[:]}}, nil
	}
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	if status, _ := server.Visit(session, session.Tunnel(), "/"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// A frontdoor's own address may be no good from the agent's network. That of the
// control connection is, and leads there too.
func TestTheLastResortIsTheControlConnectionsAddress(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server))
	session := server.Session(1)
	for name, own := range map[string][]string{
		"nobody listens": {closed(t)}, "not allowed": {"10.0.0.5:443", "example.com:443"}, "no address": {"nonsense"},
	} {
		ticket, arrival := server.Ticket()
		session.Ask(&agentv1.Dial{
			Ticket: ticket, ServerName: "f-" + strings.Fields(name)[0] + ".proxy.localhost", Remaining: durationpb.New(agenttest.Limit), Addresses: own,
		})
		select {
		case conn := <-arrival:
			_ = conn.Close()
		case <-time.After(agenttest.Limit):
			t.Errorf("%s: the dial-back does not come", name)
		}
	}
}

func TestTheNextAddressIsTriedAndRemembered(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server))
	session := server.Session(1)
	silent, accepted := listen(t)
	for i := range 3 {
		ticket, arrival := server.Ticket()
		session.Ask(&agentv1.Dial{
			Ticket: ticket, ServerName: agenttest.FrontdoorName, Remaining: durationpb.New(agenttest.Limit),
			Addresses: []string{silent, server.Addr()},
		})
		select {
		case conn := <-arrival:
			_ = conn.Close()
		case <-time.After(agenttest.Limit):
			t.Fatalf("dial-back %d does not come by the second address", i)
		}
	}
	if n := len(accepted); n != 1 {
		t.Errorf("the silent address was tried %d times, want once", n)
	}
}

func TestTheAgentsOwnLimit(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
	c.MaxConnections = 2
	start(t, c)
	session := server.Session(1)
	if got := session.Auth.GetMaxProxyConnections(); got != 2 {
		t.Errorf("announces %d", got)
	}
	first, second := server.DialBack(session, nil), server.DialBack(session, nil)
	for _, conn := range []*proxyconn.Server{first, second} {
		e := server.Begin(conn, session.Tunnel(), nil)
		if err := server.Answer(e); err != nil {
			t.Fatal(err)
		}
	}
	ticket, _ := server.Ticket()
	session.Ask(&agentv1.Dial{Ticket: ticket, ServerName: agenttest.FrontdoorName})
	if got := failure(t, session, ticket); got != agentv1.FailReason_FAIL_REASON_LIMIT {
		t.Errorf("told %v", got)
	}
	_ = first.Close()
	testkit.Eventually(t, agenttest.Limit, func() bool {
		ticket, arrival := server.Ticket()
		session.Ask(&agentv1.Dial{Ticket: ticket, ServerName: agenttest.FrontdoorName})
		select {
		case conn := <-arrival:
			_ = conn.Close()
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	}, "room for another connection")
}

// A frontdoor that has visitors no more cannot know that another one has, and the
// agent no place for it.
func TestAnIdleConnectionMakesRoomForOneThatIsWanted(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	c := config(t, server, agent.Tunnel{Upstream: service(t, "x")})
	c.MaxConnections = 2
	start(t, c)
	session := server.Session(1)
	busy, idle := server.DialBack(session, nil), server.DialBack(session, nil)
	e := server.Begin(busy, session.Tunnel(), nil)
	if err := server.Answer(e); err != nil {
		t.Fatal(err)
	}
	server.DialBack(session, nil)
	testkit.Eventually(t, agenttest.Limit, func() bool { return idle.Err() != nil }, "the idle one is closed")
	if status, body := server.Get(e, "/", &proxyv1.Req{}); status != http.StatusOK || body != "x/" {
		t.Errorf("the busy one: %d, %q", status, body)
	}
}

func refusal(err error) proxyv1.Code {
	var refused *proxyconn.RefusedError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return proxyv1.Code_CODE_UNSPECIFIED
}

// A server cannot open other services of the agent's machine: only tunnels that
// this process has asked for.
func TestOnlyOwnTunnelsAreServed(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), "00000000000000000000000000000000", nil)
	if code := refusal(server.Answer(e)); code != proxyv1.Code_CODE_TUNNEL_UNKNOWN {
		t.Errorf("answers %v", code)
	}
}

// The frontdoor may learn of a tunnel before the agent has read NewTunnel.
func TestAVisitorBeforeNewTunnelIsServed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := agenttest.New(t)
	server.Bind = func(_ *agenttest.Session, req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
		<-release
		return []*agentv1.NewTunnel{{Url: agenttest.URL(req), Last: true}}
	}
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "early")}))
	session := server.Session(1)
	if status, body := server.Visit(session, session.Tunnel(), "/"); status != 200 || body != "early/" {
		t.Errorf("%d %q", status, body)
	}
	if len(all[agent.TunnelOnline](r)) != 0 {
		t.Error("the tunnel was online already: the test tests nothing")
	}
	close(release)
	await[agent.TunnelOnline](r, 1)
}
