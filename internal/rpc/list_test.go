package rpc_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// replica is one of several servers; answered hears its name with each call.
func replica(t *testing.T, ca *tlsconf.CA, cert func(role string) tls.Certificate, name string, answered chan<- string) (address string, stop func()) {
	t.Helper()
	server := rpc.NewServer(rpc.ServerConfig{
		TLS: tlsconf.ServiceServer(cert(tlsconf.RoleAuth), ca.Pool()), Methods: adminOnly, Logger: slog.New(slog.DiscardHandler),
	})
	authv1.RegisterTokenServiceServer(server, &tokens{answer: func(context.Context) error {
		answered <- name
		return nil
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func TestAReplicaThatIsAwayIsPassedOver(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	answered := make(chan string, 1000)
	stop := map[string]func(){}
	first, stopFirst := replica(t, f.ca, f.cert, "first", answered)
	second, stopSecond := replica(t, f.ca, f.cert, "second", answered)
	stop["first"], stop["second"] = stopFirst, stopSecond

	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "list:///" + first + "," + second,
		TLS:    tlsconf.ServiceClient(f.cert(tlsconf.RoleAdmin), f.ca.Pool(), tlsconf.RoleAuth),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := authv1.NewTokenServiceClient(conn)
	call := func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for {
			if _, err := client.ListTokens(ctx, &authv1.ListTokensRequest{}); err == nil {
				return <-answered
			} else if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	gone := call()
	stop[gone]()
	if left := call(); left == gone {
		t.Errorf("%s has stopped and still answers", gone)
	}
}

func TestAListWithoutPortsIsRefused(t *testing.T) {
	t.Parallel()
	conn, err := rpc.Dial(rpc.ClientConfig{Target: "list:///10.0.0.1,10.0.0.2:7401"})
	if err != nil {
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := authv1.NewTokenServiceClient(conn).ListTokens(ctx, &authv1.ListTokensRequest{}); err == nil || ctx.Err() != nil {
		t.Errorf("called: %v", err)
	}
}
