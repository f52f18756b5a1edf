package agenttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
)

// Session is one agent's control stream, seen from the server.
type Session struct {
	// Auth is how the agent introduced itself; Welcome what it was told.
	Auth    *agentv1.Auth
	Welcome *agentv1.AuthResp
	// Mute leaves the agent's pings unanswered.
	Mute atomic.Bool

	server *Server
	stream grpc.BidiStreamingServer[agentv1.ConnectRequest, agentv1.ConnectResponse]
	end    chan error
	done   chan struct{}

	sending sync.Mutex

	mu       sync.Mutex
	received []*agentv1.ConnectRequest
	clean    bool
}

func (s *Server) welcome(auth *agentv1.Auth, connector string) (*agentv1.AuthResp, error) {
	resp := &agentv1.AuthResp{}
	if s.Auth != nil {
		var err error
		if resp, err = s.Auth(auth); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	n := len(s.sessions) + 1
	s.mu.Unlock()
	setDefault(&resp.ProtocolVersion, 1)
	setDefault(&resp.SessionId, fmt.Sprintf("session-%d", n))
	setDefault(&resp.ConnectorId, connector)
	if resp.GetAgentId() == "" {
		resp.AgentId = auth.GetAgentId()
		if resp.AgentId == "" {
			resp.AgentId, resp.ResumeToken = fmt.Sprintf("agent-%d", n), fmt.Sprintf("resume-%d", n)
		}
	}
	if resp.GetPingInterval() == nil {
		resp.PingInterval, resp.PingTimeout = durationpb.New(time.Second), durationpb.New(Limit)
	}
	return resp, nil
}

// connector is the id that an agent asked for; "c1" stands for any.
func (s *Server) connector(ctx context.Context) string {
	p, _ := peer.FromContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := strings.CutSuffix(s.asked[p.Addr.String()], ".control.localhost"); ok {
		return id
	}
	return "c1"
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Connect is the control stream.
func (s *Server) Connect(stream grpc.BidiStreamingServer[agentv1.ConnectRequest, agentv1.ConnectResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	welcome, err := s.welcome(first.GetAuth(), s.connector(stream.Context()))
	if err != nil {
		return rpc.ToStatus(err)
	}
	session := &Session{
		Auth: first.GetAuth(), Welcome: welcome, server: s, stream: stream,
		end: make(chan error, 1), done: make(chan struct{}),
	}
	defer close(session.done)
	s.mu.Lock()
	s.sessions = append(s.sessions, session)
	s.mu.Unlock()
	session.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_AuthResp{AuthResp: welcome}})
	ended := make(chan error, 1)
	go func() { ended <- session.read() }()
	select {
	case err := <-session.end:
		return rpc.ToStatus(err)
	case err := <-ended:
		session.mu.Lock()
		session.clean = errors.Is(err, io.EOF)
		session.mu.Unlock()
		if s.HoldEnd != nil {
			select {
			case <-s.HoldEnd:
			case <-stream.Context().Done():
			}
		}
		return nil
	}
}

func (n *Session) read() error {
	for {
		m, err := n.stream.Recv()
		if err != nil {
			return err
		}
		n.mu.Lock()
		n.received = append(n.received, m)
		n.mu.Unlock()
		n.answer(m)
	}
}

func (n *Session) answer(m *agentv1.ConnectRequest) {
	switch m := m.GetMessage().(type) {
	case *agentv1.ConnectRequest_Ping:
		if !n.Mute.Load() {
			n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Pong{Pong: &agentv1.Pong{Id: m.Ping.GetId()}}})
		}
	case *agentv1.ConnectRequest_ReqTunnel:
		for _, answer := range n.bind(m.ReqTunnel) {
			answer.ReqId, answer.TunnelId = m.ReqTunnel.GetReqId(), m.ReqTunnel.GetTunnelId()
			n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_NewTunnel{NewTunnel: answer}})
		}
	case *agentv1.ConnectRequest_CloseTunnel:
		if !n.server.KeepTunnels {
			n.CloseTunnel(m.CloseTunnel.GetTunnelId(), agentv1.CloseReason_CLOSE_REASON_CLOSED)
		}
	}
}

func (n *Session) bind(req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
	if n.server.Bind != nil {
		return n.server.Bind(n, req)
	}
	return []*agentv1.NewTunnel{{Url: URL(req), Last: true}}
}

// URL is what the fake grants.
func URL(req *agentv1.ReqTunnel) string {
	switch {
	case req.GetHostname() != "":
		return "http://" + req.GetHostname() + ":7080"
	case req.GetSubdomain() != "":
		return "http://" + req.GetSubdomain() + ".localhost:7080"
	default:
		return "http://r" + req.GetTunnelId()[:8] + ".localhost:7080"
	}
}

// Refuse is the answer to a wish that is not granted.
func Refuse(reason, message string, retry time.Duration) []*agentv1.NewTunnel {
	e := &agentv1.Error{Reason: reason, Message: message}
	if retry > 0 {
		e.RetryAfter = durationpb.New(retry)
	}
	return []*agentv1.NewTunnel{{Error: e, Last: true}}
}

// send ignores errors: an agent may be gone.
func (n *Session) send(m *agentv1.ConnectResponse) {
	n.sending.Lock()
	defer n.sending.Unlock()
	_ = n.stream.Send(m)
}

// Ask sends ReqProxy.
func (n *Session) Ask(dials ...*agentv1.Dial) {
	n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_ReqProxy{ReqProxy: &agentv1.ReqProxy{Dials: dials}}})
}

// Ping sends Ping.
func (n *Session) Ping(id uint64) {
	n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Ping{Ping: &agentv1.Ping{Id: id}}})
}

// GoAway sends GoAway.
func (n *Session) GoAway(reason agentv1.CloseReason) {
	n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_GoAway{GoAway: &agentv1.GoAway{Reason: reason}}})
}

// Connectors says which other connectors there are; they may be attached to at
// once.
func (n *Session) Connectors(others ...string) {
	n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Connectors{
		Connectors: &agentv1.Connectors{Others: others, Spread: durationpb.New(0)},
	}})
}

// CloseTunnel sends TunnelClosed.
func (n *Session) CloseTunnel(id string, reason agentv1.CloseReason) {
	n.send(&agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_TunnelClosed{
		TunnelClosed: &agentv1.TunnelClosed{TunnelId: id, Reason: reason},
	}})
}

// End ends the stream with an error, or nil.
func (n *Session) End(err error) {
	select {
	case n.end <- err:
	default:
	}
}

// Ended is closed when the stream has ended.
func (n *Session) Ended() <-chan struct{} { return n.done }

// Clean reports whether the agent hung up in order.
func (n *Session) Clean() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clean
}

// Received are the agent's messages that match.
func Received[T any](n *Session) []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []T
	for _, m := range n.received {
		if t, ok := m.GetMessage().(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// Await waits for the agent's first message of a kind.
func Await[T any](n *Session) T {
	n.server.t.Helper()
	testkit.Eventually(n.server.t, Limit, func() bool { return len(Received[T](n)) > 0 }, "a message of the agent")
	return Received[T](n)[0]
}

// Tunnel waits until the agent has asked for a tunnel and returns its id.
func (n *Session) Tunnel() string {
	n.server.t.Helper()
	return Await[*agentv1.ConnectRequest_ReqTunnel](n).ReqTunnel.GetTunnelId()
}

// queue is a listener that is fed with connections.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }
