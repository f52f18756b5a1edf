package agent_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent"
	"github.com/dialback/dialback/internal/agent/internal/agenttest"
)

// The name is given back first; a visitor whose frontdoor has not heard of it
// yet is still served, by a connection that stands and by a new one.
func TestVisitorsThatCrossTheEndAreServed(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.KeepTunnels = true // the registry is slow
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "still here")}))
	session := server.Session(1)
	standing := server.DialBack(session, nil)
	r.cancel()
	closed := agenttest.Await[*agentv1.ConnectRequest_CloseTunnel](session).CloseTunnel
	if closed.GetTunnelId() != session.Tunnel() {
		t.Errorf("closed %s", closed.GetTunnelId())
	}
	e := server.Begin(standing, session.Tunnel(), nil)
	if status, _ := server.Get(e, "/", &proxyv1.Req{}); status != 200 {
		t.Errorf("by the connection that stands: %d", status)
	}
	_ = e.Close()
	if status, _ := server.Visit(session, session.Tunnel(), "/"); status != 200 {
		t.Errorf("by a new connection: %d", status)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

// Only the frontdoor closes an idle connection: a visitor may be on his way.
func TestAnIdleConnectionIsRetiredNotClosed(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: service(t, "x")}))
	idle := server.DialBack(server.Session(1), nil)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	<-idle.Done()
	if err := idle.Err(); err == nil || err.Error() != "proxyconn: the connection is retired" {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestAVisitorInFlightFinishes(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	local := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = w.Write([]byte("done"))
	}))
	t.Cleanup(local.Close)
	server := agenttest.New(t)
	server.Start()
	r := start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, local.URL)}))
	session := server.Session(1)
	tunnel := session.Tunnel()
	result := make(chan string, 1)
	conn := server.DialBack(session, nil)
	e := server.Begin(conn, tunnel, nil)
	go func() {
		_, body := server.Get(e, "/", &proxyv1.Req{})
		_ = e.Close()
		result <- body
	}()
	<-begun
	r.cancel()
	agenttest.Await[*agentv1.ConnectRequest_CloseTunnel](session)
	time.AfterFunc(1500*time.Millisecond, func() { close(release) }) // behind the time for those who cross
	if body := <-result; body != "done" {
		t.Errorf("got %q", body)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestTheEndWaitsForNobodyForEver(t *testing.T) {
	t.Parallel()
	server := agenttest.New(t)
	server.KeepTunnels = true
	server.Start()
	address, _ := listen(t)
	r := start(t, config(t, server, agent.Tunnel{Upstream: upstream(t, address)}))
	session := server.Session(1)
	e := server.Begin(server.DialBack(session, nil), session.Tunnel(), nil)
	if err := server.Answer(e); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if len(all[agent.Stopping](r)) != 1 {
		t.Error("the owner was not told")
	}
}
