package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/goleak"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }

// limit bounds every wait: it is for busy machines, not a figure to assert.
const limit = 30 * time.Second

// deployment is an etcd, an authority, and replicas of auth.
type deployment struct {
	t    *testing.T
	ca   *tlsconf.CA
	etcd *clientv3.Client
	logs *logs
}

// deploy takes a part of the shared etcd as if it were a whole one.
func deploy(t *testing.T) *deployment {
	client := etcdkit.Etcd(t)
	prefix := testkit.Prefix(t)
	client.KV = namespace.NewKV(client.KV, prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
	return deployOn(t, client)
}

func deployOn(t *testing.T, client *clientv3.Client) *deployment {
	t.Helper()
	d := &deployment{t: t, ca: testkit.CA(t), etcd: client, logs: &logs{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.logs)
		}
	})
	return d
}

func (d *deployment) cert(role, name string) tls.Certificate {
	d.t.Helper()
	cert, err := d.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: name}, Client: true, Server: true})
	if err != nil {
		d.t.Fatal(err)
	}
	return *cert
}

// replica is one running auth.
type replica struct {
	d    *deployment
	mem  *rpc.Memory
	auth *auth.Service
	stop func() error // ends Run and returns what it returned; once
}

func (d *deployment) config() auth.Config {
	c := auth.Default()
	c.Server = "tunnel.example.com:443"
	c.CAPins = []tlsconf.Pin{d.ca.Pin()}
	return c
}

func (d *deployment) start(c auth.Config) *replica {
	d.t.Helper()
	r := &replica{d: d, mem: rpc.NewMemory()}
	var err error
	r.auth, err = auth.New(c, auth.Deps{
		Etcd: d.etcd, TLS: tlsconf.ServiceServer(d.cert(tlsconf.RoleAuth, "auth"), d.ca.Pool()),
		Listener: r.mem, Logger: testLogger(d),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.auth.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	d.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			d.t.Errorf("Run() = %v", err)
		}
	})
	return r
}

func testLogger(d *deployment) *slog.Logger {
	return slog.New(slog.NewJSONHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// caller has the clients of one identity.
type caller struct {
	authv1.TokenServiceClient
	authv1.AccountServiceClient
	authv1.AuditServiceClient
	authv1.LoginServiceClient
	authv1.CredentialServiceClient
}

func (r *replica) as(role string) caller { return r.asNamed(role, role+"-1") }

func (r *replica) asNamed(role, name string) caller {
	r.d.t.Helper()
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "auth", Dialer: r.mem.Dial,
		TLS: tlsconf.ServiceClient(r.d.cert(role, name), r.d.ca.Pool(), tlsconf.RoleAuth),
	})
	if err != nil {
		r.d.t.Fatal(err)
	}
	r.d.t.Cleanup(func() { _ = conn.Close() })
	return caller{
		authv1.NewTokenServiceClient(conn), authv1.NewAccountServiceClient(conn),
		authv1.NewAuditServiceClient(conn), authv1.NewLoginServiceClient(conn), authv1.NewCredentialServiceClient(conn),
	}
}

// bounded is the test's context with a limit.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func (r *replica) create(req *authv1.CreateTokenRequest) *authv1.CreateTokenResponse {
	r.d.t.Helper()
	resp, err := r.as(tlsconf.RoleAdmin).CreateToken(bounded(r.d.t), req)
	if err != nil {
		r.d.t.Fatal(err)
	}
	return resp
}

// validation is a first contact with an authtoken.
func validation(authtoken string) *authv1.ValidateRequest {
	instance := make([]byte, 16)
	rand.Read(instance)
	return &authv1.ValidateRequest{Authtoken: authtoken, Instance: instance, ClientAddress: "192.0.2.1:4000"}
}

// logs keeps every line that auth writes.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
