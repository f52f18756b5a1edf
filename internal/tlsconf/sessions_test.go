package tlsconf_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

// frontdoor is a TLS server with one certificate and its own tickets.
type frontdoor struct {
	config  *tls.Config
	address string
}

func newFrontdoor(t *testing.T, cert tls.Certificate) *frontdoor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frontdoor{config: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, address: l.Addr().String()}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.greet(c)
		}
	}()
	return f
}

// greet says one byte: with it the client reads the session's ticket.
func (f *frontdoor) greet(c net.Conn) {
	defer c.Close()
	conn := tls.Server(c, f.config)
	if _, err := conn.Write([]byte{1}); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}

func (f *frontdoor) visit(t *testing.T, config *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	raw, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState(), nil
}

func mustVisit(t *testing.T, f *frontdoor, config *tls.Config) tls.ConnectionState {
	t.Helper()
	state, err := f.visit(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

const proxyName = "fd1.proxy.example.com"

func proxyCert(t *testing.T, ca *tlsconf.CA, validFor time.Duration) tls.Certificate {
	t.Helper()
	return issue(t, ca, tlsconf.Request{DNSNames: []string{proxyName}, Server: true, ValidFor: validFor})
}

func TestASecondConnectionResumesTheFirst(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	f := newFrontdoor(t, proxyCert(t, ca, 0))
	sessions, pins := tlsconf.NewSessions(8), []tlsconf.Pin{ca.Pin()}
	first := mustVisit(t, f, sessions.PinnedClient(proxyName, pins))
	if first.DidResume || first.CurveID != tls.X25519MLKEM768 {
		t.Errorf("first: resumed %v, key exchange %v; want a full one that withstands quantum computers", first.DidResume, first.CurveID)
	}
	for range 2 { // a session is good more than once
		again := mustVisit(t, f, sessions.PinnedClient(proxyName, pins))
		if !again.DidResume || again.CurveID != tls.X25519 {
			t.Errorf("again: resumed %v, key exchange %v; want a session with the small one", again.DidResume, again.CurveID)
		}
	}
}

func TestASessionDoesNotSurviveAChangeOfPins(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t), newCA(t)
	cert := proxyCert(t, ca, 0)
	// Both authorities stand in the chain that the server sends; only one signed.
	cert.Certificate = append(cert.Certificate, proxyCert(t, other, 0).Certificate[1])
	f := newFrontdoor(t, cert)
	sessions := tlsconf.NewSessions(8)
	mustVisit(t, f, sessions.PinnedClient(proxyName, []tlsconf.Pin{ca.Pin()}))

	if _, err := f.visit(t, sessions.PinnedClient(proxyName, []tlsconf.Pin{other.Pin()})); err == nil {
		t.Error("a session of another authority was resumed")
	}
	if state := mustVisit(t, f, sessions.PinnedClient(proxyName, []tlsconf.Pin{ca.Pin(), other.Pin()})); state.DidResume {
		t.Error("a session was resumed under a list of pins that it was not made under")
	}
	if state := mustVisit(t, f, sessions.PinnedClient(proxyName, []tlsconf.Pin{other.Pin(), ca.Pin()})); !state.DidResume {
		t.Error("the order of the pins matters")
	}
	if state := mustVisit(t, f, sessions.PinnedClient(proxyName, []tlsconf.Pin{ca.Pin()})); !state.DidResume {
		t.Error("the pins are back, the session is not")
	}
}

func TestAForgottenSessionIsNotReplacedByAWeakHandshake(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert := proxyCert(t, ca, 0)
	f := newFrontdoor(t, cert)
	sessions, pins := tlsconf.NewSessions(8), []tlsconf.Pin{ca.Pin()}
	mustVisit(t, f, sessions.PinnedClient(proxyName, pins))

	restarted := newFrontdoor(t, cert)
	if _, err := restarted.visit(t, sessions.PinnedClient(proxyName, pins)); !errors.Is(err, tlsconf.ErrNotResumed) {
		t.Fatalf("%v, want ErrNotResumed", err)
	}
	if state := mustVisit(t, restarted, sessions.PinnedClient(proxyName, pins)); state.DidResume || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("resumed %v, key exchange %v; want a new session", state.DidResume, state.CurveID)
	}
}

func TestASessionEndsWithItsCertificate(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	f := newFrontdoor(t, proxyCert(t, ca, 24*time.Hour))
	sessions, pins := tlsconf.NewSessions(8), []tlsconf.Pin{ca.Pin()}
	mustVisit(t, f, sessions.PinnedClient(proxyName, pins))
	config := sessions.PinnedClient(proxyName, pins)
	config.Time = func() time.Time { return time.Now().Add(25 * time.Hour) }
	if state, err := f.visit(t, config); err == nil {
		t.Errorf("resumed %v behind the certificate's end", state.DidResume)
	}
}

func TestSessionsWorkWithTheSystemsRoots(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	f := newFrontdoor(t, proxyCert(t, ca, 0))
	sessions := tlsconf.NewSessions(8)
	config := sessions.PinnedClient(proxyName, nil)
	if _, err := f.visit(t, config); err == nil {
		t.Fatal("an unknown authority was believed")
	}
	for _, resumed := range []bool{false, true} {
		config := sessions.PinnedClient(proxyName, nil)
		config.RootCAs = ca.Pool()
		if state := mustVisit(t, f, config); state.DidResume != resumed {
			t.Errorf("resumed %v, want %v", state.DidResume, resumed)
		}
	}
}
