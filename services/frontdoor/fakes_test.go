package frontdoor_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

var errUnknownEndpoint = errs.New(errs.NotFound, errs.ReasonEndpointNotFound, "no such endpoint")

// fakeRegistry is a registry in memory whose watch can be broken.
type fakeRegistry struct {
	registryv1.UnimplementedNodeServiceServer
	registryv1.UnimplementedDirectoryServiceServer
	registryv1.UnimplementedNameServiceServer

	mu       sync.Mutex
	revision int64
	log      []*registryv1.Change // since revision 1
	claims   map[string]*registryv1.Claim
	attached map[string][]*registryv1.Attachment
	nodes    map[string]*registryv1.Node
	states   []registryv1.NodeState // that frontdoors have announced
	gone     []string               // that have deregistered
	problems []*registryv1.PortProblem
	silent   bool // the watch says nothing
	stuck    bool // does not answer users
	reserved map[string]*registryv1.Reservation
	lookups  int
	changed  chan struct{}
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{
		claims: map[string]*registryv1.Claim{}, attached: map[string][]*registryv1.Attachment{},
		nodes: map[string]*registryv1.Node{}, changed: make(chan struct{}),
	}
}

// put applies changes as one revision.
func (r *fakeRegistry) put(changes ...*registryv1.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, change := range changes {
		r.revision++
		r.log = append(r.log, change)
		switch c := change.GetChange().(type) {
		case *registryv1.Change_Claim:
			r.claims[c.Claim.GetHostname()] = c.Claim
		case *registryv1.Change_ClaimRemoved:
			delete(r.claims, c.ClaimRemoved)
			delete(r.attached, c.ClaimRemoved)
		case *registryv1.Change_Attachment:
			r.attached[c.Attachment.GetHostname()] = append(r.attached[c.Attachment.GetHostname()], c.Attachment)
		case *registryv1.Change_AttachmentEnded:
			r.detach(c.AttachmentEnded.GetAttachment())
		case *registryv1.Change_AttachmentVanished:
			r.detach(c.AttachmentVanished)
		case *registryv1.Change_Node:
			r.nodes[c.Node.GetId()] = c.Node
		case *registryv1.Change_NodeRemoved:
			delete(r.nodes, c.NodeRemoved.GetId())
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *fakeRegistry) detach(a *registryv1.Attachment) {
	list := r.attached[a.GetHostname()]
	r.attached[a.GetHostname()] = slices.DeleteFunc(list, func(b *registryv1.Attachment) bool {
		return b.GetSessionId() == a.GetSessionId()
	})
}

func (r *fakeRegistry) RegisterNode(context.Context, *registryv1.RegisterNodeRequest) (*registryv1.RegisterNodeResponse, error) {
	return &registryv1.RegisterNodeResponse{Registration: 1, LeaseTtl: durationpb.New(time.Second)}, nil
}

func (r *fakeRegistry) Heartbeat(_ context.Context, q *registryv1.HeartbeatRequest) (*registryv1.HeartbeatResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, q.GetState())
	r.problems = q.GetPortProblems()
	return &registryv1.HeartbeatResponse{LeaseTtl: durationpb.New(time.Second)}, nil
}

func (r *fakeRegistry) DeregisterNode(_ context.Context, q *registryv1.DeregisterNodeRequest) (*registryv1.DeregisterNodeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = append(r.gone, q.GetNodeId())
	return &registryv1.DeregisterNodeResponse{}, nil
}

func (r *fakeRegistry) Lookup(_ context.Context, q *registryv1.LookupRequest) (*registryv1.LookupResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookups++
	claim := r.claims[q.GetHostname()]
	if claim == nil {
		return nil, errUnknownEndpoint
	}
	return &registryv1.LookupResponse{
		Claim: claim, Attachments: r.attached[q.GetHostname()], Position: &registryv1.Position{Epoch: 1, Revision: r.revision},
	}, nil
}

func (r *fakeRegistry) Watch(q *registryv1.WatchRequest, stream grpc.ServerStreamingServer[registryv1.WatchResponse]) error {
	at := q.GetAfter().GetRevision()
	first := q.GetAfter() == nil
	for {
		r.mu.Lock()
		changed := r.changed
		var out *registryv1.WatchResponse
		switch {
		case first:
			out = r.snapshot()
		case !r.silent && at < r.revision:
			out = &registryv1.WatchResponse{
				Changes:  slices.Clone(r.log[at:]),
				Position: &registryv1.Position{Epoch: 1, Revision: r.revision},
			}
		}
		r.mu.Unlock()
		if out != nil {
			if err := stream.Send(out); err != nil {
				return err
			}
			at, first = out.GetPosition().GetRevision(), false
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (r *fakeRegistry) snapshot() *registryv1.WatchResponse {
	out := &registryv1.WatchResponse{Snapshot: true, Position: &registryv1.Position{Epoch: 1, Revision: r.revision}}
	for _, n := range r.nodes {
		out.Changes = append(out.Changes, &registryv1.Change{Change: &registryv1.Change_Node{Node: n}})
	}
	for name, c := range r.claims {
		out.Changes = append(out.Changes, &registryv1.Change{Change: &registryv1.Change_Claim{Claim: c}})
		for _, a := range r.attached[name] {
			out.Changes = append(out.Changes, &registryv1.Change{Change: &registryv1.Change_Attachment{Attachment: a}})
		}
	}
	return out
}

// fakeAuth gives the key of trace MACs.
type fakeAuth struct {
	authv1.UnimplementedCredentialServiceServer
}

var macKey = []byte("0123456789abcdef0123456789abcdef")

func (fakeAuth) GetKeys(context.Context, *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return &authv1.GetKeysResponse{TraceMacKey: macKey}, nil
}

// fakeConnector knows the sessions of agents in this process.
type fakeConnector struct {
	connectorv1.UnimplementedDialbackServiceServer
	connectorv1.UnimplementedSessionServiceServer
	id string

	mu       sync.Mutex
	sessions map[string]*fakeAgent
	stuck    bool // does not answer users
	mute     bool // says ASKED and asks nobody
	asked    int  // calls
	tickets  int  // in them
	watchers map[chan *connectorv1.WatchSessionsResponse]bool
}

func newFakeConnector(id string) *fakeConnector {
	return &fakeConnector{
		id: id, sessions: map[string]*fakeAgent{},
		watchers: map[chan *connectorv1.WatchSessionsResponse]bool{},
	}
}

func (c *fakeConnector) RequestProxy(q *connectorv1.RequestProxyRequest, stream grpc.ServerStreamingServer[connectorv1.RequestProxyResponse]) error {
	c.mu.Lock()
	agent, mute := c.sessions[q.GetSessionId()], c.mute
	c.asked++
	c.mu.Unlock()
	for _, ticket := range q.GetTickets() {
		c.mu.Lock()
		c.tickets++
		c.mu.Unlock()
		answer := &connectorv1.RequestProxyResponse{Ticket: ticket, Verdict: connectorv1.Verdict_VERDICT_ASKED}
		if agent == nil {
			answer.Verdict = connectorv1.Verdict_VERDICT_NO_SESSION
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		if agent == nil {
			continue
		}
		if reason := agent.failing(); reason != 0 {
			answer := &connectorv1.RequestProxyResponse{Ticket: ticket, Verdict: connectorv1.Verdict_VERDICT_FAILED, Reason: reason}
			if err := stream.Send(answer); err != nil {
				return err
			}
			continue
		}
		if !mute {
			agent.dial(ticket, q.GetServerName())
		}
	}
	<-stream.Context().Done()
	return nil
}

func (c *fakeConnector) WatchSessions(_ *connectorv1.WatchSessionsRequest, stream grpc.ServerStreamingServer[connectorv1.WatchSessionsResponse]) error {
	ends := make(chan *connectorv1.WatchSessionsResponse, 16)
	c.mu.Lock()
	c.watchers[ends] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.watchers, ends)
		c.mu.Unlock()
	}()
	if err := stream.Send(&connectorv1.WatchSessionsResponse{}); err != nil {
		return err
	}
	for {
		select {
		case end := <-ends:
			if err := stream.Send(end); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (c *fakeConnector) watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watchers) > 0
}

// end ends a session and says so.
func (c *fakeConnector) end(a *fakeAgent, session string, reason agentv1.CloseReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, session)
	for w := range c.watchers {
		w <- &connectorv1.WatchSessionsResponse{
			AgentId: a.id, Instance: a.instance[:], SessionId: session, Reason: reason,
		}
	}
}

func (c *fakeConnector) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// fakeAgent is the real wire in front of a local address.
type fakeAgent struct {
	id       string
	instance [16]byte
	server   string // the frontdoor's TLS address
	pins     []tlsconf.Pin
	ctx      context.Context

	mu       sync.Mutex
	upstream string // "" refuses
	fail     agentv1.FailReason
	starts   []*proxyv1.Start
	requests []*proxyv1.Req
	dials    int
	tickets  map[string]bool // that were dialled
	slow     chan struct{}   // if set: dials wait until it is closed
	byHand   func(net.Conn)  // serves the next dial's connection, behind the introduction
	clients  map[*proxyconn.Client]bool
	wg       sync.WaitGroup
}

func (a *fakeAgent) failing() agentv1.FailReason {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fail
}

func (a *fakeAgent) dial(ticket []byte, serverName string) {
	a.mu.Lock()
	again := a.tickets[string(ticket)] // by another attachment: true agents dial once
	a.tickets[string(ticket)] = true
	if !again {
		a.dials++
	}
	slow := a.slow
	a.mu.Unlock()
	if again {
		return
	}
	a.wg.Go(func() {
		if slow != nil {
			<-slow
		}
		if byHand := a.takeByHand(); byHand != nil {
			a.serveByHand(ticket, serverName, byHand)
			return
		}
		client, err := a.register(ticket, serverName)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.clients[client] = true
		a.mu.Unlock()
		_ = client.Serve(a.ctx, a.serve)
		a.mu.Lock()
		delete(a.clients, client)
		a.mu.Unlock()
	})
}

func (a *fakeAgent) register(ticket []byte, serverName string) (*proxyconn.Client, error) {
	config := tlsconf.PinnedClient(serverName, a.pins)
	config.NextProtos = []string{"dialback-proxy/1"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(a.ctx, "tcp", a.server)
	if err != nil {
		return nil, err
	}
	return proxyconn.Register(a.ctx, conn, &proxyv1.RegProxy{Ticket: ticket, AgentVersion: "test"}, proxyconn.Options{})
}

func (a *fakeAgent) serve(_ context.Context, e *proxyconn.ClientExchange) {
	a.mu.Lock()
	a.starts = append(a.starts, e.Start())
	upstream := a.upstream
	a.mu.Unlock()
	if upstream == "" {
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
		return
	}
	conn, err := net.Dial("tcp", upstream)
	if err != nil {
		_ = e.Refuse(proxyv1.Code_CODE_UPSTREAM_REFUSED)
		return
	}
	if err := e.Accept(0); err != nil {
		_ = conn.Close()
		return
	}
	_ = e.Pipe(conn, a)
}

func (a *fakeAgent) RequestBegin(q *proxyv1.Req) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, q)
}
func (a *fakeAgent) ReplyBegin()                       {}
func (a *fakeAgent) RequestEnd(proxyconn.RequestStats) {}

func (a *fakeAgent) seenRequests() []*proxyv1.Req {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// conns is how many proxy connections stand at the agent's end.
func (a *fakeAgent) conns() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.clients)
}

// dialled is how often the agent has dialled back.
func (a *fakeAgent) dialled() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dials
}

func (a *fakeAgent) forwardTo(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.upstream = address
}

// serveRPC serves a gRPC service on a listener in memory, under a certificate of
// its role, and returns what frontdoors call it with.
func serveRPC(t *testing.T, ca *tlsconf.CA, role string, methods rpc.Methods, register func(*rpc.Server)) *service {
	t.Helper()
	cert, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: "test"}, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{ca: ca, role: role}
	s.start = func() {
		s.memory = rpc.NewMemory()
		s.server = rpc.NewServer(rpc.ServerConfig{
			TLS: tlsconf.ServiceServer(*cert, ca.Pool()), Methods: methods, Users: users, Logger: testkit.Logger(t),
		})
		register(s.server)
		go func(l net.Listener) { _ = s.server.Serve(l) }(s.memory)
	}
	s.start()
	t.Cleanup(func() { s.server.Stop() })
	return s
}

// service is a gRPC service that can be stopped and started.
type service struct {
	ca     *tlsconf.CA
	role   string
	start  func()
	mu     sync.Mutex
	memory *rpc.Memory
	server *rpc.Server
}

func (s *service) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.Stop()
}

func (s *service) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start()
}

// dial returns a frontdoor's connection to the service.
func (s *service) dial() (*grpc.ClientConn, error) {
	cert, err := s.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: tlsconf.RoleFrontdoor, Name: "fd"}, Client: true})
	if err != nil {
		return nil, err
	}
	return rpc.Dial(rpc.ClientConfig{
		Target: s.role, TLS: tlsconf.ServiceClient(*cert, s.ca.Pool(), s.role),
		Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
			s.mu.Lock()
			memory := s.memory
			s.mu.Unlock()
			if memory == nil {
				return nil, errors.New("stopped")
			}
			return memory.Dial(ctx, addr)
		},
	})
}
