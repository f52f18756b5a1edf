package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identityFiles writes what --cert, --key and --ca name.
func identityFiles(t *testing.T, ca *tlsconf.CA) []string {
	t.Helper()
	dir := t.TempDir()
	cert, err := ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: tlsconf.RoleAuth, Name: "auth-1"}, Client: true, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, caFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	if err := errors.Join(tlsconf.WritePair(cert, certFile, keyFile), os.WriteFile(caFile, ca.CertPEM(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return []string{"--cert", certFile, "--key", keyFile, "--ca", caFile}
}

// start runs the command on a free port, which it returns, until the test's end.
func start(t *testing.T, args []string) string {
	t.Helper()
	for {
		// Below the range from which outgoing connections take theirs.
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx, append([]string{"--listen", address}, args...)) }()
		err := listening(address, done)
		if err == nil {
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("run() = %v", err)
				}
			})
			return address
		}
		cancel()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("run() = %v", err)
		}
	}
}

// listening waits until the address takes connections, or the command has ended.
func listening(address string, done <-chan error) error {
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
	}
}

func TestTheCommandServesWhatItsFlagsSay(t *testing.T) {
	t.Parallel()
	ca := testkit.CA(t)
	pin := testkit.CA(t).Pin()
	address := start(t, append(identityFiles(t, ca),
		"--etcd", etcdkit.EtcdServer(t).Endpoints()[0], "--server", "tunnel.example.com:443", "--ca-pin", pin.String()))
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
	files := identityFiles(t, testkit.CA(t))
	good := append([]string{"--listen", "127.0.0.1:0", "--etcd", "127.0.0.1:1", "--server", "tunnel.example.com:443"}, files...)
	for want, more := range map[string][]string{
		"--ca-pin":            {"--ca-pin", "sha256:short"},
		"service certificate": {"--cert", "/nowhere/tls.crt"},
		"/nowhere/ca.crt":     {"--ca", "/nowhere/ca.crt"},
		"host:port":           {"--server", "tunnel.example.com"},
		"--etcd-endpoints":    {"--etcd-endpoints", "x"},
		"/nowhere/etcd.crt":   {"--etcd-ca", "/nowhere/etcd.crt"},
	} {
		if err := run(t.Context(), append(good[:len(good):len(good)], more...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a complaint about %s", more, err, want)
		}
	}
	if err := run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--server") {
		t.Errorf("without flags: %v", err)
	}
}
