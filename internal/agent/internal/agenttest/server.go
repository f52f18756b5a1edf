// Package agenttest is a connector and a frontdoor in one, for tests of the
// agent: real TLS, real gRPC, real proxy connections, and a switch for whatever a
// server may do.
package agenttest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Limit is how long tests wait for what has to come.
const Limit = 15 * time.Second

// FrontdoorName is the server name of the fake's frontdoor.
const FrontdoorName = "fd1.proxy.localhost"

const alpn = "dialback-proxy/1"

// Server is the fake. Its fields may be set before the first agent comes.
type Server struct {
	agentv1.UnimplementedControlServiceServer

	// CA signs the server's certificate.
	CA *tlsconf.CA
	// ProxyCA signs the certificate of proxy connections; nil: CA.
	ProxyCA *tlsconf.CA
	// Auth answers an agent; nil: everybody is welcome.
	Auth func(*agentv1.Auth) (*agentv1.AuthResp, error)
	// Bind answers a wish; nil: granted.
	Bind func(*Session, *agentv1.ReqTunnel) []*agentv1.NewTunnel
	// KeepTunnels leaves CloseTunnel unanswered.
	KeepTunnels bool
	// HoldEnd, if it is set, has sessions that agents have left end only when it is
	// closed.
	HoldEnd chan struct{}

	t    testing.TB
	addr string

	mu       sync.Mutex
	sessions []*Session
	arrivals map[string]chan *proxyconn.Server
	names    []string          // server names of control connections
	asked    map[string]string // the same, by the agent's address
	dials    int               // proxy connections that came
	resumed  int               // of them, by a resumed TLS session
	spans    []*tracev1.Span
	metadata []string // sessions that sent spans
}

// New returns a fake that does not listen yet.
func New(t testing.TB) *Server {
	return &Server{CA: testkit.CA(t), t: t, arrivals: map[string]chan *proxyconn.Server{}, asked: map[string]string{}}
}

// Start listens, on the address that it had if it was stopped, and returns what
// stops it; the test's end does as well.
func (s *Server) Start() (stop func()) {
	s.t.Helper()
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	raw, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = raw.Addr().String()
	config := s.tls()
	control := newQueue(raw.Addr())
	server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	agentv1.RegisterControlServiceServer(server, s)
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = server.Serve(control) })
	tasks.Go(func() { s.accept(tls.NewListener(raw, config), control, &tasks) })
	stop = sync.OnceFunc(func() {
		_ = raw.Close()
		server.Stop()
		tasks.Wait()
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *Server) tls() *tls.Config {
	control := s.issue(s.CA, "control.localhost", "*.control.localhost")
	proxy := s.issue(cmp.Or(s.ProxyCA, s.CA), "*.proxy.localhost")
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", alpn},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if strings.HasSuffix(hello.ServerName, ".proxy.localhost") {
				return proxy, nil
			}
			return control, nil
		},
	}
}

func (s *Server) issue(ca *tlsconf.CA, names ...string) *tls.Certificate {
	s.t.Helper()
	cert, err := ca.Issue(tlsconf.Request{DNSNames: names, Server: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

// Addr is where the fake listens.
func (s *Server) Addr() string { return s.addr }

// Address is what an agent is configured with: its host is the domain.
func (s *Server) Address() string {
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

func (s *Server) accept(l net.Listener, control *queue, tasks *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		tasks.Go(func() { s.sort(conn.(*tls.Conn), control) })
	}
}

// sort tells control from proxy connections.
func (s *Server) sort(conn *tls.Conn, control *queue) {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		_ = conn.Close()
		return
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != alpn {
		s.mu.Lock()
		s.names = append(s.names, state.ServerName)
		s.asked[conn.RemoteAddr().String()] = state.ServerName
		s.mu.Unlock()
		control.put(conn)
		return
	}
	proxy, reg, err := proxyconn.Accept(ctx, conn, proxyconn.Options{AckTimeout: Limit})
	if err != nil {
		return
	}
	s.mu.Lock()
	s.dials++
	if state.DidResume {
		s.resumed++
	}
	arrival := s.arrivals[string(reg.GetTicket())]
	delete(s.arrivals, string(reg.GetTicket()))
	s.mu.Unlock()
	if arrival == nil {
		_ = proxy.Close()
		return
	}
	arrival <- proxy
}

// Dials is how many proxy connections have come, and how many of them resumed a
// TLS session.
func (s *Server) Dials() (all, resumed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials, s.resumed
}

// ServerNames are those that agents asked for on control connections.
func (s *Server) ServerNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.names...)
}

// Spans are those that agents have sent.
func (s *Server) Spans() []*tracev1.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*tracev1.Span(nil), s.spans...)
}

// ExportSpans keeps them.
func (s *Server) ExportSpans(stream grpc.ClientStreamingServer[agentv1.ExportSpansRequest, agentv1.ExportSpansResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.mu.Lock()
	s.metadata = append(s.metadata, md.Get("dialback-session")...)
	s.mu.Unlock()
	for {
		m, err := stream.Recv()
		if err != nil {
			return stream.SendAndClose(&agentv1.ExportSpansResponse{})
		}
		var batch collectorv1.ExportTraceServiceRequest
		if err := proto.Unmarshal(m.GetOtlp(), &batch); err != nil || len(m.GetOtlp()) > 64<<10 {
			s.t.Errorf("a batch of %d bytes: %v", len(m.GetOtlp()), err)
		}
		s.mu.Lock()
		for _, r := range batch.GetResourceSpans() {
			if r.GetResource() != nil {
				s.t.Errorf("spans describe the agent's machine: %v", r.GetResource())
			}
			for _, scope := range r.GetScopeSpans() {
				s.spans = append(s.spans, scope.GetSpans()...)
			}
		}
		s.mu.Unlock()
	}
}

// SpanSessions are the ids that came with spans.
func (s *Server) SpanSessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.metadata...)
}

// Session waits for the n-th session, from 1, that was welcomed.
func (s *Server) Session(n int) *Session {
	s.t.Helper()
	var found *Session
	testkit.Eventually(s.t, Limit, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.sessions) >= n {
			found = s.sessions[n-1]
		}
		return found != nil
	}, "no session")
	return found
}

// Sessions is how many there were.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Ticket returns a fresh ticket and where its connection arrives.
func (s *Server) Ticket() ([]byte, <-chan *proxyconn.Server) {
	ticket := make([]byte, 16)
	_, _ = rand.Read(ticket)
	arrival := make(chan *proxyconn.Server, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals[string(ticket)] = arrival
	return ticket, arrival
}

// DialBack has the session's agent dial back.
func (s *Server) DialBack(session *Session, trace *proxyv1.TraceContext) *proxyconn.Server {
	s.t.Helper()
	ticket, arrival := s.Ticket()
	session.Ask(&agentv1.Dial{Ticket: ticket, ServerName: FrontdoorName, Remaining: durationpb.New(Limit), Trace: trace})
	select {
	case conn := <-arrival:
		s.t.Cleanup(func() { _ = conn.Close() })
		return conn
	case <-time.After(Limit):
		s.t.Fatal("the agent does not dial back")
		return nil
	}
}
