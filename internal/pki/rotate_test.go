package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/dialback/dialback/internal/pki"
	"github.com/dialback/dialback/internal/tlsconf"
)

// moment is what peers have read from the folder after one step.
type moment struct {
	step             string
	server, client   tls.Certificate
	serverCA, trusts *x509.CertPool
	pins             []tlsconf.Pin
}

// peers are two nodes that talk, and the files that they use for it.
type peers struct {
	server, client         pki.Node
	serverCert, serverKey  string
	clientCert, clientKey  string
	serverTrust, clientCAs string
}

func (p peers) moment(t *testing.T, s *pki.Store, step string) moment {
	t.Helper()
	m := moment{
		step:     step,
		server:   pair(t, s.Dir(p.server), p.serverCert, p.serverKey),
		client:   pair(t, s.Dir(p.client), p.clientCert, p.clientKey),
		serverCA: pool(t, s.Dir(p.server), p.serverTrust),
		trusts:   pool(t, s.Dir(p.client), p.clientCAs),
	}
	var err error
	if m.pins, err = s.Pins(); err != nil {
		t.Fatal(err)
	}
	return m
}

// replacement returns what peers read at each step of an authority's
// replacement.
func (p peers) replacement(t *testing.T, a pki.Authority) []moment {
	t.Helper()
	s := newStore(t)
	issue(t, s, p.server)
	issue(t, s, p.client)
	moments := []moment{p.moment(t, s, "settled")}
	for _, step := range []struct {
		name string
		do   func(pki.Authority) error
	}{{"prepared", s.Prepare}, {"switched", s.Switch}, {"finished", s.Finish}} {
		if err := step.do(a); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		moments = append(moments, p.moment(t, s, step.name))
	}
	return moments
}

// check shakes hands between peers of every two moments: those that are at most
// a step apart must be able to, those beyond the whole way must not.
func check(t *testing.T, moments []moment, configs func(server, client moment) (*tls.Config, *tls.Config)) {
	t.Helper()
	for i, server := range moments {
		for j, client := range moments {
			err := handshake(configs(server, client))
			apart := max(i-j, j-i)
			switch {
			case apart <= 1 && err != nil:
				t.Errorf("server %s, client %s: %v", server.step, client.step, err)
			case apart == len(moments)-1 && err == nil:
				t.Errorf("server %s, client %s: still trust each other", server.step, client.step)
			}
		}
	}
}

var (
	connector = pki.Node{Role: pki.RoleConnector, Name: "c1"}
	registry  = pki.Node{Role: pki.RoleRegistry, Name: "r1"}
	member    = pki.Node{Role: pki.RoleEtcd, Name: "e1", Hosts: []string{"127.0.0.1", "etcd.example.com"}}
)

func TestServicesTrustEachOtherWhileTheirAuthorityIsReplaced(t *testing.T) {
	t.Parallel()
	moments := peers{
		server: registry, client: connector,
		serverCert: pki.ServiceCert, serverKey: pki.ServiceKey, clientCert: pki.ServiceCert, clientKey: pki.ServiceKey,
		serverTrust: pki.ServiceBundle, clientCAs: pki.ServiceBundle,
	}.replacement(t, pki.ServiceCA)
	check(t, moments, func(server, client moment) (*tls.Config, *tls.Config) {
		return tlsconf.ServiceServer(server.server, server.serverCA), tlsconf.ServiceClient(client.client, client.trusts, tlsconf.RoleRegistry)
	})
}

func TestAgentsTrustTheServerWhileItsAuthorityIsReplaced(t *testing.T) {
	t.Parallel()
	moments := peers{
		server: connector, client: connector,
		serverCert: pki.ControlCert, serverKey: pki.ControlKey, clientCert: pki.ServiceCert, clientKey: pki.ServiceKey,
		serverTrust: pki.ServiceBundle, clientCAs: pki.ServiceBundle,
	}.replacement(t, pki.ProxyCA)
	configs := func(server, client moment) (*tls.Config, *tls.Config) {
		return &tls.Config{Certificates: []tls.Certificate{server.server}}, tlsconf.PinnedClient("c1.control.example.com", client.pins)
	}
	check(t, moments, configs)

	// The reason for the first step: an agent that has not heard of it is lost.
	var unknown *tlsconf.PinError
	if err := handshake(configs(moments[2], moments[0])); !errors.As(err, &unknown) {
		t.Errorf("an agent with the old pin alone, behind the switch: %v", err)
	}
}

func TestEtcdIsReachedWhileAuthoritiesAreReplaced(t *testing.T) {
	t.Parallel()
	for _, a := range []pki.Authority{pki.EtcdCA, pki.ServiceCA} {
		moments := peers{
			server: member, client: registry,
			serverCert: pki.EtcdCert, serverKey: pki.EtcdKey, clientCert: pki.ServiceCert, clientKey: pki.ServiceKey,
			serverTrust: pki.EtcdClients, clientCAs: pki.EtcdBundle,
		}.replacement(t, a)
		check(t, moments, func(server, client moment) (*tls.Config, *tls.Config) {
			return &tls.Config{Certificates: []tls.Certificate{server.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: server.serverCA},
				&tls.Config{Certificates: []tls.Certificate{client.client}, RootCAs: client.trusts, ServerName: "127.0.0.1"}
		})
	}
}

func TestStepsHaveAnOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	issue(t, s, connector)
	refused := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
	refused("switch without a next one", s.Switch(pki.ProxyCA))
	must(t, s.Prepare(pki.ProxyCA))
	refused("finish before the switch", s.Finish(pki.ProxyCA))
	before, _ := s.Pins()
	must(t, s.Prepare(pki.ProxyCA))
	if again, _ := s.Pins(); len(again) != 2 || again[0] != before[0] || again[1] != before[1] {
		t.Errorf("preparing again changes the pins: %v, then %v", before, again)
	}
	must(t, s.Switch(pki.ProxyCA))
	refused("prepare before the last one is finished", s.Prepare(pki.ProxyCA))
	must(t, s.Finish(pki.ProxyCA))
	must(t, s.Finish(pki.ProxyCA))
	if pins, _ := s.Pins(); len(pins) != 1 || pins[0] != before[1] {
		t.Errorf("at the end the pins are %v, want %v", pins, before[1:])
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Dir(connector)), "..", "ca", "proxy-ca-1.*")); left != nil {
		t.Errorf("the old authority is still there: %v", left)
	}
}

func TestAnInterruptedSwitchIsNotFinished(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	issue(t, s, connector)
	file := filepath.Join(s.Dir(connector), pki.ControlCert)
	old, err := os.ReadFile(file)
	must(t, err)
	must(t, s.Prepare(pki.ProxyCA))
	must(t, s.Switch(pki.ProxyCA))
	must(t, os.WriteFile(file, old, 0o600))
	if err := s.Finish(pki.ProxyCA); err == nil {
		t.Fatal("finished, and a node has a certificate that nobody would trust")
	}
	must(t, s.Switch(pki.ProxyCA))
	must(t, s.Finish(pki.ProxyCA))
}

func TestRenewingKeepsTheAuthorities(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	issue(t, s, connector)
	old := pair(t, s.Dir(connector), pki.ServiceCert, pki.ServiceKey)
	trust := pool(t, s.Dir(connector), pki.ServiceBundle)
	must(t, s.Renew())
	renewed := pair(t, s.Dir(connector), pki.ServiceCert, pki.ServiceKey)
	if old.Leaf.Equal(renewed.Leaf) {
		t.Error("the certificate is the old one")
	}
	must(t, handshake(tlsconf.ServiceServer(old, trust), tlsconf.ServiceClient(renewed, trust, tlsconf.RoleConnector)))
}

// handshake returns the client's error, or the server's.
func handshake(server, client *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	served := make(chan error, 1)
	go func() {
		conn := tls.Server(a, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte{1}) // a client hears of its refusal only when it reads
		}
		_ = a.Close()
		served <- err
	}()
	conn := tls.Client(b, client)
	err := conn.Handshake()
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	_ = b.Close()
	if serverErr := <-served; err == nil {
		err = serverErr
	}
	return err
}
