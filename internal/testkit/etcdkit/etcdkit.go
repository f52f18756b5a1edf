// Package etcdkit gives tests a real etcd. It is apart from testkit so that the tests
// of packages without a store do not build one.
package etcdkit

import (
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// startLimit bounds the start of a server, which takes 100 ms on an idle machine.
const startLimit = 60 * time.Second

// EtcdInstance is one embedded server that a test may stop and restart.
type EtcdInstance struct {
	t    testing.TB
	dir  string
	addr string // host and port for clients, kept over restarts
	etcd *embed.Etcd
}

// EtcdServer starts a server of the test's own, until the test's end.
func EtcdServer(t testing.TB) *EtcdInstance {
	t.Helper()
	e := &EtcdInstance{t: t, dir: t.TempDir(), addr: "127.0.0.1:0"}
	t.Cleanup(e.Stop)
	e.Restart()
	return e
}

// Endpoints is what a client dials; it stays the same over restarts.
func (e *EtcdInstance) Endpoints() []string { return []string{e.addr} }

// Client returns a client of this server, until the test's end.
func (e *EtcdInstance) Client() *clientv3.Client {
	e.t.Helper()
	return newClient(e.t, e.addr)
}

// Stop ends the server, and keeps its data. Stopping twice is fine.
func (e *EtcdInstance) Stop() {
	if e.etcd != nil {
		e.etcd.Close()
		e.etcd = nil
	}
}

// Restart starts the server on its data, after stopping it where it runs.
func (e *EtcdInstance) Restart() {
	e.t.Helper()
	e.Stop()
	var err error
	// Behind a stop somebody else may hold the port for a moment: outgoing
	// connections take theirs from the same range.
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		if e.etcd, err = start(e.dir, e.addr); err == nil {
			break
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("start etcd: %v", err)
		}
	}
	e.addr = e.etcd.Clients[0].Addr().String()
}

// start runs a server of one member.
func start(dir, addr string) (*embed.Etcd, error) {
	cfg := newConfig(dir, url.URL{Scheme: "http", Host: "127.0.0.1:0"}, url.URL{Scheme: "http", Host: addr})
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return startWith(cfg)
}

func newClient(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: startLimit,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		t.Fatalf("open an etcd client: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close the etcd client: %v", err)
		}
	})
	return client
}
