package etcdkit_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdkit.Keep(m), etcdkit.PeersStay()...) }

func TestSharedServer(t *testing.T) {
	t.Parallel()
	a, b := etcdkit.Etcd(t), etcdkit.Etcd(t)
	key := testkit.Prefix(t) + "key"
	if _, err := a.Put(t.Context(), key, "value"); err != nil {
		t.Fatal(err)
	}
	wantValue(t, b, key, "value")
}

func TestRestartKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	client := server.Client()
	if _, err := client.Put(t.Context(), "key", "value"); err != nil {
		t.Fatal(err)
	}
	before := server.Endpoints()[0]
	server.Stop()
	server.Stop()
	server.Restart()
	if after := server.Endpoints()[0]; after != before {
		t.Errorf("the address was %s and is %s", before, after)
	}
	wantValue(t, client, "key", "value")
}

func TestAClusterOutlivesAMemberAndItsLeader(t *testing.T) {
	t.Parallel()
	cluster := etcdkit.EtcdCluster(t, 3)
	client := cluster.Client()
	put := func(value string) {
		t.Helper()
		testkit.Eventually(t, time.Minute, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := client.Put(ctx, "key", value)
			return err == nil
		}, "nothing can be written")
		wantValue(t, client, "key", value)
	}
	put("first")
	testkit.Eventually(t, time.Minute, func() bool { return cluster.MoveLeader(t.Context()) == nil }, "the leader cannot be moved")
	put("moved")
	cluster.StopMember(0)
	put("without one")
	cluster.RestartMember(0)
	put("all are back")
}

func TestLeaseOfOneSecond(t *testing.T) {
	t.Parallel()
	lease, err := etcdkit.Etcd(t).Grant(t.Context(), 1)
	if err != nil || lease.TTL != 1 {
		t.Errorf("a lease of %d s, %v; want 1 s", lease.TTL, err)
	}
}

func wantValue(t *testing.T, client *clientv3.Client, key, want string) {
	t.Helper()
	got, err := client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != want {
		t.Errorf("%s is %v, want %q", key, got.Kvs, want)
	}
}
