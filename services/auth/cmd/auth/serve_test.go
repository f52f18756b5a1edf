package main

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/daemon/daemontest"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheCommandServesWhatItsFlagsSay(t *testing.T) {
	t.Parallel()
	ca := testkit.CA(t)
	pin := testkit.CA(t).Pin()
	address := daemontest.Start(t, run, "--listen", append(daemontest.Identity(t, ca, tlsconf.RoleAuth),
		"--etcd", etcdkit.EtcdServer(t).Endpoints()[0], "--server", "tunnel.example.com:443", "--ca-pin", pin.String())...)
	admin, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: tlsconf.RoleAdmin, Name: "ops"}, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(rpc.ClientConfig{Target: address, TLS: tlsconf.ServiceClient(*admin, ca.Pool(), tlsconf.RoleAuth)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var resp *authv1.CreateTokenResponse
	testkit.Eventually(t, 30*time.Second, func() bool {
		resp, err = authv1.NewTokenServiceClient(conn).CreateToken(ctx, &authv1.CreateTokenRequest{})
		return err == nil
	}, "a token is made")
	if resp.GetServer() != "tunnel.example.com:443" || len(resp.GetCaPins()) != 1 || tlsconf.Pin(resp.GetCaPins()[0]) != pin {
		t.Errorf("the answer is for %q with pins %x", resp.GetServer(), resp.GetCaPins())
	}
}

func TestTheCommandSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	ca := testkit.CA(t)
	good := append([]string{"--listen", "127.0.0.1:0", "--etcd", "127.0.0.1:1", "--server", "tunnel.example.com:443"},
		daemontest.Identity(t, ca, tlsconf.RoleAuth)...)
	daemontest.Refuses(t, run, good, map[string][]string{
		"--ca-pin":                      {"--ca-pin", "sha256:short"},
		"service certificate /nowhere/": {"--cert", "/nowhere/tls.crt"},
		"/nowhere/ca.crt":               {"--ca", "/nowhere/ca.crt"},
		"want one of role auth":         daemontest.Identity(t, ca, tlsconf.RoleRegistry),
		"host:port":                     {"--server", "tunnel.example.com"},
		"--etcd-endpoints":              {"--etcd-endpoints", "x"},
		"/nowhere/etcd.crt":             {"--etcd-ca", "/nowhere/etcd.crt"},
		"--log-level":                   {"--log-level", "loud"},
	})
}
