package frontdoor_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/dialback/dialback/services/frontdoor"
)

// balancer is a load balancer's address; agents connect from others.
const balancer = "127.0.0.2"

func behindBalancer(c *frontdoor.Config) {
	c.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix(balancer + "/32")}
}

// fromBalancer connects as a load balancer does, with its header.
func fromBalancer(to net.Addr, header string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(balancer)}}
	c, err := dialer.Dial("tcp", to.String())
	if err == nil {
		_, err = io.WriteString(c, header)
	}
	return c, err
}

// behindBalancer returns a visitor for whom a load balancer connects.
func (w *world) behindBalancer(header string) *http.Client {
	plain := w.client().Transport.(*http.Transport).Clone()
	plain.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
		to := w.front.HTTPAddr()
		if _, port, _ := net.SplitHostPort(addr); port == "443" {
			to = w.front.TLSAddr()
		}
		return fromBalancer(to, header)
	}
	w.t.Cleanup(plain.CloseIdleConnections)
	return &http.Client{Transport: plain, Timeout: limit}
}

// From the networks of load balancers a header must come: were it optional, a
// visitor behind one that adds none could speak for anybody. From elsewhere it is
// just bytes.
func TestVisitorsBehindALoadBalancerAreKnownByTheirOwnAddress(t *testing.T) {
	t.Parallel()
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n"
	seen := make(chan string, 10)
	service := upstream(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("X-Forwarded-For") })

	w := newWorld(t, worldOptions{config: behindBalancer})
	w.tunnel(app, service)
	for _, scheme := range []string{"http", "https"} {
		res, _ := get(t, w.behindBalancer(header), scheme+"://"+app+"/")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", scheme, res.Status)
		}
		if got := <-seen; got != "192.0.2.7" {
			t.Errorf("%s: the service's visitor is %q", scheme, got)
		}
		if res, err := w.behindBalancer("").Get(scheme + "://" + app + "/"); err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: served without a header: %s", scheme, res.Status)
		}
	}

	elsewhere := newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
		c.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}})
	elsewhere.tunnel(app, service)
	if res, err := elsewhere.behindBalancer(header).Get("https://" + app + "/"); err == nil {
		_ = res.Body.Close()
		t.Errorf("https: a visitor's own header is believed: %s", res.Status)
	}
	if res, err := elsewhere.behindBalancer(header).Get("http://" + app + "/"); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("http: a visitor's own header is believed: %s", res.Status)
		}
	}
	get(t, elsewhere.client(), "http://"+app+"/")
	if got := <-seen; got != "127.0.0.1" {
		t.Errorf("not behind a load balancer, and known as %q", got)
	}
}

// One that has connected and says nothing, or half a header, delays nobody and
// ends with the port.
func TestSilentConnectionsOfALoadBalancer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: behindBalancer})
	w.tunnel(app, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	var silent []net.Conn
	for _, address := range []net.Addr{w.front.HTTPAddr(), w.front.TLSAddr()} {
		c, err := fromBalancer(address, "PROXY TCP4 192.0.2.7 ")
		fatal(t, err)
		silent = append(silent, c)
	}
	get(t, w.behindBalancer("PROXY TCP4 192.0.2.8 198.51.100.1 5000 80\r\n"), "http://"+app+"/")
	fatal(t, w.stop())
	for _, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(limit))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("answered without a header")
		}
		_ = c.Close()
	}
}

// shakeBehind is a handshake behind a header.
func (w *world) shakeBehind(header, name, protocol string) error {
	raw, err := fromBalancer(w.front.TLSAddr(), header)
	fatal(w.t, err)
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(limit))
	return tls.Client(raw, &tls.Config{
		ServerName: name, NextProtos: []string{protocol}, InsecureSkipVerify: true, // #nosec G402 -- what is asked is who answers
	}).Handshake()
}

// Agents come through the same port, so through the same load balancer.
func TestAgentsBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{config: behindBalancer})
	name := w.front.NodeID() + ".proxy." + domain
	fatal(t, w.shakeBehind("PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n", name, "dialback-proxy/1"))
	if err := w.shakeBehind("", name, "dialback-proxy/1"); err == nil {
		t.Error("a handshake without a header")
	}
}
