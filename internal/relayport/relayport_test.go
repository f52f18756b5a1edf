package relayport_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/lobby"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/relayport"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	name  = "f1-abcd.proxy.tunnel.test"
	limit = 20 * time.Second
)

type rig struct {
	t *testing.T
	*lobby.Listener
	mu      sync.Mutex
	refused map[string]int
}

func newRig(t *testing.T, from func(net.Addr) bool) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	r := &rig{t: t, refused: map[string]int{}}
	r.Listener = relayport.Listen(l, relayport.Config{
		Names: []string{name}, From: from, Logger: testkit.Logger(t),
		Refused: func(why string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused[why]++
		},
	})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func anyone(net.Addr) bool { return true }

func (r *rig) dial(first []byte) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	fatal(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	fatal(r.t, c.SetDeadline(time.Now().Add(limit)))
	_, err = c.Write(first)
	fatal(r.t, err)
	return c
}

func (r *rig) counted(why string, n int) {
	r.t.Helper()
	testkit.Eventually(r.t, limit, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.refused[why] == n
	}, why+" is counted")
}

func header(t *testing.T, via string) []byte {
	t.Helper()
	raw, err := proxyheader.Format(
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:5000")),
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:443")), via)
	fatal(t, err)
	return raw
}

func TestWhatIsHandedOverIsTheAgents(t *testing.T) {
	t.Parallel()
	r := newRig(t, anyone)
	ca := testkit.CA(t)
	cert, err := ca.Issue(tlsconf.Request{DNSNames: []string{name}, Server: true})
	fatal(t, err)
	shaken := make(chan error, 1)
	go func() {
		c := tls.Client(r.dial(header(t, "f2-abcd")), &tls.Config{ServerName: strings.ToUpper(name), RootCAs: ca.Pool()})
		shaken <- c.Handshake()
	}()
	c, err := r.Accept()
	fatal(t, err)
	defer c.Close()
	if via := c.(*relayport.Conn).Via(); via != "f2-abcd" || c.RemoteAddr().String() != "192.0.2.7:5000" {
		t.Errorf("from %v via %q", c.RemoteAddr(), via)
	}
	fatal(t, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}}).Handshake())
	fatal(t, <-shaken)
}

// Nothing but what another node would hand over is taken: each of these would
// let somebody speak for another, or have us relay.
func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, anyone)
	shake := func(c net.Conn, sni string) error {
		return tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true}).Handshake() // #nosec G402 -- nobody answers
	}
	for _, sni := range []string{"f2-abcd.proxy.tunnel.test", "control.tunnel.test", "app.tunnel.test", "x." + name} {
		if err := shake(r.dial(header(t, "f2-abcd")), sni); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v, want unrecognized name", sni, err)
		}
	}
	r.counted(relayport.ForeignName, 4)
	if err := shake(r.dial(nil), name); err == nil {
		t.Error("taken without a header")
	}
	if err := shake(r.dial([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n")), name); err == nil {
		t.Error("taken with a load balancer's header, which names no node")
	}
	r.counted(relayport.NoHeader, 2)
	b, err := io.ReadAll(r.dial(append(header(t, "f2-abcd"), "GET / HTTP/1.1\r\n\r\n"...)))
	if len(b) > 0 {
		t.Errorf("no hello: %q, %v", b, err)
	}
	r.counted(relayport.NoHello, 1)
}

func TestOnlyNodesMayHandOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(a net.Addr) bool { return !strings.HasPrefix(a.String(), "127.0.0.1:") })
	c := r.dial(nil)
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("from a stranger: %q, %v", b, err)
	}
	r.counted(relayport.ForeignSource, 1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	known, err := d.DialContext(t.Context(), "tcp", r.Addr().String())
	fatal(t, err)
	defer known.Close()
	shaken := make(chan struct{})
	go func() {
		defer close(shaken)
		if _, err := known.Write(header(t, "f2-abcd")); err == nil {
			_ = tls.Client(known, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(t.Context()) // #nosec G402 -- nobody answers
		}
	}()
	taken, err := r.Accept()
	fatal(t, err)
	_ = taken.Close()
	<-shaken
}

// One that says nothing delays nobody, and does not outlive the port.
func TestTheSilentDelayNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, anyone)
	for range 20 {
		r.dial(header(t, "f2-abcd")[:8])
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := tls.Client(r.dial(header(t, "f2-abcd")), &tls.Config{ServerName: name, InsecureSkipVerify: true}) // #nosec G402 -- nobody answers
		_ = c.HandshakeContext(ctx)
	}()
	c, err := r.Accept()
	fatal(t, err)
	cancel()
	_ = c.Close()
	<-done
	fatal(t, r.Close())
	if _, err := r.Accept(); err == nil {
		t.Error("accepted behind the end")
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
