package registry_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	ready    = registryv1.NodeState_NODE_STATE_READY
	draining = registryv1.NodeState_NODE_STATE_DRAINING
)

func TestNodeIDs(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	for id, ok := range map[string]bool{
		"c1-abcd":              true,
		"c1-0123456789abcdef":  true,
		"c1":                   false,
		"c1-":                  false,
		"c1-abc":               false,
		"c1-ABCD":              false,
		"c1-ab-cd1234":         false,
		"c2-abcd":              false,
		"c1-abcd/x":            false,
		"":                     false,
		"x-c1-abcd":            false,
		"c1-abcd.example":      false,
		"c1-abcd\n":            false,
		"c1-" + randomHex(200): false,
	} {
		n := r.node(tlsconf.RoleConnector, "c1")
		_, err := n.nodes.RegisterNode(n.ctx(), &registryv1.RegisterNodeRequest{
			Node: &registryv1.Node{Id: id, State: ready, Address: "127.0.0.1:1"},
		})
		if ok && err != nil || !ok && !errors.Is(err, errDenied) {
			t.Errorf("node id %q: %v", id, err)
		}
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(shortLease), d.start(shortLease)
	c := one.connector("c1")
	elsewhere := c.through(two, tlsconf.RoleConnector)
	watch := one.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	watch.snapshot()

	if err := elsewhere.beat(draining); err != nil {
		t.Fatal(err)
	}
	watch.until(func(ch *registryv1.Change) bool {
		return ch.GetNode().GetId() == c.id && ch.GetNode().GetState() == draining
	})
	stranger := *elsewhere
	stranger.registration++
	if err := stranger.beat(ready); !errors.Is(err, errNoNode) {
		t.Errorf("a heartbeat for a lease that is not the node's: %v", err)
	}
	// The lease runs out: shortTTL without a heartbeat.
	watch.until(func(ch *registryv1.Change) bool { return ch.GetNodeRemoved().GetId() == c.id })
	if err := c.beat(ready); !errors.Is(err, errNoNode) {
		t.Errorf("a heartbeat behind the lease's end: %v", err)
	}
	if _, err := c.tryBind(newAgent("acme"), "s1", newTunnel(), "app.example.com"); !errors.Is(err, errNoNode) {
		t.Errorf("a bind behind the lease's end: %v", err)
	}
	if _, err := c.directory.Reattach(c.ctx(), &registryv1.ReattachRequest{
		NodeId: c.id, Registration: c.registration, SyncDone: true,
	}); !errors.Is(err, errNoNode) {
		t.Errorf("a sync behind the lease's end: %v", err)
	}
}

// A registration is a number that everybody sees: who is not the node cannot
// keep its lease alive.
func TestNobodyKeepsAnothersLeaseAlive(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(shortLease)
	c1, c2 := r.connector("c1"), r.connector("c2")
	defer c1.keepBeating()()
	w := r.node(tlsconf.RoleFrontdoor, "f1").watch(nil)
	w.snapshot()
	theirs := *c1
	theirs.registration = c2.registration
	defer theirs.keepBeating()()
	w.until(func(ch *registryv1.Change) bool { return ch.GetNodeRemoved().GetId() == c2.id })
}

func TestHeartbeatsDoNotWrite(t *testing.T) {
	t.Parallel()
	d := deployOn(t, ownEtcd(t))
	c := d.start().connector("c1")
	before := d.revision()
	for range 10 {
		if err := c.beat(ready); err != nil {
			t.Fatal(err)
		}
	}
	if after := d.revision(); after != before {
		t.Errorf("10 heartbeats wrote %d times", after-before)
	}
}

func TestDeregister(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	watch := f.watch(nil)
	watch.snapshot()
	for range 2 {
		if _, err := c.nodes.DeregisterNode(c.ctx(), &registryv1.DeregisterNodeRequest{NodeId: c.id, Registration: c.registration}); err != nil {
			t.Fatal(err)
		}
	}
	ended := watch.until(func(ch *registryv1.Change) bool { return ch.GetAttachmentEnded() != nil })
	if got := ended.GetAttachmentEnded().GetAttachment(); got.String() != b.attachment(c).String() {
		t.Errorf("ended %v", got)
	}
	watch.until(func(ch *registryv1.Change) bool { return ch.GetNodeRemoved().GetId() == c.id })
	wantAttachments(t, f, "app.example.com")
}

// A connector comes back with a new lease: what it names again goes on without
// a break, what it does not name is over, and sync says that this is all.
func TestRegisteringAgain(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(shortLease)
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	kept := c.bind(newAgent("acme"), "s1", newTunnel(), "kept.example.com")
	left := c.bind(newAgent("acme"), "s2", newTunnel(), "left.example.com")
	old := c.registration
	c.register()
	watch := f.watch(nil)
	watch.snapshot()
	if got := c.reattach(true, kept.attachment(c)); len(got) != 0 {
		t.Fatalf("superseded: %v", got)
	}
	ended := watch.until(func(ch *registryv1.Change) bool { return ch.GetAttachmentEnded() != nil })
	if got := ended.GetAttachmentEnded().GetAttachment(); got.String() != left.attachment(c).String() {
		t.Errorf("ended %v", got)
	}
	synced := watch.until(func(ch *registryv1.Change) bool { return ch.GetNode().GetSynced() }).GetNode()
	if synced.GetRegistration() != c.registration || synced.GetRegistration() == old {
		t.Errorf("synced under %d, want %d", synced.GetRegistration(), c.registration)
	}
	defer c.keepBeating()()
	// The old lease runs out and takes nothing with it.
	testkit.Eventually(t, limit, func() bool {
		resp, err := c.d.etcd.TimeToLive(c.ctx(), leaseID(old))
		return err == nil && resp.TTL < 0
	}, "the old lease lives")
	wantAttachments(t, f, "kept.example.com", kept.attachment(c))
}

// No lease, no claim: an attachment vanishes with its lease without a word, the
// claim stays its agent's for the grace.
func TestALeaseRunsOut(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(shortLease)
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	b := c.bind(a, "s1", tunnel, "app.example.com")
	watch := f.watch(nil)
	watch.snapshot()
	gone := watch.until(func(ch *registryv1.Change) bool {
		if ch.GetAttachmentEnded() != nil || ch.GetClaimRemoved() != "" {
			t.Errorf("a lease's end says %v", ch)
		}
		return ch.GetAttachmentVanished() != nil
	})
	if gone.GetAttachmentVanished().String() != b.attachment(c).String() {
		t.Errorf("vanished: %v", gone)
	}
	other := r.connector("c2")
	if _, err := other.tryBind(newAgent("rival"), "s2", newTunnel(), "app.example.com"); !errors.Is(err, errTaken) {
		t.Errorf("a rival within the grace: %v", err)
	}
	again := other.bind(a, "s3", tunnel, "app.example.com")
	if again.resp.GetGeneration() != b.resp.GetGeneration() {
		t.Errorf("the agent is back under generation %d, was %d", again.resp.GetGeneration(), b.resp.GetGeneration())
	}
}

func TestCertificatesSayWhoMayCall(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	f, c := r.node(tlsconf.RoleFrontdoor, "f1"), r.connector("c1")
	f.register()
	if _, err := f.tryBind(newAgent("acme"), "s1", newTunnel(), "app.example.com"); !errors.Is(err, errDenied) {
		t.Errorf("a frontdoor binds: %v", err)
	}
	if _, err := c.lookup("app.example.com"); !errors.Is(err, errDenied) {
		t.Errorf("a connector looks up: %v", err)
	}
	auth := r.node(tlsconf.RoleAuth, "a1")
	if err := auth.beat(ready); !errors.Is(err, errDenied) {
		t.Errorf("auth beats: %v", err)
	}
	other := r.connector("c2")
	theirs := *other
	theirs.id, theirs.registration = c.id, c.registration
	for name, err := range map[string]error{
		"heartbeat":  theirs.beat(ready),
		"endSession": theirs.endSession("s1"),
		"bind":       second(theirs.tryBind(newAgent("acme"), "s1", newTunnel(), "app.example.com")),
	} {
		if !errors.Is(err, errDenied) {
			t.Errorf("%s in another node's name: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Whatever a node says of how it is reached arrives, and outlives its heartbeats.
func TestWhoWatchesHearsHowANodeIsReached(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	w := r.node(tlsconf.RoleFrontdoor, "f0").watch(nil)
	w.snapshot()
	n := r.node(tlsconf.RoleFrontdoor, "f1")
	resp, err := n.nodes.RegisterNode(n.ctx(), &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Id: n.id, State: ready, RelayAddress: "10.0.0.1:7445", AgentAddresses: []string{"f1.example.com:443"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.registration = resp.GetRegistration()
	for _, state := range []registryv1.NodeState{ready, draining} {
		if err := n.beat(state); err != nil {
			t.Fatal(err)
		}
		w.until(func(ch *registryv1.Change) bool {
			got := ch.GetNode()
			return got.GetId() == n.id && got.GetState() == state && got.GetRelayAddress() == "10.0.0.1:7445" &&
				slices.Equal(got.GetAgentAddresses(), []string{"f1.example.com:443"})
		})
	}
	_, err = n.nodes.RegisterNode(n.ctx(), &registryv1.RegisterNodeRequest{Node: &registryv1.Node{
		Id: n.id, State: ready, RelayAddress: strings.Repeat("x", 300),
	}})
	if e, ok := errs.From(err); !ok || len(e.Fields()) != 1 || e.Fields()[0].Name != "node.relay_address" {
		t.Errorf("a relay address of 300 bytes: %v", err)
	}
}
