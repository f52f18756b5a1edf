package etcdkit

import (
	"os"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// Etcd returns a client of a server that the tests of a package share: keep to
// testkit.Prefix(t). The server lives while a test uses it, or to the end of the
// package under Keep, which saves starts and stops (about 1 s each pair).
func Etcd(t testing.TB) *clientv3.Client {
	t.Helper()
	addr, err := common.acquire()
	if err != nil {
		t.Fatalf("start the shared etcd: %v", err)
	}
	t.Cleanup(common.release)
	return newClient(t, addr)
}

// Keep keeps the shared server for all tests of a package, for use in TestMain:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m)) }
func Keep(m *testing.M) *Main { return &Main{m} }

// Main runs a package's tests.
type Main struct{ m *testing.M }

// Run runs the tests, then stops the shared server.
func (m *Main) Run() int {
	common.hold()
	defer common.release()
	return m.m.Run()
}

// common is this process's shared server: a package's tests are one process.
var common shared

type shared struct {
	mu    sync.Mutex
	users int
	etcd  *embed.Etcd // started by the first test that asks
	dir   string
}

// hold counts a user without starting the server.
func (s *shared) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

func (s *shared) acquire() (addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.etcd == nil {
		if s.dir, err = os.MkdirTemp("", "etcdkit-"); err != nil {
			return "", err
		}
		if s.etcd, err = start(s.dir, "127.0.0.1:0"); err != nil {
			_ = os.RemoveAll(s.dir) // the start's error says more
			return "", err
		}
	}
	s.users++
	return s.etcd.Clients[0].Addr().String(), nil
}

func (s *shared) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users > 0 || s.etcd == nil {
		return
	}
	s.etcd.Close()
	s.etcd = nil
	_ = os.RemoveAll(s.dir) // what is left lies in the system's temporary folder
}
