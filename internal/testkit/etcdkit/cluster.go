package etcdkit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

// Cluster is an etcd of several members whose leader a test may move.
type Cluster struct {
	t       testing.TB
	members []*member
}

type member struct {
	config *embed.Config
	etcd   *embed.Etcd // nil: stopped
}

// PeersStay has goleak overlook what a cluster leaves behind: etcd's members
// never close the connections on which they have called each other.
func PeersStay() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
	}
}

// EtcdCluster starts a cluster of the test's own, until the test's end.
func EtcdCluster(t testing.TB, size int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	t.Cleanup(func() {
		for i := range c.members {
			c.StopMember(i)
		}
	})
	var peers []string
	for i := range size {
		config := newConfig(t.TempDir(), freeURL(t), freeURL(t))
		config.Name = fmt.Sprintf("member-%d", i)
		// What is lost is found as late as by real members: on a busy machine quick
		// ones would elect all the time. Leases last 2 s or longer.
		config.TickMs, config.ElectionMs = 100, 1000
		peers = append(peers, config.Name+"="+config.AdvertisePeerUrls[0].String())
		c.members = append(c.members, &member{config: config})
	}
	started := make(chan error, size)
	for _, m := range c.members {
		m.config.InitialCluster = strings.Join(peers, ",")
		go func() {
			var err error
			m.etcd, err = startWith(m.config)
			started <- err
		}()
	}
	for range size {
		if err := <-started; err != nil {
			t.Fatalf("start an etcd cluster: %v", err)
		}
	}
	return c
}

// Client returns a client of all members, until the test's end.
func (c *Cluster) Client() *clientv3.Client {
	c.t.Helper()
	var endpoints []string
	for _, m := range c.members {
		endpoints = append(endpoints, m.config.AdvertiseClientUrls[0].Host)
	}
	return newClient(c.t, endpoints...)
}

// StopMember ends a member, and keeps its data. Stopping twice is fine.
func (c *Cluster) StopMember(i int) {
	if m := c.members[i]; m.etcd != nil {
		m.etcd.Close()
		m.etcd = nil
	}
}

// RestartMember starts a stopped member on its data.
func (c *Cluster) RestartMember(i int) {
	c.t.Helper()
	m := c.members[i]
	var err error
	if m.etcd, err = startWith(m.config); err != nil {
		c.t.Errorf("restart an etcd member: %v", err)
	}
}

// MoveLeader gives the leadership to another member that runs.
func (c *Cluster) MoveLeader(ctx context.Context) error {
	for i, m := range c.members {
		if m.etcd == nil || m.etcd.Server.Leader() != m.etcd.Server.MemberID() {
			continue
		}
		for j := range c.members {
			next := c.members[(i+1+j)%len(c.members)]
			if next != m && next.etcd != nil {
				return m.etcd.Server.MoveLeader(ctx, uint64(m.etcd.Server.MemberID()), uint64(next.etcd.Server.MemberID()))
			}
		}
	}
	return context.DeadlineExceeded
}

// freeURL is an address that is free, below the range from which outgoing
// connections take theirs: a stopped member finds it free again.
func freeURL(t testing.TB) url.URL {
	t.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(8000)) // #nosec G404 -- no secret
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return url.URL{Scheme: "http", Host: address}
		}
	}
}

// newConfig is a server tuned for tests: quick elections allow leases of 1 s, and
// nothing waits for a disk.
func newConfig(dir string, peer, client url.URL) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return cfg
}

func startWith(cfg *embed.Config) (*embed.Etcd, error) {
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err = <-etcd.Err():
	case <-time.After(startLimit):
		err = fmt.Errorf("not ready within %v", startLimit)
	}
	etcd.Close()
	return nil, err
}
