package directory_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

const host = "app.example.com"

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }

// interleaved is a store in which something happens between what a decision was
// made on and its commit.
type interleaved struct {
	directory.Store
	// meanwhile runs once, before the next commit.
	meanwhile func()
	// between runs once, before the next endpoint is read.
	between func()
}

func (s *interleaved) Endpoint(ctx context.Context, name string) (directory.Endpoint, error) {
	if f := s.between; f != nil {
		s.between = nil
		f()
	}
	return s.Store.Endpoint(ctx, name)
}

func (s *interleaved) Commit(ctx context.Context, plan directory.Plan) (int64, error) {
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return s.Store.Commit(ctx, plan)
}

// fixture is a directory on etcd, with a connector.
type fixture struct {
	t *testing.T
	*directory.Directory
	store   *interleaved
	holders *holders
	etcd    *clientv3.Client
	lease   int64
	config  directory.Config
}

// holders answers for all who hold names.
type holders struct {
	there bool
	asked atomic.Int64
	// meanwhile runs at each question.
	meanwhile func()
}

func (h *holders) There(context.Context, directory.Endpoint) bool {
	h.asked.Add(1)
	if h.meanwhile != nil {
		h.meanwhile()
	}
	return h.there
}

func setUp(t *testing.T) *fixture {
	etcd := etcdkit.Etcd(t)
	prefix := testkit.Prefix(t)
	etcd.KV, etcd.Lease = namespace.NewKV(etcd.KV, prefix), namespace.NewLease(etcd.Lease, prefix)
	store := &interleaved{Store: etcdstore.New(etcd)}
	f := &fixture{t: t, store: store, holders: &holders{there: true}, etcd: etcd, config: directory.Config{Domain: "example.com", Park: time.Hour, Ports: directory.Ports{First: 20000, Last: 20003}, PortRest: time.Hour}}
	f.Directory = directory.New(f.config, store, f.holders)
	f.lease = f.register("c1-abcd")
	return f
}

func (f *fixture) register(id string) int64 {
	f.t.Helper()
	lease, err := f.store.RegisterNode(f.t.Context(), directory.Node{Kind: directory.Connector, ID: id}, time.Minute)
	if err != nil {
		f.t.Fatal(err)
	}
	return lease
}

func agentOf(agent string) directory.Principal {
	return directory.Principal{Account: "acme", Agent: agent, Instance: agent + "-instance"}
}

func (f *fixture) request(p directory.Principal, session, tunnel, name string) directory.BindRequest {
	return directory.BindRequest{
		Principal: p, Node: "c1-abcd", Registration: f.lease, Session: session, Tunnel: tunnel,
		Name: directory.Name{Hostname: name}, Service: directory.Service{Protocol: directory.ProtocolHTTP},
	}
}

func (f *fixture) bind(p directory.Principal, session, tunnel, name string) *directory.Claim {
	f.t.Helper()
	claim, err := f.Bind(f.t.Context(), f.request(p, session, tunnel, name))
	if err != nil {
		f.t.Fatalf("bind %s: %v", name, err)
	}
	return claim
}

func (f *fixture) endpoint(name string) directory.Endpoint {
	f.t.Helper()
	e, err := f.store.Endpoint(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func sessions(e directory.Endpoint) string {
	var list []string
	for _, a := range e.Attachments {
		list = append(list, a.Session)
	}
	return strings.Join(list, " ")
}

// keys returns all that is stored below a part of the registry's, but for the history.
func (f *fixture) keys(part string) []string {
	f.t.Helper()
	resp, err := f.etcd.Get(f.t.Context(), etcdstore.Prefix+part, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		f.t.Fatal(err)
	}
	var keys []string
	for _, kv := range resp.Kvs {
		if !strings.HasPrefix(string(kv.Key), etcdstore.HistoryPrefix) {
			keys = append(keys, strings.TrimPrefix(string(kv.Key), etcdstore.Prefix))
		}
	}
	return keys
}

func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := agentOf("a")
	f.bind(p, "s1", "t1", host)
	want := "index/session/c1-abcd/s1/com/example/app index/tunnel/acme/a/t1 " +
		"state/attach/com/example/app//c1-abcd/s1 state/claim/com/example/app state/node/connector/c1-abcd"
	if got := strings.Join(f.keys(""), " "); got != want {
		t.Errorf("stored: %s", got)
	}
	if err := f.Release(t.Context(), p, "t1", directory.Closed, directory.Source{}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.keys(""), " "); got != "freed/94b state/ended state/node/connector/c1-abcd" {
		t.Errorf("left behind a release: %s", got)
	}
}

// An attachment hangs on its connector's lease as it is now, not on one that the
// connector had, nor on another's.
func TestABindNeedsTheRegistration(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	other, old := f.register("c2-abcd"), f.lease
	f.lease = f.register("c1-abcd")
	for name, lease := range map[string]int64{"another's": other, "an earlier": old, "no": 0} {
		req := f.request(agentOf("a"), "s1", "t1", host)
		req.Registration = lease
		if _, err := f.Bind(t.Context(), req); !errors.Is(err, directory.ErrNodeUnknown) {
			t.Errorf("a bind under %s registration: %v", name, err)
		}
	}
	if got := f.endpoint(host); got.Claim != nil {
		t.Errorf("a refused bind leaves %v", got.Claim)
	}
	f.bind(agentOf("a"), "s1", "t1", host)
}

func TestAcceptsOnlyWhatIsNow(t *testing.T) {
	t.Parallel()
	claim := directory.Claim{Hostname: host, Generation: 7, Connectors: []string{"c1-abcd"}}
	now := directory.Attachment{Hostname: host, Generation: 7, Connector: "c1-abcd", Session: "s1"}
	older, newer, elsewhere := now, now, now
	older.Generation, newer.Generation, elsewhere.Connector = 6, 8, "c2-abcd"
	parked := claim
	parked.Parked = true
	if !claim.Accepts(now) {
		t.Error("what is now is refused")
	}
	if claim.Accepts(older) || claim.Accepts(newer) || claim.Accepts(elsewhere) || parked.Accepts(now) || (*directory.Claim)(nil).Accepts(now) {
		t.Error("what is not now is accepted")
	}
}
