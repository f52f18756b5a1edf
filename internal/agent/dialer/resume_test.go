package dialer

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/dialback/dialback/internal/tlsconf"
)

// serveTLS accepts connections and says one byte on each: the session's ticket
// comes with it.
func serveTLS(t *testing.T, config *tls.Config) net.Addr {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := c.Write([]byte{1}); err == nil {
					_, _ = io.Copy(io.Discard, c)
				}
			}()
		}
	}()
	return l.Addr()
}

func TestADialBackOutlivesAForgottenSession(t *testing.T) {
	t.Parallel()
	ca, err := tlsconf.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	const name = "fd1.proxy.example.com"
	cert, err := ca.Issue(tlsconf.Request{DNSNames: []string{name}, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, NextProtos: []string{alpn}}
	config.SetSessionTicketKeys([][32]byte{{1}})
	control := netip.MustParseAddrPort(serveTLS(t, config).String())
	a := attempt{
		policy: policy{domain: "example.com", host: "127.0.0.1"}, control: control,
		serverName: name, pins: []tlsconf.Pin{ca.Pin()}, sessions: tlsconf.NewSessions(1),
	}
	for i, step := range []struct {
		key     byte
		resumed bool
	}{{1, false}, {1, true}, {2, false}, {2, true}} {
		config.SetSessionTicketKeys([][32]byte{{step.key}})
		conn, err := a.connect(t.Context(), control.String())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().DidResume; got != step.resumed {
			t.Errorf("connection %d: resumed %v, want %v", i, got, step.resumed)
		}
		conn.Close()
	}
}
