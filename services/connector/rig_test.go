package connector_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is for machines that are busy; no test waits for it.
const limit = 30 * time.Second

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	testkit.Eventually(t, limit, cond, what)
}

// rig is a connector between a fake auth, a fake registry, and whoever connects.
type rig struct {
	t        *testing.T
	ctx      context.Context
	ca       *tlsconf.CA
	auth     *fakeAuth
	registry *fakeRegistry
	services *rpc.Memory
	node     *connector.Connector
	stop     context.CancelFunc
	stopped  chan error
}

// start runs a connector, changed as the test wants it.
func start(t *testing.T, change ...func(*connector.Config, *connector.Deps)) *rig {
	t.Helper()
	r := &rig{
		t: t, ca: testkit.CA(t), auth: newFakeAuth(), registry: newFakeRegistry(),
		services: rpc.NewMemory(), stopped: make(chan error, 1),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	r.ctx = ctx
	t.Cleanup(cancel)
	agents, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := connector.Default()
	cfg.NodeName, cfg.Domain, cfg.Address = "c1", "example.com", "connector:7400"
	cfg.PublicHTTPPort, cfg.PublicHTTPSPort = 80, 8443
	cfg.ProxyCAPins = []tlsconf.Pin{r.ca.Pin()}
	cfg.PingTimeout = unheard
	deps := connector.Deps{
		AgentListener: agents, AgentTLS: r.serverTLS("control.example.com"),
		ServiceListener: r.services, ServiceTLS: tlsconf.ServiceServer(r.cert(tlsconf.RoleConnector), r.ca.Pool()),
		Auth: r.serveAuth(), Registry: r.serveRegistry(),
		Logger: testkit.Logger(t), Telemetry: telemetry.Noop(),
	}
	for _, f := range change {
		f(&cfg, &deps)
	}
	if r.node, err = connector.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.stopped <- r.node.Run(run) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-r.stopped:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * limit):
			t.Error("the connector does not stop")
		}
	})
	r.registry.ready(t)
	eventually(t, r.auth.watching, "the connector watches revocations")
	return r
}

// unheard is how long an agent may say nothing: longer than any test takes, for those
// of tests answer no ping.
const unheard = time.Hour

func quickDrain(cfg *connector.Config, _ *connector.Deps) { cfg.DrainTimeout = 200 * time.Millisecond }

func (r *rig) serverTLS(name string) *tls.Config {
	cert, err := r.ca.Issue(tlsconf.Request{DNSNames: []string{name}, Server: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
}

func (r *rig) cert(role string) tls.Certificate {
	cert, err := r.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: "x1"}, Client: true, Server: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return *cert
}

func (r *rig) serveAuth() *grpc.ClientConn {
	mem, server := r.serve(tlsconf.RoleAuth, testkit.Internal([]string{tlsconf.RoleConnector}, authv1.CredentialService_ServiceDesc), func(s grpc.ServiceRegistrar) { authv1.RegisterCredentialServiceServer(s, r.auth) })
	_ = server
	return r.dial(mem, tlsconf.RoleConnector, tlsconf.RoleAuth)
}

func (r *rig) serveRegistry() *grpc.ClientConn {
	methods := testkit.Internal([]string{tlsconf.RoleConnector}, registryv1.NodeService_ServiceDesc, registryv1.DirectoryService_ServiceDesc)
	mem, _ := r.serve(tlsconf.RoleRegistry, methods, func(s grpc.ServiceRegistrar) {
		registryv1.RegisterNodeServiceServer(s, r.registry)
		registryv1.RegisterDirectoryServiceServer(s, r.registry)
	})
	return r.dial(mem, tlsconf.RoleConnector, tlsconf.RoleRegistry)
}

func (r *rig) serve(role string, methods rpc.Methods, register func(grpc.ServiceRegistrar)) (*rpc.Memory, *rpc.Server) {
	mem := rpc.NewMemory()
	server := rpc.NewServer(rpc.ServerConfig{
		TLS: tlsconf.ServiceServer(r.cert(role), r.ca.Pool()), Methods: methods, Logger: slog.New(slog.DiscardHandler),
	})
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(mem) }()
	r.t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return mem, server
}

func (r *rig) dial(mem *rpc.Memory, as, to string) *grpc.ClientConn {
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: to, Dialer: mem.Dial, TLS: tlsconf.ServiceClient(r.cert(as), r.ca.Pool(), to),
		Telemetry: telemetry.Noop(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// frontdoor returns a client with a frontdoor's certificate.
func (r *rig) frontdoor() connectorv1.DialbackServiceClient {
	return connectorv1.NewDialbackServiceClient(r.dial(r.services, tlsconf.RoleFrontdoor, tlsconf.RoleConnector))
}

// watch returns a standing watch of sessions' ends.
func (r *rig) watch() connectorv1.DialbackService_WatchSessionsClient {
	r.t.Helper()
	stream, err := r.frontdoor().WatchSessions(r.ctx, &connectorv1.WatchSessionsRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		r.t.Fatal(err)
	}
	return stream
}

// connect opens a control stream and says nothing on it yet.
func (r *rig) connect() (agentv1.ControlService_ConnectClient, *grpc.ClientConn) {
	r.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca.CertPEM())
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "passthrough:///" + r.node.AgentAddr().String(),
		TLS:    &tls.Config{RootCAs: roots, ServerName: "control.example.com", MinVersion: tls.VersionTLS13},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	stream, err := agentv1.NewControlServiceClient(conn).Connect(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return stream, conn
}

// agent is a raw client of the control stream.
type agent struct {
	t      *testing.T
	stream agentv1.ControlService_ConnectClient
	conn   *grpc.ClientConn
	*agentv1.AuthResp
	instance []byte
}

func instance(b byte) []byte { return append(make([]byte, 15), b) }

func hello(token string) *agentv1.Auth {
	return &agentv1.Auth{ProtocolVersion: 1, AgentVersion: "test", Authtoken: token, Instance: instance(1)}
}

// join opens a session.
func (r *rig) join(auth *agentv1.Auth) *agent {
	r.t.Helper()
	a, err := r.tryJoin(auth)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) tryJoin(auth *agentv1.Auth) (*agent, error) {
	r.t.Helper()
	stream, conn := r.connect()
	a := &agent{t: r.t, stream: stream, conn: conn, instance: auth.GetInstance()}
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Auth{Auth: auth}})
	msg, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if a.AuthResp = msg.GetAuthResp(); a.AuthResp == nil {
		r.t.Fatalf("the first answer is %v", msg)
	}
	return a, nil
}

func (a *agent) say(m *agentv1.ConnectRequest) {
	a.t.Helper()
	if err := a.stream.Send(m); err != nil {
		a.t.Fatal(err)
	}
}

// hear returns the next message that want accepts, and answers pings meanwhile.
func (a *agent) hear(want func(*agentv1.ConnectResponse) bool) *agentv1.ConnectResponse {
	a.t.Helper()
	for {
		msg, err := a.stream.Recv()
		if err != nil {
			a.t.Fatalf("the session ended: %v", err)
		}
		if ping := msg.GetPing(); ping != nil {
			a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Pong{Pong: &agentv1.Pong{Id: ping.GetId()}}})
		}
		if want(msg) {
			return msg
		}
	}
}

// end reads up to the end of the stream and returns its error.
func (a *agent) end() error {
	for {
		if _, err := a.stream.Recv(); err != nil {
			return err
		}
	}
}

func (a *agent) ping(id uint64) {
	a.t.Helper()
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Ping{Ping: &agentv1.Ping{Id: id}}})
}

func (a *agent) hearPong(id uint64) {
	a.t.Helper()
	a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetPong() != nil && m.GetPong().GetId() == id })
}

func tunnelID(n byte) string {
	id := []byte("0123456789abcdef0123456789abcde0")
	id[31] = "0123456789abcdef"[n]
	return string(id)
}

func reqTunnel(id uint64, tunnel string) *agentv1.ReqTunnel {
	return &agentv1.ReqTunnel{ReqId: id, TunnelId: tunnel, Protocol: proxyv1.Protocol_PROTOCOL_HTTP}
}

// ask asks for a tunnel and returns all NewTunnel that answer it.
func (a *agent) ask(req *agentv1.ReqTunnel) []*agentv1.NewTunnel {
	a.t.Helper()
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ReqTunnel{ReqTunnel: req}})
	var answers []*agentv1.NewTunnel
	for {
		m := a.hear(func(m *agentv1.ConnectResponse) bool {
			return m.GetNewTunnel() != nil && m.GetNewTunnel().GetReqId() == req.GetReqId()
		})
		if answers = append(answers, m.GetNewTunnel()); m.GetNewTunnel().GetLast() {
			return answers
		}
	}
}

func (a *agent) closeTunnel(id string) {
	a.t.Helper()
	a.say(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_CloseTunnel{CloseTunnel: &agentv1.CloseTunnel{TunnelId: id}}})
}

func (a *agent) hearClosed() *agentv1.TunnelClosed {
	a.t.Helper()
	return a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetTunnelClosed() != nil }).GetTunnelClosed()
}

// livelyPings find a dead session in a second or two.
func livelyPings(cfg *connector.Config, _ *connector.Deps) {
	cfg.PingInterval, cfg.PingTimeout = 200*time.Millisecond, time.Second
}

// hostOf is the name in a tunnel's URL.
func hostOf(tunnel *agentv1.NewTunnel) string {
	u, err := url.Parse(tunnel.GetUrl())
	if err != nil {
		panic(err)
	}
	return u.Hostname()
}
