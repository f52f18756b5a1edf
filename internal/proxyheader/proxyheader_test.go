package proxyheader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tcpAddr(s string) *net.TCPAddr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func formatted(t testing.TB, source, destination, via string) []byte {
	t.Helper()
	raw, err := Format(tcpAddr(source), tcpAddr(destination), via)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, destination, want string }{
		{"192.0.2.1:5000", "198.51.100.1:443", "192.0.2.1:5000"},
		{"[2001:db8::1]:5000", "[2001:db8::2]:443", "[2001:db8::1]:5000"},
		{"192.0.2.1:5000", "[2001:db8::2]:443", "192.0.2.1:5000"},
		{"[2001:db8::1]:5000", "198.51.100.1:443", "[2001:db8::1]:5000"},
	} {
		r := bytes.NewReader(append(formatted(t, c.source, c.destination, "f1-abcd"), "behind"...))
		h, err := Read(iotest.OneByteReader(r))
		if err != nil || h.Source.String() != c.want || h.Via != "f1-abcd" || h.Version != 2 {
			t.Errorf("%s -> %s: %+v, %v", c.source, c.destination, h, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "behind" {
			t.Errorf("%s -> %s: behind the header %q", c.source, c.destination, rest)
		}
	}
}

func TestHeadersOfLoadBalancers(t *testing.T) {
	t.Parallel()
	local := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0, 0, 0)
	for wire, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n":  "192.0.2.1:5000",
		"PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n": "[2001:db8::1]:5000",
		"PROXY UNKNOWN\r\n": "<nil>", // a health check
		string(local):       "<nil>",
		"PROXY UNKNOWN 2001:db8::1 whatever 1 2\r\n": "<nil>",
	} {
		r := strings.NewReader(wire + "behind")
		h, err := Read(r)
		if err != nil || h.Source.String() != want || h.Via != "" {
			t.Errorf("%q: %+v, %v", wire, h, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "behind" {
			t.Errorf("%q: behind it %q", wire, rest)
		}
	}
}

func TestWhatIsNoHeader(t *testing.T) {
	t.Parallel()
	long := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff")
	datagrams := formatted(t, "192.0.2.1:5000", "198.51.100.1:443", "")
	datagrams[13] = 0x12
	short := formatted(t, "192.0.2.1:5000", "198.51.100.1:443", "")
	binary.BigEndian.PutUint16(short[14:], 4)
	for name, wire := range map[string][]byte{
		"nothing":    nil,
		"tls":        {22, 3, 1, 0, 200, 1},
		"http":       []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"post":       []byte("POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"half":       formatted(t, "192.0.2.1:5000", "198.51.100.1:443", "x")[:20],
		"too long":   append(long, make([]byte, 70_000)...),
		"a long one": []byte("PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n"),
		"no line":    []byte("PROXY\r\nPROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n"),
		"no address": []byte("PROXY TCP4 example.com 198.51.100.1 5000 443\r\n"),
		"datagrams":  datagrams,
		"cut short":  short,
	} {
		r := &counting{Reader: bytes.NewReader(wire)}
		if h, err := Read(r); err == nil {
			t.Errorf("%s: read as %+v", name, h)
		}
		if r.n > maxHeader {
			t.Errorf("%s: %d bytes were read", name, r.n)
		}
	}
	if _, err := Format(&net.UnixAddr{Name: "/x"}, tcpAddr("192.0.2.1:1"), ""); !errors.Is(err, errNotTCP) {
		t.Errorf("a header for a Unix socket: %v", err)
	}
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	n := Networks{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	for address, want := range map[string]bool{
		"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "11.0.0.1:1": false, "[fe80::1%eth0]:1": true, "[2001:db8::1]:1": false,
	} {
		if got := n.Contain(tcpAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if n.Contain(&net.UnixAddr{Name: "/x"}) || (Networks{}).Contain(tcpAddr("10.0.0.1:1")) {
		t.Error("believed without being configured")
	}
}

// Whatever a peer sends: no panic, no byte read behind the header, no more than
// the cap, and only TCP addresses.
func FuzzRead(f *testing.F) {
	f.Add(formatted(f, "192.0.2.1:5000", "198.51.100.1:443", "f1-abcd"))
	f.Add(formatted(f, "[2001:db8::1]:5000", "[2001:db8::2]:443", ""))
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := &counting{Reader: bytes.NewReader(slices.Concat(wire, []byte("tail")))}
		h, err := Read(r)
		if r.n > maxHeader {
			t.Fatalf("%d bytes read", r.n)
		}
		if err != nil {
			if h != (Header{}) {
				t.Fatalf("%+v with %v", h, err)
			}
			return
		}
		if h.Source != nil && !h.Source.AddrPort().Addr().IsValid() || len(h.Via) > maxVia || h.Version != 1 && h.Version != 2 {
			t.Fatalf("%+v", h)
		}
		again, err := Read(bytes.NewReader(wire[:min(r.n, len(wire))]))
		if r.n <= len(wire) && (err != nil || again.Source.String() != h.Source.String()) {
			t.Fatalf("what was read is not the header: %+v, %v", again, err)
		}
	})
}
