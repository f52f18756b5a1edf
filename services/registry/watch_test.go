package registry_test

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
)

// watching reads a stream of Watch.
type watching struct {
	n       *node
	stream  registryv1.DirectoryService_WatchClient
	cancel  context.CancelFunc
	pending []*registryv1.Change
	at      *registryv1.Position
}

func (n *node) watch(after *registryv1.Position) *watching {
	n.d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	n.d.t.Cleanup(cancel)
	stream, err := n.directory.Watch(ctx, &registryv1.WatchRequest{After: after})
	if err != nil {
		n.d.t.Fatal(err)
	}
	return &watching{n: n, stream: stream, cancel: cancel}
}

func (w *watching) recv() *registryv1.WatchResponse {
	w.n.d.t.Helper()
	resp, err := w.stream.Recv()
	if err != nil {
		w.n.d.t.Fatalf("watch: %v", err)
	}
	if p := resp.GetPosition(); p != nil {
		w.at = p
	}
	return resp
}

// snapshot reads one, whole.
func (w *watching) snapshot() []*registryv1.Change {
	w.n.d.t.Helper()
	resp := w.recv()
	if !resp.GetSnapshot() {
		w.n.d.t.Fatalf("want a snapshot, got %v", resp)
	}
	changes := resp.GetChanges()
	for resp.GetPosition() == nil {
		resp = w.recv()
		changes = append(changes, resp.GetChanges()...)
	}
	return changes
}

// until reads on to the change that is wanted.
func (w *watching) until(wanted func(*registryv1.Change) bool) *registryv1.Change {
	w.n.d.t.Helper()
	for {
		for i, change := range w.pending {
			if wanted(change) {
				w.pending = w.pending[i+1:]
				return change
			}
		}
		resp := w.recv()
		if resp.GetSnapshot() {
			w.n.d.t.Fatal("a snapshot in the middle of a stream")
		}
		w.pending = resp.GetChanges()
	}
}

// revision is etcd's.
func (d *deployment) revision() int64 {
	d.t.Helper()
	resp, err := d.etcd.Get(context.Background(), "x")
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.Header.Revision
}

// ownEtcd is an etcd that nobody else writes to.
func ownEtcd(t testing.TB) *clientv3.Client { return etcdkit.EtcdServer(t).Client() }

func leaseID(registration int64) clientv3.LeaseID { return clientv3.LeaseID(registration) }
