package registry_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	storagev1 "github.com/dialback/dialback/api/gen/dialback/registry/storage/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
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

// watchFrom begins watches until one begins with so many records: a copy is
// behind what a bind has just answered, for a moment.
func (n *node) watchFrom(records int) *watching {
	n.d.t.Helper()
	var w *watching
	testkit.Eventually(n.d.t, limit, func() bool {
		w = n.watch(nil)
		if len(w.snapshot()) == records {
			return true
		}
		w.cancel()
		return false
	}, "the copy does not have what was bound")
	return w
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

func TestWatchIsResumedAtAnotherReplica(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(), d.start()
	c := one.connector("c1")
	c.bind(newAgent("acme"), "s1", newTunnel(), "before.example.com")
	first := one.node(tlsconf.RoleFrontdoor, "f1").watchFrom(3) // a claim, an attachment, a node
	first.cancel()
	c.bind(newAgent("acme"), "s2", newTunnel(), "behind.example.com")

	second := two.node(tlsconf.RoleFrontdoor, "f1").watch(first.at)
	resp := second.recv()
	if resp.GetSnapshot() || len(resp.GetChanges()) != 2 || resp.GetChanges()[0].GetClaim().GetHostname() != "behind.example.com" {
		t.Errorf("the other replica goes on with %v", resp)
	}
}

// The store was restored from a backup: positions of before are higher than
// what there is, and waiting for them would never end.
func TestAPositionThatWillNotCome(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start()
	r.connector("c1")
	f := r.node(tlsconf.RoleFrontdoor, "f1")
	for name, after := range map[string]*registryv1.Position{
		"a revision":  {Revision: d.revision() + 1_000_000},
		"an epoch":    {Epoch: 7, Revision: 1},
		"a few years": {Epoch: 7, Revision: 1 << 60},
	} {
		w := f.watch(after)
		w.snapshot()
		if w.at.GetEpoch() != 0 {
			t.Errorf("%s above the store's: %v", name, w.at)
		}
	}
}

func TestRestoreFinished(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	w := f.watch(nil)
	w.snapshot()
	raw, err := proto.Marshal(&storagev1.Epoch{Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.etcd.Put(t.Context(), "/dialback/registry/state/epoch", string(raw)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = w.stream.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, errUnavailable) {
		t.Errorf("the stream ended with %v", err)
	}
	again := f.watch(w.at)
	again.snapshot()
	if again.at.GetEpoch() != 1 {
		t.Errorf("the new position is %v", again.at)
	}
	if found, err := f.lookup("app.example.com"); err != nil || found.GetPosition().GetEpoch() != 1 {
		t.Errorf("lookup: %v, %v", found, err)
	}
}

// A replica is cut from etcd while records change and the changes are
// compacted: it finds the difference, and its streams go on.
func TestCompaction(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	d := deployOn(t, server.Client())
	relay := newRelay(t, server.Endpoints()[0])
	cutOff := *d
	cutOff.etcd = relay.client(t)
	far, near := cutOff.start(), d.start()
	c := near.connector("c1")
	defer c.keepBeating()()
	gone := c.bind(newAgent("acme"), "s1", newTunnel(), "gone.example.com")
	c.bind(newAgent("acme"), "s2", newTunnel(), "stays.example.com")
	w := far.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	w.snapshot()
	for w.at.GetRevision() < d.revision() {
		w.recv()
	}

	relay.set(true)
	if err := c.release(gone); err != nil {
		t.Fatal(err)
	}
	c.bind(newAgent("acme"), "s3", newTunnel(), "new.example.com")
	if _, err := d.etcd.Compact(t.Context(), d.revision()); err != nil {
		t.Fatal(err)
	}
	relay.set(false)
	vanished := w.until(func(ch *registryv1.Change) bool {
		if ch.GetAttachment().GetHostname() == "stays.example.com" {
			t.Errorf("what has not changed is sent again")
		}
		return ch.GetAttachmentVanished() != nil
	})
	if vanished.GetAttachmentVanished().String() != gone.attachment(c).String() {
		t.Errorf("vanished: %v", vanished)
	}
	w.until(func(ch *registryv1.Change) bool { return ch.GetClaimRemoved() == "gone.example.com" })
	w.until(func(ch *registryv1.Change) bool { return ch.GetClaim().GetHostname() == "new.example.com" })
	w.until(func(ch *registryv1.Change) bool { return ch.GetAttachment().GetHostname() == "new.example.com" })
}

// etcd goes away for a while: streams wait, binds get a retryable error, and
// all goes on by itself.
func TestEtcdAway(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	relay := newRelay(t, server.Endpoints()[0])
	d := deployOn(t, relay.client(t))
	r := d.start()
	c := r.connector("c1")
	w := r.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	w.snapshot()
	relay.set(true)
	if _, err := c.tryBind(newAgent("acme"), "s1", newTunnel(), "app.example.com"); !errors.Is(err, errUnavailable) {
		t.Errorf("a bind without etcd: %v", err)
	}
	relay.set(false)
	testkit.Eventually(t, limit, func() bool {
		err := c.beat(ready)
		if errors.Is(err, errNoNode) {
			c.register()
		}
		return err == nil
	}, "the registry does not come back")
	c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	w.until(func(ch *registryv1.Change) bool { return ch.GetAttachment().GetHostname() == "app.example.com" })
}

// A stop of a replica ends its streams with something to retry, at once.
func TestAStopEndsStreams(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	w := r.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	w.snapshot()
	r.stop()
	if _, err := w.stream.Recv(); !errors.Is(err, errUnavailable) {
		t.Errorf("the stream ended with %v", err)
	}
}

// A frontdoor that does not read is cut off, while gRPC's Send towards it still
// waits; another one beside it hears everything.
func TestAFrontdoorThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(func(c *registry.Config) { c.History = 10 })
	c := r.connector("c1")
	defer c.keepBeating()()
	slow, quick := r.node(tlsconf.RoleFrontdoor, "f1").watch(nil), r.node(tlsconf.RoleFrontdoor, "f2").watch(nil)
	slow.snapshot()
	quick.snapshot()
	a, tunnel := newAgent("acme"), newTunnel()
	for i := range 100 {
		req := c.request(a, "s1", tunnel, "app.example.com")
		req.Options = bytes.Repeat([]byte{byte(i)}, 8<<10)
		if _, err := c.directory.Bind(c.ctx(), req); err != nil {
			t.Fatal(err)
		}
		quick.until(func(ch *registryv1.Change) bool { return ch.GetClaim().GetRevision() == uint64(i)+1 })
	}
	var err error
	for err == nil {
		_, err = slow.stream.Recv()
	}
	if !errors.Is(err, errUnavailable) {
		t.Errorf("the slow stream ended with %v", err)
	}
	again := r.node(tlsconf.RoleFrontdoor, "f1").watch(slow.at)
	again.snapshot()
}
