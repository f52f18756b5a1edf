package replica

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
)

// run follows etcd until the test's end.
func run(t *testing.T, etcd *clientv3.Client) *Replica {
	r := New(Config{KeepAlive: 50 * time.Millisecond}, etcd, testkit.Logger(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-r.Ready():
	case <-time.After(limit):
		t.Fatal("the replica is not ready")
	}
	return r
}

// etcd's revision rises by the writes of others. A replica that began later
// says so in its positions, and one that began before must not think that it is
// behind and refuse them.
func TestRevisionsWithoutChanges(t *testing.T) {
	t.Parallel()
	etcd := etcdkit.EtcdServer(t).Client()
	early := run(t, etcd)
	var revision int64
	for range 5 {
		resp, err := etcd.Put(t.Context(), "/somebody/else", "x")
		if err != nil {
			t.Fatal(err)
		}
		revision = resp.Header.Revision
	}
	at := watch(t, run(t, etcd), nil).recv(t).GetPosition()
	if at.GetRevision() != revision {
		t.Fatalf("a new replica is at %v, etcd at %d", at, revision)
	}
	m := watch(t, early, at).recv(t)
	if m.GetSnapshot() || len(m.GetChanges()) != 0 || m.GetPosition().GetRevision() < revision {
		t.Errorf("the early replica goes on with %v", m)
	}
}

func TestAStreamWithoutChangesHearsItsPosition(t *testing.T) {
	t.Parallel()
	w := watch(t, run(t, etcdkit.EtcdServer(t).Client()), nil)
	at := w.recv(t).GetPosition()
	for range 3 {
		if m := w.recv(t); m.GetSnapshot() || len(m.GetChanges()) != 0 || m.GetPosition().GetRevision() < at.GetRevision() {
			t.Errorf("a quiet stream says %v", m)
		}
	}
}
