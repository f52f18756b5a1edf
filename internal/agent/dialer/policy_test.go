package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhereAnAgentMayBeSent(t *testing.T) {
	t.Parallel()
	public, private, local := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("127.0.0.1")
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "vps.example.net" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("::ffff:203.0.113.9")}, nil
	}
	p := policy{domain: "example.com", host: "vps.example.net", lookup: lookup}
	for _, c := range []struct {
		address string
		control netip.Addr
		want    bool
	}{
		{"fd1.proxy.example.com:443", public, true},
		{"example.com:443", public, true},
		{"EXAMPLE.com.:443", public, true},
		{"vps.example.net:8443", public, true},
		{"203.0.113.7:443", public, true},
		{"203.0.113.8:443", public, true},
		{"203.0.113.9:443", public, true},
		{"[::ffff:203.0.113.8]:443", public, true},
		{"127.0.0.1:7443", local, true},
		{"203.0.113.10:443", public, false},
		{"127.0.0.1:22", public, false},
		{"10.0.0.5:443", private, false},
		{"notexample.com:443", public, false},
		{"example.com.evil.org:443", public, false},
		{"localhost:22", public, false},
		{"2130706433:80", public, false},
		{"0x7f.1:80", public, false},
		{"fe80::1%eth0:80", public, false},
		{"[fe80::1%eth0]:80", public, false},
		{"example.com", public, false},
		{"", public, false},
	} {
		if err := p.address(t.Context(), c.address, c.control); (err == nil) != c.want {
			t.Errorf("%s with the server at %v: %v, want allowed %v", c.address, c.control, err, c.want)
		}
	}
}

// A name of the deployment may lead anywhere: the check is of the IP that is
// dialled.
func TestWhichIPsAreReachable(t *testing.T) {
	t.Parallel()
	const public, private, loopback, carrier = "203.0.113.7", "10.1.1.1", "127.0.0.1", "100.64.0.1"
	for _, c := range []struct {
		ip, control string
		want        bool
	}{
		{"198.51.100.1", public, true},
		{"2001:db8::1", public, true},
		{"10.0.0.5", public, false},
		{"192.168.1.1", public, false},
		{"172.16.0.1", public, false},
		{"fd00::1", public, false},
		{"100.64.0.9", public, false},
		{"127.0.0.1", public, false},
		{"::1", public, false},
		{"169.254.169.254", public, false},
		{"fe80::1", public, false},
		{"0.0.0.0", public, false},
		{"0.1.2.3", public, false},
		{"::", public, false},
		{"224.0.0.1", public, false},
		{"255.255.255.255", public, false},
		{"10.0.0.5", private, true},
		{"100.64.0.9", carrier, true},
		{"127.0.0.1", private, false},
		{"169.254.169.254", private, false},
		{"127.0.0.9", loopback, true},
		{"::1", loopback, true},
		{"10.0.0.5", loopback, false},
		{"0.0.0.0", loopback, false},
	} {
		check := connectable(netip.MustParseAddr(c.control))
		err := check(t.Context(), "tcp", net.JoinHostPort(c.ip, "443"), nil)
		if (err == nil) != c.want || err != nil && !errors.Is(err, errForbidden) {
			t.Errorf("%s with the server at %s: %v, want allowed %v", c.ip, c.control, err, c.want)
		}
	}
}

func TestServerNames(t *testing.T) {
	t.Parallel()
	p := policy{domain: "example.com"}
	for name, want := range map[string]bool{
		"fd1.proxy.example.com": true, "FD1.Proxy.Example.com.": true,
		"proxy.example.com": false, "control.example.com": false, "fd1.proxy.example.org": false, "xproxy.example.com": false,
		"fd1.proxy.example.com.evil.org": false, "": false, "203.0.113.7": false,
	} {
		if _, err := p.serverName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"example.com:443", "127.0.0.1:1", "[::1]:1", "[fe80::1%x]:1", "a:b:c", "\x00:1"} {
		f.Add(s)
	}
	p := policy{domain: "example.com", host: "vps.example.net", lookup: func(context.Context, string) ([]netip.Addr, error) {
		return nil, errors.New("none")
	}}
	f.Fuzz(func(t *testing.T, address string) {
		_, _ = p.serverName(address)
		if p.address(t.Context(), address, netip.MustParseAddr("203.0.113.7")) != nil {
			return
		}
		host, _, err := net.SplitHostPort(address)
		if ip, e := netip.ParseAddr(host); err != nil || e == nil && ip.Unmap().String() != "203.0.113.7" {
			t.Errorf("%q is allowed", address)
		}
	})
}

func TestTicketsAreRememberedUntilTheirDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen tickets
		if !seen.first([]byte("a"), time.Minute) || seen.first([]byte("a"), time.Minute) {
			t.Error("a ticket is not dialled once")
		}
		<-time.After(59 * time.Second)
		if seen.first([]byte("a"), time.Minute) {
			t.Error("a ticket is forgotten before its deadline")
		}
		for i := range maxTickets {
			seen.first([]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}, time.Minute)
		}
		if len(seen.until) > maxTickets || seen.first([]byte("b"), time.Minute) {
			t.Errorf("%d tickets are remembered", len(seen.until))
		}
		<-time.After(2 * time.Minute)
		if !seen.first([]byte("b"), time.Minute) || len(seen.until) != 1 {
			t.Errorf("%d tickets are remembered after their deadline", len(seen.until))
		}
	})
}
