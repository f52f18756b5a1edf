package proxyconn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"

	"go.uber.org/goleak"
)

// patience bounds waits for what must happen; it is never a measurement.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ticket = bytes.Repeat([]byte{7}, 32)

// certificate is one self-signed certificate for all tests of a run.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"frontdoor.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// tcpPair is a connection over loopback.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
}

// tlsPair is a connection over loopback with TLS 1.3.
func tlsPair(t testing.TB) (frontdoor, agent *tls.Conn) {
	t.Helper()
	near, far := tcpPair(t)
	cert := certificate()
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	frontdoor = tls.Server(near, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true,
	})
	agent = tls.Client(far, &tls.Config{
		RootCAs: roots, ServerName: "frontdoor.test", MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true,
	})
	done := make(chan error, 1)
	go func() { done <- frontdoor.Handshake() }()
	if err := agent.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return frontdoor, agent
}

// pair is both ends of a proxy connection; h serves its exchanges.
func pair(t testing.TB, h Handler) (*Server, *Client) {
	t.Helper()
	near, far := tlsPair(t)
	return pairOver(t, near, far, h)
}

func pairOver(t testing.TB, near, far net.Conn, h Handler) (*Server, *Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	opt := Options{AckTimeout: patience, AbortTimeout: patience}
	cl, err := Register(ctx, far, &proxyv1.RegProxy{Ticket: ticket, AgentVersion: "1.2.3"}, opt)
	if err != nil {
		t.Fatal(err)
	}
	s, reg, err := Accept(ctx, near, opt)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(reg.GetTicket(), ticket) {
		t.Fatalf("ticket %x", reg.GetTicket())
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = cl.Serve(ctx, h)
	}()
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-served
	})
	return s, cl
}

// pipeTo is a handler that connects each exchange with the far end of a new
// TCP pair, whose near end goes to the channel.
func pipeTo(t testing.TB, near chan<- *net.TCPConn) Handler {
	return func(_ context.Context, e *ClientExchange) {
		private, service := tcpPair(t)
		near <- service
		if e.Accept(time.Millisecond) == nil {
			_ = e.Pipe(private, nil)
		}
	}
}

func start(t testing.TB, s *Server, protocol proxyv1.Protocol) *ServerExchange {
	t.Helper()
	e, err := s.Start(t.Context(), &proxyv1.Start{
		TunnelId: "t1", Url: "tcp://example.test:1", Protocol: protocol, ClientAddress: "192.0.2.1:5",
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ended waits for the end of an exchange.
func ended(t testing.TB, e *ServerExchange) Outcome {
	t.Helper()
	await(t, e.End(), "the end of the exchange")
	return e.Outcome()
}

func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		return v
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
