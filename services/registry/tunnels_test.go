package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

func TestRandomNames(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(), d.start()
	connectors := []*node{one.connector("c1"), two.connector("c2")}
	a, web, admin := newAgent("acme"), newTunnel(), newTunnel()
	// Both control streams ask at once, several times: one name a tunnel.
	var (
		mu    sync.Mutex
		names = map[string]map[string]bool{web: {}, admin: {}}
		all   sync.WaitGroup
	)
	for i := range 12 {
		tunnel := []string{web, admin}[i%2]
		c := connectors[i/2%2]
		all.Go(func() {
			b, err := c.tryBind(a, "s-"+c.name, tunnel, "")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			names[tunnel][b.resp.GetHostname()] = true
			mu.Unlock()
		})
	}
	all.Wait()
	shape := regexp.MustCompile(`^[0-9abcdefghjkmnpqrstvwxyz]{13}\.example\.com$`)
	for tunnel, got := range names {
		if len(got) != 1 {
			t.Errorf("tunnel %s has the names %v", tunnel, got)
		}
		for name := range got {
			if !shape.MatchString(name) {
				t.Errorf("%q is not a random name", name)
			}
		}
	}
}

// A random name outlives its end: parked for its tunnel, served to nobody and
// given to nobody else.
func TestARandomNameIsParked(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	first := c.bind(a, "s1", tunnel, "")
	if err := c.release(first); err != nil {
		t.Fatal(err)
	}
	name := first.resp.GetHostname()
	if _, err := f.lookup(name); !errors.Is(err, errNotFound) {
		t.Errorf("a parked name is found: %v", err)
	}
	if _, err := c.tryBind(newAgent("rival"), "s2", newTunnel(), name); !errors.Is(err, errTaken) {
		t.Errorf("a rival asks for a parked name: %v", err)
	}
	if got := c.reattach(false, first.attachment(c)); len(got) != 1 {
		t.Error("a parked name is attached again")
	}
	again := c.bind(a.restarted(), "s3", tunnel, "")
	if again.resp.GetHostname() != name {
		t.Errorf("the tunnel has %q now, had %q", again.resp.GetHostname(), name)
	}
	if again.resp.GetGeneration() <= first.resp.GetGeneration() {
		t.Error("the generation has not risen: what was released could be attached again")
	}
	if other := c.bind(a, "s4", newTunnel(), ""); other.resp.GetHostname() == name {
		t.Error("another tunnel has the name")
	}
}

func TestATunnelMoves(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	c.bind(a, "s1", tunnel, "old.example.com")
	watch := f.watchFrom(3)
	c.bind(a, "s1", tunnel, "new.example.com")
	// All of it in one revision, so in one message here.
	resp := watch.recv()
	kinds := ""
	for _, ch := range resp.GetChanges() {
		switch {
		case ch.GetAttachmentEnded() != nil:
			kinds += "ended "
		case ch.GetClaimRemoved() == "old.example.com":
			kinds += "removed "
		case ch.GetClaim() != nil:
			kinds += "claim "
		case ch.GetAttachment() != nil:
			kinds += "attachment "
		}
	}
	if kinds != "ended removed claim attachment " {
		t.Errorf("a move is %q", kinds)
	}
	if _, err := c.tryBind(newAgent("rival"), "s2", newTunnel(), "old.example.com"); err != nil {
		t.Errorf("the old name is not free: %v", err)
	}
	// And the random way: it leaves nothing behind either.
	random := c.bind(a, "s1", tunnel, "")
	if random.resp.GetHostname() == "new.example.com" {
		t.Error("a random name is what was asked for before")
	}
	c.bind(newAgent("rival"), "s3", newTunnel(), "new.example.com")
}

// A name is freed and claimed by another: what its former owner's connector
// still has can neither be attached again nor end what is new.
func TestAFormerOwnerIsFencedOff(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c1, c2, f := r.connector("c1"), r.connector("c2"), r.node(tlsconf.RoleFrontdoor, "f1")
	before := c1.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	if err := c1.release(before); err != nil {
		t.Fatal(err)
	}
	now := c2.bind(newAgent("other"), "s2", newTunnel(), "app.example.com")
	if now.resp.GetGeneration() <= before.resp.GetGeneration() {
		t.Errorf("the new owner's generation is %d, the former one's was %d", now.resp.GetGeneration(), before.resp.GetGeneration())
	}
	if got := c1.reattach(true, before.attachment(c1)); len(got) != 1 {
		t.Error("the former owner is attached again")
	}
	if err := c1.endSession("s1"); err != nil {
		t.Error(err)
	}
	if err := c1.release(before); err != nil {
		t.Error(err)
	}
	wantAttachments(t, f, "app.example.com", now.attachment(c2))
}

// Without an assertion a connector attaches only what was bound through it:
// generations are no secret, every connector sees them.
func TestAConnectorCannotAttachAStrangersTunnel(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c1, c2, f := r.connector("c1"), r.connector("c2"), r.node(tlsconf.RoleFrontdoor, "f1")
	b := c1.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	mine := b.attachment(c2)
	mine.SessionId = "s2"
	if got := c2.reattach(false, mine); len(got) != 1 {
		t.Error("a connector attaches a tunnel that no agent has bound through it")
	}
	if _, err := c2.directory.Reattach(c2.ctx(), &registryv1.ReattachRequest{
		NodeId: c2.id, Registration: c2.registration, Attachments: []*registryv1.Attachment{b.attachment(c1)},
	}); !errors.Is(err, sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)) {
		t.Errorf("a connector attaches in another one's name: %v", err)
	}
	wantAttachments(t, f, "app.example.com", b.attachment(c1))
}

func TestReattachMany(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	defer c.keepBeating()()
	a := newAgent("acme")
	var list []*registryv1.Attachment
	for range 130 {
		list = append(list, c.bind(a, "s1", newTunnel(), "").attachment(c))
	}
	stale := &registryv1.Attachment{Hostname: "gone.example.com", Generation: 7, ConnectorId: c.id, SessionId: "s1"}
	list = append(list, stale, list[0])
	if got := c.reattach(true, list...); len(got) != 1 || got[0].GetHostname() != "gone.example.com" {
		t.Errorf("superseded: %v", got)
	}
	wantAttachments(t, f, list[129].GetHostname(), list[129])
	if err := c.endSession("s1"); err != nil {
		t.Fatal(err)
	}
	for _, a := range list[:130] {
		wantAttachments(t, f, a.GetHostname())
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, old, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1"), r.node(tlsconf.RoleFrontdoor, "f2")
	f.register("require_mtls", "geo")
	// Not a message that this version knows, nor one at all.
	opaque := []byte{0xff, 0x00, 0xfe, 'x'}
	a, tunnel := newAgent("acme"), newTunnel()
	req := c.request(a, "s1", tunnel, "app.example.com")
	req.Options, req.Critical = opaque, []string{"require_mtls"}
	if _, err := c.directory.Bind(c.ctx(), req); err != nil {
		t.Fatal(err)
	}
	found, err := f.lookup("app.example.com")
	if err != nil || !bytes.Equal(found.GetClaim().GetOptions(), opaque) || found.GetClaim().GetRevision() != 1 {
		t.Errorf("lookup: %v, %v", found, err)
	}
	req.Options = append(bytes.Clone(opaque), 1)
	if _, err := c.directory.Bind(c.ctx(), req); err != nil {
		t.Fatal(err)
	}
	if found, err = f.lookup("app.example.com"); err != nil || found.GetClaim().GetRevision() != 2 {
		t.Errorf("other options are revision %d, %v", found.GetClaim().GetRevision(), err)
	}
	// One frontdoor that would serve it without the option is one too many.
	old.register("geo")
	if _, err := c.directory.Bind(c.ctx(), req); !errors.Is(err, sentinel(errs.FailedPrecondition, errs.ReasonOptionUnsupported)) {
		t.Errorf("an option that a frontdoor does not know: %v", err)
	}
}

// Frontdoors enforce the account's quota of visitors by what the claim says, so that
// nobody is asked when one comes. It is auth's word, and the latest one counts.
func TestTheQuotaOfVisitorsTravelsWithTheClaim(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(func(c *registry.Config) { c.LeaseTTL = time.Minute })
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	req := c.request(a, "s1", tunnel, "app.example.com")
	for _, most := range []uint32{7, 9, 0} {
		req.Assertion = c.d.assertion(a, c.name, func(m *authv1.Assertion) { m.MaxConnections = most })
		if _, err := c.directory.Bind(c.ctx(), req); err != nil {
			t.Fatal(err)
		}
		found, err := f.lookup("app.example.com")
		if err != nil || found.GetClaim().GetMaxConnections() != most {
			t.Errorf("%d visitors, want %d; %v", found.GetClaim().GetMaxConnections(), most, err)
		}
	}
}

func TestAttachmentsAreBounded(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	defer c.keepBeating()()
	a, tunnel := newAgent("acme"), newTunnel()
	for i := range 16 {
		c.bind(a, "s"+string(rune('a'+i)), tunnel, "app.example.com")
	}
	if _, err := c.tryBind(a, "t", tunnel, "app.example.com"); !errors.Is(err, sentinel(errs.ResourceExhausted, errs.ReasonOverloaded)) {
		t.Errorf("a 17th attachment: %v", err)
	}
	// The first again is no 17th; and a take-over ends all in one transaction.
	c.bind(a, "sa", tunnel, "app.example.com")
	more := c.bind(a, "sb", tunnel, "app.example.com").attachment(c)
	var list []*registryv1.Attachment
	for i := range 80 {
		next := proto.CloneOf(more)
		next.SessionId = fmt.Sprintf("r%d", i)
		list = append(list, next)
	}
	if got := c.reattach(false, list...); len(got) != len(list) {
		t.Errorf("%d attachments were added to 16", len(list)-len(got))
	}
	again := c.bind(a.restarted(), "u", tunnel, "app.example.com")
	wantAttachments(t, f, "app.example.com", again.attachment(c))
}
