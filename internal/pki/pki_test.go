package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/pki"
	"github.com/dialback/dialback/internal/tlsconf"
)

func newStore(t *testing.T) *pki.Store {
	t.Helper()
	s, err := pki.Init(filepath.Join(t.TempDir(), "pki"), "Example.com")
	must(t, err)
	return s
}

func issue(t *testing.T, s *pki.Store, n pki.Node) {
	t.Helper()
	_, err := s.Issue(n)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T, dir, cert, key string) tls.Certificate {
	t.Helper()
	p, err := tls.LoadX509KeyPair(filepath.Join(dir, cert), filepath.Join(dir, key))
	must(t, err)
	return p
}

func pool(t *testing.T, dir, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	must(t, err)
	p, err := tlsconf.LoadPool(text)
	must(t, err)
	return p
}

func TestTheFolderOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	s, err := pki.Init(dir, "Example.com")
	must(t, err)
	must(t, s.Prepare(pki.ProxyCA))
	want, err := s.Pins()
	must(t, err)
	s, err = pki.Open(dir)
	must(t, err)
	got, err := s.Pins()
	must(t, err)
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] || s.Domain() != "example.com" {
		t.Errorf("opened again: %v of %s, want %v", got, s.Domain(), want)
	}
	if _, err := pki.Init(dir, "example.com"); err == nil {
		t.Error("made again over authorities that agents have pinned")
	}
	if _, err := pki.Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "pki init") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestALostAuthorityIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	s, err := pki.Init(dir, "example.com")
	must(t, err)
	for _, suffix := range []string{".crt", ".key"} {
		must(t, os.Remove(filepath.Join(dir, "ca", "service-ca-1"+suffix)))
	}
	if _, err := s.Issue(connector); err == nil {
		t.Error("issued by an authority that nobody knows")
	}
}

func TestKeysAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	s, err := pki.Init(dir, "example.com")
	must(t, err)
	issue(t, s, connector)
	keys := 0
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.HasSuffix(path, ".key") {
			keys++
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("%s has mode %v", path, mode)
			}
		}
		return err
	}))
	if want := 3 + 2 + 2; keys != want { // authorities, administrators, the connector's
		t.Errorf("%d keys, want %d", keys, want)
	}
}

func TestACertificateIsGoodForItsUseAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	frontdoor := pki.Node{Role: pki.RoleFrontdoor, Name: "f1"}
	issue(t, s, frontdoor)
	issue(t, s, registry)
	trust := pool(t, s.Dir(registry), pki.ServiceBundle)
	server := tlsconf.ServiceServer(pair(t, s.Dir(registry), pki.ServiceCert, pki.ServiceKey), trust)

	id, err := tlsconf.IdentityOf(pair(t, s.Dir(frontdoor), pki.ServiceCert, pki.ServiceKey).Leaf)
	if err != nil || id != (tlsconf.Identity{Role: "frontdoor", Name: "f1"}) {
		t.Errorf("a frontdoor is %v, %v", id, err)
	}
	proxy := pair(t, s.Dir(frontdoor), pki.ProxyCert, pki.ProxyKey)
	if err := proxy.Leaf.VerifyHostname("f1-0123.proxy.example.com"); err != nil {
		t.Error(err)
	}
	if err := handshake(server, tlsconf.ServiceClient(proxy, trust, tlsconf.RoleRegistry)); err == nil {
		t.Error("a proxy certificate is let in as a service")
	}
	root := pair(t, s.Dir(pki.Node{Role: pki.RoleEtcdRoot, Name: "root"}), pki.EtcdCert, pki.EtcdKey)
	if err := handshake(server, tlsconf.ServiceClient(root, trust, tlsconf.RoleRegistry)); err == nil {
		t.Error("etcd's administrator is let in as a service")
	}
	admin := pair(t, s.Dir(pki.Node{Role: pki.RoleAdmin, Name: "admin"}), "admin.crt", "admin.key")
	if err := handshake(tlsconf.ServiceServer(admin, trust), tlsconf.ServiceClient(admin, trust, tlsconf.RoleAdmin)); err == nil {
		t.Error("an administrator's certificate can serve")
	}
	if got := pair(t, s.Dir(registry), pki.ServiceCert, pki.ServiceKey).Leaf.Subject.CommonName; got != "dialback-registry" {
		t.Errorf("etcd would know the registry as %q", got)
	}
}

func TestNodesThatCannotBe(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, n := range []pki.Node{
		{Role: "agent", Name: "a1"},
		{Role: pki.RoleAuth, Name: ""},
		{Role: pki.RoleAuth, Name: "../../etc"},
		{Role: pki.RoleAuth, Name: "A1"},
		{Role: pki.RoleAuth, Name: "a1", Hosts: []string{"127.0.0.1"}},
		{Role: pki.RoleEtcd, Name: "e1"},
	} {
		if dir, err := s.Issue(n); err == nil {
			t.Errorf("%v: issued in %s", n, dir)
		}
	}
}
