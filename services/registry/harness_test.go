package registry_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

const (
	domain = "example.com"
	// limit is how long a test waits for what must come.
	limit = 30 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m), etcdkit.PeersStay()...) }

// deployment is an etcd, auth's key and the service CA; replicas are started on it.
type deployment struct {
	t      testing.TB
	etcd   *clientv3.Client
	ca     *tlsconf.CA
	signer ed25519.PrivateKey
	public ed25519.PublicKey

	// answering are connectors that can be called (*rpc.Memory), by their node's id.
	answering *sync.Map
}

// deploy uses a part of the shared etcd.
func deploy(t testing.TB) *deployment {
	client := etcdkit.Etcd(t)
	prefix := testkit.Prefix(t)
	client.KV = namespace.NewKV(client.KV, prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
	client.Lease = namespace.NewLease(client.Lease, prefix)
	return deployOn(t, client)
}

func deployOn(t testing.TB, etcd *clientv3.Client) *deployment {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &deployment{t: t, etcd: etcd, ca: testkit.CA(t), signer: signer, public: public, answering: &sync.Map{}}
}

// dial calls a connector, which may not be there.
func (d *deployment) dial(id, _ string) (grpc.ClientConnInterface, error) {
	mem, ok := d.answering.Load(id)
	if !ok {
		return nil, errors.New("connection refused")
	}
	return rpc.Dial(rpc.ClientConfig{
		Target: id, Dialer: mem.(*rpc.Memory).Dial, TLS: tlsconf.ServiceClient(d.cert(tlsconf.RoleRegistry, "registry"), d.ca.Pool(), tlsconf.RoleConnector),
	})
}

// AssertionKey answers auth's key.
func (d *deployment) AssertionKey(_ context.Context, id string) (ed25519.PublicKey, error) {
	if id != "key-1" {
		return nil, errs.New(errs.Unauthenticated, errs.ReasonPermissionDenied, "no such key")
	}
	return d.public, nil
}

func (d *deployment) cert(role, name string) tls.Certificate {
	d.t.Helper()
	cert, err := d.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: name}, Client: true, Server: true})
	if err != nil {
		d.t.Fatal(err)
	}
	return *cert
}

// instance is a running replica.
type instance struct {
	d    *deployment
	mem  *rpc.Memory
	stop func()
}

// start runs a replica until the test's end, or until it is stopped.
func (d *deployment) start(change ...func(*registry.Config)) *instance {
	d.t.Helper()
	config := registry.Default(domain)
	config.LeaseTTL = time.Minute // a connector that does not beat stays for as long as a test takes
	for _, f := range change {
		f(&config)
	}
	mem := rpc.NewMemory()
	service, err := registry.New(config, registry.Deps{
		Etcd: d.etcd, TLS: tlsconf.ServiceServer(d.cert(tlsconf.RoleRegistry, "registry"), d.ca.Pool()),
		Listener: mem, Logger: testkit.Logger(d.t), AssertionKeys: d, Users: testkit.Users{}, Connector: d.dial,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("the replica ended with %v", err)
		}
	})
	d.t.Cleanup(stop)
	return &instance{d: d, mem: mem, stop: stop}
}

func (i *instance) conn(role, name string) *grpc.ClientConn {
	i.d.t.Helper()
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "registry", Dialer: i.mem.Dial,
		TLS: tlsconf.ServiceClient(i.d.cert(role, name), i.d.ca.Pool(), tlsconf.RoleRegistry),
	})
	if err != nil {
		i.d.t.Fatal(err)
	}
	i.d.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// node is a connector or frontdoor of the test's.
type node struct {
	d            *deployment
	name, id     string
	registration int64
	nodes        registryv1.NodeServiceClient
	directory    registryv1.DirectoryServiceClient
}

// node returns a client that has not registered.
func (i *instance) node(role, name string) *node {
	i.d.t.Helper()
	conn := i.conn(role, name)
	return &node{
		d: i.d, name: name, id: name + "-" + randomHex(4),
		nodes: registryv1.NewNodeServiceClient(conn), directory: registryv1.NewDirectoryServiceClient(conn),
	}
}

// shortTTL is the lease of tests that wait for its end. Those who do not beat have
// as long for what they do before.
const shortTTL = 4 * time.Second

func shortLease(c *registry.Config) { c.LeaseTTL = shortTTL }

// connector returns a registered connector that does not beat.
func (i *instance) connector(name string) *node {
	i.d.t.Helper()
	n := i.node(tlsconf.RoleConnector, name)
	n.register()
	return n
}

// through is the same node calling another replica.
func (n *node) through(i *instance, role string) *node {
	other := *n
	conn := i.conn(role, n.name)
	other.nodes, other.directory = registryv1.NewNodeServiceClient(conn), registryv1.NewDirectoryServiceClient(conn)
	return &other
}

func (n *node) register(capabilities ...string) {
	n.d.t.Helper()
	resp, err := n.nodes.RegisterNode(n.ctx(), &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Id: n.id, State: registryv1.NodeState_NODE_STATE_READY, Address: "127.0.0.1:1", Capabilities: capabilities,
	}})
	if err != nil {
		n.d.t.Fatal(err)
	}
	n.registration = resp.GetRegistration()
}

func (n *node) beat(state registryv1.NodeState) error {
	_, err := n.nodes.Heartbeat(n.ctx(), &registryv1.HeartbeatRequest{NodeId: n.id, Registration: n.registration, State: state})
	return err
}

// keepBeating renews the lease until stop is called, or the test ends.
func (n *node) keepBeating() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_ = n.beat(registryv1.NodeState_NODE_STATE_READY)
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	stop = sync.OnceFunc(func() { close(done); <-ended })
	n.d.t.Cleanup(stop)
	return stop
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	n.d.t.Cleanup(cancel)
	return ctx
}

// agent is an agent's process.
type agent struct {
	account, id string
	instance    []byte
	grants      []string
}

func newAgent(account string) agent {
	return agent{account: account, id: "agent-" + randomHex(8), instance: randomBytes(16)}
}

// restarted is the same agent's next process.
func (a agent) restarted() agent {
	a.instance = randomBytes(16)
	return a
}

// assertion is auth's word on the agent, for one connector.
func (d *deployment) assertion(a agent, connector string, change ...func(*authv1.Assertion)) *authv1.SignedAssertion {
	d.t.Helper()
	m := &authv1.Assertion{
		AccountId: a.account, TokenId: "0123456789abcdef", AgentId: a.id, Instance: a.instance,
		Connector: connector, Grants: a.grants, ExpireTime: timestamppb.New(time.Now().Add(time.Hour)),
	}
	for _, f := range change {
		f(m)
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		d.t.Fatal(err)
	}
	return &authv1.SignedAssertion{
		Assertion: raw, KeyId: "key-1",
		Signature: ed25519.Sign(d.signer, append([]byte("dialback-assertion-v1\x00"), raw...)),
	}
}

// bound is a tunnel as a session has it.
type bound struct {
	agent   agent
	session string
	tunnel  string
	resp    *registryv1.BindResponse
}

func (b bound) attachment(n *node) *registryv1.Attachment {
	return &registryv1.Attachment{
		Hostname: b.resp.GetHostname(), Generation: b.resp.GetGeneration(), ConnectorId: n.id, SessionId: b.session,
	}
}

func (n *node) request(a agent, session, tunnel, host string) *registryv1.BindRequest {
	req := &registryv1.BindRequest{
		Assertion: n.d.assertion(a, n.name), Registration: n.registration, NodeId: n.id,
		SessionId: session, TunnelId: tunnel, Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
	}
	if host != "" {
		req.Name = &registryv1.BindRequest_Hostname{Hostname: host}
	}
	return req
}

func (n *node) tryBind(a agent, session, tunnel, host string) (bound, error) {
	resp, err := n.directory.Bind(n.ctx(), n.request(a, session, tunnel, host))
	return bound{agent: a, session: session, tunnel: tunnel, resp: resp}, err
}

func (n *node) bind(a agent, session, tunnel, host string) bound {
	n.d.t.Helper()
	b, err := n.tryBind(a, session, tunnel, host)
	if err != nil {
		n.d.t.Fatalf("bind %q: %v", host, err)
	}
	return b
}

func (n *node) release(b bound) error {
	_, err := n.directory.Release(n.ctx(), &registryv1.ReleaseRequest{
		Assertion: n.d.assertion(b.agent, n.name), TunnelId: b.tunnel, Reason: 1,
	})
	return err
}

func (n *node) endSession(session string) error {
	_, err := n.directory.EndSession(n.ctx(), &registryv1.EndSessionRequest{NodeId: n.id, SessionId: session})
	return err
}

// reattach answers what has been superseded.
func (n *node) reattach(done bool, list ...*registryv1.Attachment) []*registryv1.Attachment {
	n.d.t.Helper()
	resp, err := n.directory.Reattach(n.ctx(), &registryv1.ReattachRequest{
		NodeId: n.id, Registration: n.registration, Attachments: list, SyncDone: done,
	})
	if err != nil {
		n.d.t.Fatal(err)
	}
	return resp.GetSuperseded()
}

func (n *node) lookup(host string) (*registryv1.LookupResponse, error) {
	return n.directory.Lookup(n.ctx(), &registryv1.LookupRequest{Hostname: host})
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

func newTunnel() string { return randomHex(16) }

// sentinel is an error of a reason, for errors.Is.
func sentinel(kind errs.Kind, reason errs.Reason) error { return errs.New(kind, reason, "") }

var (
	errTaken       = sentinel(errs.AlreadyExists, errs.ReasonNameTaken)
	errInUse       = sentinel(errs.AlreadyExists, errs.ReasonNameInUse)
	errNoNode      = sentinel(errs.NotFound, errs.ReasonNodeUnknown)
	errNotFound    = sentinel(errs.NotFound, errs.ReasonEndpointNotFound)
	errUnavailable = sentinel(errs.Unavailable, errs.ReasonUnavailable)
	errDenied      = sentinel(errs.PermissionDenied, errs.ReasonPermissionDenied)
)
