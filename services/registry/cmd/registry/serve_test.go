package main

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/internal/daemon/daemontest"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func required(t *testing.T, ca *tlsconf.CA, etcd string) []string {
	return append(daemontest.Identity(t, ca, tlsconf.RoleRegistry),
		"--domain", "example.com", "--auth", "dns:///127.0.0.1:1", "--etcd", etcd)
}

// What the help shows as defaults is what the package says.
func TestDefaults(t *testing.T) {
	t.Parallel()
	var f flags
	options := config.Options{Name: "registry", EnvPrefix: "DIALBACK_REGISTRY_TEST_"}
	if _, err := config.Parse(&f, required(t, testkit.CA(t), "127.0.0.1:1"), options); err != nil {
		t.Fatal(err)
	}
	want := registry.Default("example.com")
	if f.LeaseTTL != want.LeaseTTL || f.Grace != want.Grace || f.Park != want.Park ||
		f.AuditKeep != want.AuditKeep || f.AuditRecords != want.AuditRecords || f.TCPPorts != want.Ports {
		t.Errorf("flags %+v, want %+v", f, want)
	}
}

func TestTheCommandServesWhatItsFlagsSay(t *testing.T) {
	t.Parallel()
	ca := testkit.CA(t)
	address := daemontest.Start(t, run, "--listen",
		append(required(t, ca, etcdkit.EtcdServer(t).Endpoints()[0]), "--lease-ttl", "7s")...)
	frontdoor, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: tlsconf.RoleFrontdoor, Name: "f1"}, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.ClientConfig{Target: address, TLS: tlsconf.ServiceClient(*frontdoor, ca.Pool(), tlsconf.RoleRegistry)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answer, err := registryv1.NewNodeServiceClient(conn).RegisterNode(ctx, &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, State: registryv1.NodeState_NODE_STATE_READY, Id: "f1-abcd",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if ttl := answer.GetLeaseTtl().AsDuration(); ttl != 7*time.Second {
		t.Errorf("a lease of %v, want 7s", ttl)
	}
}

func TestTheCommandSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	daemontest.Refuses(t, run, append([]string{"--listen", "127.0.0.1:0"}, required(t, testkit.CA(t), "127.0.0.1:1")...), map[string][]string{
		"leasettl":                      {"--leasettl", "1s"},
		"domain":                        {"--domain", "no domain"},
		"service certificate /nowhere/": {"--cert", "/nowhere/tls.crt"},
		"/nowhere/etcd.crt":             {"--etcd-ca", "/nowhere/etcd.crt"},
		"whole seconds":                 {"--lease-ttl", "1500ms"},
		"--log-format":                  {"--log-format", "xml"},
		"--tcp-ports":                   {"--tcp-ports", "20999-20000"},
		"outgoing connections":          {"--tcp-ports", "1-65535"},
	})
}
