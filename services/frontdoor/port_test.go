package frontdoor_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor"
)

// shake tries a TLS handshake and returns what it says.
func (w *world) shake(name string, protocols ...string) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", w.front.TLSAddr().String())
	fatal(w.t, err)
	_ = raw.SetDeadline(time.Now().Add(limit))
	conn := tls.Client(raw, &tls.Config{
		ServerName: name, NextProtos: protocols, InsecureSkipVerify: true, // #nosec G402 -- what is asked is who answers
	})
	return conn, conn.Handshake()
}

// The system's own names come before all others, and what nobody has is refused
// before any certificate is shown.
func TestNamesOnTheSharedPort(t *testing.T) {
	t.Parallel()
	var spliced = make(chan string, 1)
	w := newWorld(t, worldOptions{deps: func(d *frontdoor.Deps) {
		d.Control = func(c net.Conn, id string) {
			head := make([]byte, 3)
			_, _ = io.ReadFull(c, head)
			_ = c.Close()
			spliced <- id + " " + string(head[0]+'A'-22) // 22: a TLS handshake record, still encrypted
		}
	}})
	id := w.front.NodeID()
	// A tenant has got hold of system names: it does not help.
	for _, name := range []string{id + ".proxy." + domain, "control." + domain} {
		w.tunnel(name, upstream(t, func(http.ResponseWriter, *http.Request) { t.Error("a tenant got a system name") }))
	}
	for name, want := range map[string]string{"control." + domain: " A", "c-1.control." + domain: "c-1 A"} {
		conn, err := w.shake(name, "h2")
		if err == nil {
			t.Errorf("%s: the frontdoor itself answered", name)
		}
		_ = conn.Close()
		if got := <-spliced; got != want {
			t.Errorf("%s: spliced as %q, want %q", name, got, want)
		}
	}
	conn, err := w.shake(id+".proxy."+domain, "dialback-proxy/1")
	if err != nil || conn.ConnectionState().NegotiatedProtocol != "dialback-proxy/1" || conn.ConnectionState().Version != tls.VersionTLS13 {
		t.Errorf("own proxy name: %v", err)
	}
	_ = conn.Close()
	for _, c := range []struct{ name, protocol, want string }{
		{"other.proxy." + domain, "dialback-proxy/1", "unrecognized name"},
		{"proxy." + domain, "dialback-proxy/1", "unrecognized name"},
		{"x." + id + ".proxy." + domain, "dialback-proxy/1", "unrecognized name"},
		{"a.b.control." + domain, "h2", "unrecognized name"},
		{"app." + domain, "dialback-proxy/1", "unrecognized name"},
		{"nobody.test", "h2", "unrecognized name"},
		{"", "h2", "unrecognized name"},
		{id + ".proxy." + domain, "h2", "no application protocol"},
	} {
		conn, err := w.shake(c.name, c.protocol)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %s: %v, want %s", c.name, c.protocol, err, c.want)
		}
		_ = conn.Close()
	}
}

func TestATicketThatIsNotValidIsWorthNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	a := w.agent("")
	client, err := a.register([]byte("0123456789abcdef"), w.front.NodeID()+".proxy."+domain)
	fatal(t, err)
	if err := client.Serve(t.Context(), a.serve); err != nil {
		t.Logf("ended with %v", err)
	}
}

func TestCertificatesAreReloaded(t *testing.T) {
	t.Parallel()
	var files frontdoor.CertFile
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { files = c.Certificates[0] }})
	serial := func() string {
		conn, err := w.shake(app)
		fatal(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	cert, err := w.publicCA.Issue(tlsconf.Request{DNSNames: []string{"*." + domain}, Server: true})
	fatal(t, err)
	fatal(t, os.WriteFile(files.Key, nil, 0o600)) // half replaced: the old one stays
	if serial() != before {
		t.Error("half a pair was taken")
	}
	fatal(t, tlsconf.WritePair(cert, files.Cert, files.Key))
	testkit.Eventually(t, limit, func() bool { return serial() != before }, "the new certificate is served")
}

// A port that is full closes newcomers at once and recovers.
func TestAFullPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: func(c *frontdoor.Config) { c.MaxConns = 4 }})
	w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	var idle []net.Conn
	for range 4 {
		c, err := net.Dial("tcp", w.front.HTTPAddr().String())
		fatal(t, err)
		idle = append(idle, c)
	}
	testkit.Eventually(t, limit, func() bool {
		c, err := net.Dial("tcp", w.front.HTTPAddr().String())
		if err != nil {
			return true
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(limit))
		_, err = c.Read(make([]byte, 1))
		return err != nil
	}, "the fifth is closed")
	for _, c := range idle {
		_ = c.Close()
	}
	testkit.Eventually(t, limit, func() bool {
		res, err := w.client().Get("http://" + app + "/")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, "there is room again")
}
