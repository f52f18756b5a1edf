package frontdoor_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain = "tunnel.test"
	limit  = 20 * time.Second
)

// world is a frontdoor among fakes of its neighbours, with real agents' wires.
type world struct {
	t          *testing.T
	front      *frontdoor.Frontdoor
	registry   *fakeRegistry
	connectors map[string]*fakeConnector
	services   map[string]*service // by name: registry, auth and connectors' ids
	serviceCA  *tlsconf.CA
	proxyCA    *tlsconf.CA
	publicCA   *tlsconf.CA
	stop       func() error // drains, and returns Run's answer
	ctx        context.Context

	mu sync.Mutex // guards services
}

type worldOptions struct {
	config    func(*frontdoor.Config)
	deps      func(*frontdoor.Deps)
	telemetry *telemetry.Telemetry
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	w := &world{
		t: t, registry: newFakeRegistry(), connectors: map[string]*fakeConnector{}, services: map[string]*service{},
		serviceCA: testkit.CA(t), proxyCA: testkit.CA(t), publicCA: testkit.CA(t),
	}
	front := []string{tlsconf.RoleFrontdoor}
	methods := testkit.Internal(front, registryv1.NodeService_ServiceDesc, registryv1.DirectoryService_ServiceDesc)
	methods.External = map[string]principal.Role{registryv1.NameService_InspectName_FullMethodName: principal.ReadOnly}
	w.services["registry"] = serveRPC(t, w.serviceCA, tlsconf.RoleRegistry, methods, func(s *rpc.Server) {
		registryv1.RegisterNameServiceServer(s, w.registry)
		registryv1.RegisterNodeServiceServer(s, w.registry)
		registryv1.RegisterDirectoryServiceServer(s, w.registry)
	})
	w.services["auth"] = serveRPC(t, w.serviceCA, tlsconf.RoleAuth, testkit.Internal(front, authv1.CredentialService_ServiceDesc), func(s *rpc.Server) {
		authv1.RegisterCredentialServiceServer(s, fakeAuth{})
	})
	w.run(o)
	return w
}

func (w *world) run(o worldOptions) {
	t := w.t
	t.Helper()
	registry, err := w.services["registry"].dial()
	fatal(t, err)
	auth, err := w.services["auth"].dial()
	fatal(t, err)
	proxyCert, err := w.proxyCA.Issue(tlsconf.Request{DNSNames: []string{"*.proxy." + domain}, Server: true})
	fatal(t, err)
	tel := o.telemetry
	if tel == nil {
		tel, err = telemetry.New(t.Context(), telemetry.Config{Service: "frontdoor"}, nil)
		fatal(t, err)
	}
	config := frontdoor.Default()
	config.NodeName, config.Domain = "fd", domain
	config.HTTPListen, config.TLSListen = "127.0.0.1:0", "127.0.0.1:0"
	config.Certificates = []frontdoor.CertFile{w.publicCert("*." + domain)}
	config.PoolFloor = 0 // tests count connections; those of the floor say so
	config.DrainDelay, config.DrainTimeout = 0, 10*time.Second
	if o.config != nil {
		o.config(&config)
	}
	own, err := w.serviceCA.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: tlsconf.RoleFrontdoor, Name: "fd"}, Client: true, Server: true})
	fatal(t, err)
	deps := frontdoor.Deps{
		ServiceTLS: tlsconf.ServiceServer(*own, w.serviceCA.Pool()),
		PeerTLS:    tlsconf.ServiceClient(*own, w.serviceCA.Pool(), tlsconf.RoleFrontdoor),
		Registry:   registry, Auth: auth, Logger: testkit.Logger(t), Telemetry: tel,
		ProxyTLS:  &tls.Config{Certificates: []tls.Certificate{*proxyCert}},
		Connector: func(id, _ string) (grpc.ClientConnInterface, error) { return w.service(id).dial() },
	}
	if o.deps != nil {
		o.deps(&deps)
	}
	w.front, err = frontdoor.New(config, deps)
	fatal(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.front.Run(ctx) }()
	agents, endAgents := context.WithCancel(context.Background())
	w.ctx = agents
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		endAgents()
		_ = registry.Close()
		_ = auth.Close()
		if o.telemetry == nil {
			_ = tel.Shutdown(context.Background())
		}
	})
	testkit.Eventually(t, limit, w.front.Ready, "ready")
}

func (w *world) publicCert(names ...string) frontdoor.CertFile {
	cert, err := w.publicCA.Issue(tlsconf.Request{DNSNames: names, Server: true})
	fatal(w.t, err)
	dir := w.t.TempDir()
	f := frontdoor.CertFile{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	fatal(w.t, tlsconf.WritePair(cert, f.Cert, f.Key))
	return f
}

func (w *world) service(name string) *service {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.services[name]
}

// connector adds a connector and waits until the frontdoor watches its sessions.
func (w *world) connector(id string) *fakeConnector {
	w.t.Helper()
	c := newFakeConnector(id)
	front := []string{tlsconf.RoleFrontdoor}
	methods := testkit.Internal(front, connectorv1.DialbackService_ServiceDesc)
	methods.External = sessionMethods
	s := serveRPC(w.t, w.serviceCA, tlsconf.RoleConnector, methods, func(s *rpc.Server) {
		connectorv1.RegisterDialbackServiceServer(s, c)
		connectorv1.RegisterSessionServiceServer(s, c)
	})
	w.mu.Lock()
	w.services[id], w.connectors[id] = s, c
	w.mu.Unlock()
	w.registry.put(nodeChange(id))
	testkit.Eventually(w.t, limit, c.watched, "the frontdoor watches the connector's sessions")
	return c
}

func nodeChange(id string) *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_CONNECTOR, Id: id, Address: id, Registration: 1, Synced: true,
		State: registryv1.NodeState_NODE_STATE_READY,
	}}}
}

// agent returns an agent in front of a local address.
func (w *world) agent(upstream string) *fakeAgent {
	a := &fakeAgent{
		server: w.front.TLSAddr().String(), pins: []tlsconf.Pin{w.proxyCA.Pin()},
		ctx: w.ctx, upstream: upstream, clients: map[*proxyconn.Client]bool{}, tickets: map[string]bool{},
	}
	_, _ = rand.Read(a.instance[:])
	a.id = fmt.Sprintf("agent-%x", a.instance[:4])
	w.t.Cleanup(func() {
		_ = w.stop()
		a.mu.Lock()
		for c := range a.clients {
			_ = c.Close()
		}
		a.mu.Unlock()
		a.wg.Wait()
	})
	return a
}

// claimChange is the agent's claim of a name.
func claimChange(a *fakeAgent, name string, options []byte, critical ...string) *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Claim{Claim: &registryv1.Claim{
		Hostname: name, State: registryv1.ClaimState_CLAIM_STATE_ACTIVE, Generation: 1, AccountId: "default",
		AgentId: a.id, Instance: a.instance[:], TunnelId: "tunnel-" + name,
		Protocol: proxyv1.Protocol_PROTOCOL_HTTP, Options: options, Critical: critical, Revision: 1,
	}}}
}

func attachment(name, connector, session string) *registryv1.Attachment {
	return &registryv1.Attachment{Hostname: name, Generation: 1, ConnectorId: connector, SessionId: session}
}

func attachChange(name, connector, session string) *registryv1.Change {
	return &registryv1.Change{Change: &registryv1.Change_Attachment{Attachment: attachment(name, connector, session)}}
}

// tunnel makes an endpoint that leads to the local address.
func (w *world) tunnel(name, upstream string) *fakeAgent {
	w.t.Helper()
	c := w.connectors["c1"]
	if c == nil {
		c = w.connector("c1")
	}
	a := w.agent(upstream)
	w.attach(c, a, name)
	w.registry.put(claimChange(a, name, nil), attachChange(name, c.id, "session-"+a.id))
	return a
}

// attach gives the agent a session.
func (w *world) attach(c *fakeConnector, a *fakeAgent, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions["session-"+a.id] = a
}

// client returns a visitor: whatever the name, he gets to this frontdoor.
func (w *world) client(protocols ...string) *http.Client {
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			to := w.front.HTTPAddr().String()
			if _, port, _ := net.SplitHostPort(addr); port == "443" {
				to = w.front.TLSAddr().String()
			}
			return dialer.DialContext(ctx, "tcp", to)
		},
		TLSClientConfig:    &tls.Config{RootCAs: w.publicCA.Pool()},
		DisableCompression: true,
	}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	for _, p := range protocols {
		if p == "h2" {
			transport.Protocols.SetHTTP1(false)
			transport.Protocols.SetHTTP2(true)
		}
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
