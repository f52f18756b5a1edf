package tlsconf_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/tlsconf"
)

func newCA(t *testing.T) *tlsconf.CA {
	t.Helper()
	ca, err := tlsconf.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *tlsconf.CA, r tlsconf.Request) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return *cert
}

// handshake returns what the client and the server say of a real handshake.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		err = s.HandshakeContext(context.Background())
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	s := tls.Client(c, client)
	if clientErr = s.HandshakeContext(context.Background()); clientErr == nil {
		// TLS 1.3: the server's refusal of our certificate comes with the first read.
		_, clientErr = s.Read(make([]byte, 1))
	}
	_ = c.Close()
	return clientErr, <-done
}

func TestServicesKnowEachOtherByIdentity(t *testing.T) {
	t.Parallel()
	ca, stranger := newCA(t), newCA(t)
	service := func(ca *tlsconf.CA, role string) tls.Certificate {
		return issue(t, ca, tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: "a"}, Client: true, Server: true})
	}
	server := tlsconf.ServiceServer(service(ca, tlsconf.RoleAuth), ca.Pool())
	nameless := issue(t, ca, tlsconf.Request{DNSNames: []string{"a.example.com"}, Client: true, Server: true})

	tests := map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"right":                       {tlsconf.ServiceClient(service(ca, tlsconf.RoleConnector), ca.Pool(), tlsconf.RoleAuth), true},
		"server of another role":      {tlsconf.ServiceClient(service(ca, tlsconf.RoleConnector), ca.Pool(), tlsconf.RoleRegistry), false},
		"server of another CA":        {tlsconf.ServiceClient(service(ca, tlsconf.RoleConnector), stranger.Pool(), tlsconf.RoleAuth), false},
		"client of another CA":        {tlsconf.ServiceClient(service(stranger, tlsconf.RoleConnector), ca.Pool(), tlsconf.RoleAuth), false},
		"client without identity":     {tlsconf.ServiceClient(nameless, ca.Pool(), tlsconf.RoleAuth), false},
		"client without certificate ": {tlsconf.ServiceClient(tls.Certificate{}, ca.Pool(), tlsconf.RoleAuth), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clientErr, serverErr := handshake(t, test.client, server)
			if ok := clientErr == nil && serverErr == nil; ok != test.ok {
				t.Errorf("client: %v, server: %v", clientErr, serverErr)
			}
		})
	}
}

func TestPinnedClient(t *testing.T) {
	t.Parallel()
	ca, stranger := newCA(t), newCA(t)
	server := func(ca *tlsconf.CA) *tls.Config {
		cert := issue(t, ca, tlsconf.Request{DNSNames: []string{"control.example.com"}, Server: true})
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	}
	if c, s := handshake(t, tlsconf.PinnedClient("control.example.com", []tlsconf.Pin{stranger.Pin(), ca.Pin()}), server(ca)); c != nil || s != nil {
		t.Fatalf("one of two pins matches: %v, %v", c, s)
	}
	var pinErr *tlsconf.PinError
	if c, _ := handshake(t, tlsconf.PinnedClient("control.example.com", []tlsconf.Pin{ca.Pin()}), server(stranger)); !errors.As(c, &pinErr) {
		t.Errorf("another authority: %v", c)
	} else if len(pinErr.Found) != 1 || pinErr.Found[0] != stranger.Pin() {
		t.Errorf("the error does not name what was found: %v", pinErr)
	}
	var nameErr x509.HostnameError
	if c, _ := handshake(t, tlsconf.PinnedClient("proxy.example.com", []tlsconf.Pin{ca.Pin()}), server(ca)); !errors.As(c, &nameErr) {
		t.Errorf("another name: %v", c)
	}
	if c, _ := handshake(t, tlsconf.PinnedClient("control.example.com", nil), server(ca)); c == nil {
		t.Error("without pins, a private authority is trusted")
	}
	// The pinned authority's certificate beside a leaf that it never signed.
	forged := server(stranger)
	forged.Certificates[0].Certificate[1] = issue(t, ca, tlsconf.Request{Server: true}).Certificate[1]
	if c, _ := handshake(t, tlsconf.PinnedClient("control.example.com", []tlsconf.Pin{ca.Pin()}), forged); c == nil {
		t.Error("a chain that the pinned authority did not sign is trusted")
	}
}

func TestParsePin(t *testing.T) {
	t.Parallel()
	want := newCA(t).Pin()
	if got, err := tlsconf.ParsePin(want.String()); err != nil || got != want {
		t.Errorf("ParsePin(%s) = %s, %v", want, got, err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:00", "md5:00", want.String()[:70], want.String() + "00"} {
		if _, err := tlsconf.ParsePin(bad); err == nil {
			t.Errorf("ParsePin(%q) is no error", bad)
		}
	}
}

func TestAuthorityOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := tlsconf.LoadOrCreateCA(dir, "proxy")
	if err != nil {
		t.Fatal(err)
	}
	second, err := tlsconf.LoadOrCreateCA(dir, "proxy")
	if err != nil {
		t.Fatal(err)
	}
	if first.Pin() != second.Pin() {
		t.Error("the pin has changed")
	}
	info, err := os.Stat(filepath.Join(dir, "proxy.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	if err := os.Remove(filepath.Join(dir, "proxy.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := tlsconf.LoadOrCreateCA(dir, "proxy"); err == nil {
		t.Error("half an authority was replaced in silence")
	}
}

func TestFilesAreReloadedAndABadPairIsNot(t *testing.T) {
	t.Parallel()
	ca, dir := newCA(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(name string) {
		cert := issue(t, ca, tlsconf.Request{DNSNames: []string{name}, Server: true})
		if err := tlsconf.WritePair(&cert, certFile, keyFile); err != nil {
			t.Fatal(err)
		}
	}
	write("one.example.com")
	files, err := tlsconf.WatchFiles(t.Context(), certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	waitFor := func(name string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for files.Certificate().Leaf.DNSNames[0] != name {
			select {
			case <-deadline:
				t.Fatalf("still %v, want %s", files.Certificate().Leaf.DNSNames, name)
			case <-tick.C:
			}
		}
	}
	if err := os.WriteFile(certFile, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor("one.example.com")
	write("two.example.com")
	waitFor("two.example.com")
	if _, err := tlsconf.WatchFiles(t.Context(), certFile, filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a missing key is no error at start")
	}
}

// Both directions take a new certificate without a restart.
func TestAServicesConnectionsTakeTheCertificateThatIsThere(t *testing.T) {
	t.Parallel()
	ca, dir := newCA(t), t.TempDir()
	certFile, keyFile, caFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	identity := tlsconf.Identity{Role: tlsconf.RoleAuth, Name: "auth-1"}
	write := func() *big.Int {
		cert := issue(t, ca, tlsconf.Request{Identity: identity, Client: true, Server: true})
		if err := tlsconf.WritePair(&cert, certFile, keyFile); err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber
	}
	if err := os.WriteFile(caFile, ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	first := write()
	service, err := tlsconf.WatchService(t.Context(), certFile, keyFile, caFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if service.Identity() != identity {
		t.Errorf("identity %s, want %s", service.Identity(), identity)
	}
	both := func(serial *big.Int) bool {
		// The service calls itself; each side notes what the other presents.
		seen := make(chan *big.Int, 2)
		note := func(config *tls.Config) *tls.Config {
			verify := config.VerifyConnection
			config.VerifyConnection = func(state tls.ConnectionState) error {
				seen <- state.PeerCertificates[0].SerialNumber
				return verify(state)
			}
			return config
		}
		if client, server := handshake(t, note(service.Client(tlsconf.RoleAuth)), note(service.Server())); client != nil || server != nil {
			t.Fatal(client, server)
		}
		one, other := <-seen, <-seen
		return one.Cmp(serial) == 0 && other.Cmp(serial) == 0
	}
	if !both(first) {
		t.Error("the first certificate is not used")
	}
	second := write()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !both(second) {
		select {
		case <-deadline:
			t.Fatal("the second certificate is not used")
		case <-tick.C:
		}
	}
}
