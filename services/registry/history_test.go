package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

var errCompacted = sentinel(errs.NotFound, errs.ReasonCompacted)

// What happens to a name is told once, in order, with who did it from where: live,
// and again from the store, through any replica.
func TestTheHistoryOfAName(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(graceOf(time.Second)), d.start(graceOf(time.Second))
	c, u := one.connector("c1"), one.user("operator@acme")
	defer c.keepBeating()()
	live := u.follow(t, &registryv1.WatchTunnelsRequest{})
	stranger := two.user("read-only@other").follow(t, &registryv1.WatchTunnelsRequest{})
	begin := live.last.GetRevision()

	u.reserve("app.example.com")
	a, tunnel := newAgent("acme"), newTunnel()
	req := c.request(a, "s1", tunnel, "app.example.com")
	req.ClientAddress = "198.51.100.9:1234"
	if _, err := c.directory.Bind(c.ctx(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := c.directory.Bind(c.ctx(), req); err != nil { // a repeat is no event
		t.Fatal(err)
	}
	req = c.request(a.restarted(), "s2", tunnel, "app.example.com")
	if _, err := c.directory.Bind(c.ctx(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: "app.example.com"}); err != nil {
		t.Fatal(err)
	}
	random := c.bind(a, "s3", newTunnel(), "")
	if err := c.release(random); err != nil {
		t.Fatal(err)
	}
	c.bind(a, "s4", newTunnel(), "lost.example.com")
	if err := c.endSession("s4"); err != nil {
		t.Fatal(err)
	}
	token, name := "token:0123456789abcdef", random.resp.GetHostname()
	want := []string{
		"CREATED reservation app.example.com acme by token:operator@acme from 192.0.2.7:4711 ",
		"BOUND tunnel app.example.com acme by " + token + " from 198.51.100.9:1234 ",
		"TAKEN_OVER tunnel app.example.com acme by " + token + " from  ",
		"ENDED tunnel app.example.com acme by token:operator@acme from 192.0.2.7:4711 deleted",
		"BOUND tunnel " + name + " acme by " + token + " from  ",
		"ENDED tunnel " + name + " acme by " + token + " from  closed",
		"PARKED tunnel " + name + " acme by " + token + " from  closed",
		"BOUND tunnel lost.example.com acme by " + token + " from  ",
		"ENDED tunnel lost.example.com acme by service:registry/sweeper from  lost",
	}
	if got := live.next(len(want)); !slices.Equal(got, want) {
		t.Errorf("live:\n%q\nwant\n%q", got, want)
	}
	again := two.user("admin").follow(t, &registryv1.WatchTunnelsRequest{AfterRevision: begin, Epoch: live.last.GetEpoch()})
	if got := again.next(len(want)); !slices.Equal(got, want) {
		t.Errorf("again:\n%q\nwant\n%q", got, want)
	}
	// Resumed in the middle, by kind.
	some := two.user("read-only@acme").follow(t, &registryv1.WatchTunnelsRequest{AfterRevision: begin, Kind: "reservation"})
	if got := some.next(1); got[0] != want[0] {
		t.Errorf("reservations: %q", got)
	}
	// A stranger has heard nothing of it but this.
	c.bind(newAgent("other"), "s5", newTunnel(), "other.example.com")
	if got := stranger.next(1); got[0] != "BOUND tunnel other.example.com other by "+token+" from  " {
		t.Errorf("the stranger: %q", got)
	}
}

// An operator ends a session: it is written down who did, once the session's
// attachments are gone, and whose it was.
func TestASessionThatSomebodyEndedIsInTheHistory(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	own, stranger := r.user("read-only@acme").follow(t, &registryv1.WatchTunnelsRequest{Kind: "session"}), r.user("read-only@other").follow(t, &registryv1.WatchTunnelsRequest{Kind: "session"})
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	end := func(session string, by *registryv1.SessionEnder) error {
		_, err := c.directory.EndSession(c.ctx(), &registryv1.EndSessionRequest{
			NodeId: c.id, SessionId: session, Reason: agentv1.CloseReason_CLOSE_REASON_DELETED, EndedBy: by,
		})
		return err
	}
	by := func(account string) *registryv1.SessionEnder {
		return &registryv1.SessionEnder{Actor: "user:alice", Address: "192.0.2.7:4711", AccountId: account, AgentId: b.agent.id}
	}
	if err := end("s1", by("acme")); err != nil {
		t.Fatal(err)
	}
	if got := own.next(1); got[0] != "ENDED session s1 acme by user:alice from 192.0.2.7:4711 deleted" {
		t.Errorf("written down: %q", got)
	}
	if found, err := r.node(tlsconf.RoleFrontdoor, "f1").lookup("app.example.com"); err != nil || len(found.GetAttachments()) != 0 {
		t.Errorf("the session's attachment: %v, %v", found, err)
	}
	if err := end("s2", by("other")); err != nil {
		t.Fatal(err)
	}
	if got := stranger.next(1); got[0] != "ENDED session s2 other by user:alice from 192.0.2.7:4711 deleted" {
		t.Errorf("the stranger: %q", got)
	}
	if err := end("s3", &registryv1.SessionEnder{Actor: strings.Repeat("x", 2000)}); !errors.Is(err, sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)) {
		t.Errorf("an actor of any length: %v", err)
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(func(c *registry.Config) { c.AuditRecords = 10 })
	other := d.start(func(c *registry.Config) { c.AuditRecords = 10 }) // both forget, at once
	c, u := r.connector("c1"), other.user("admin")
	c.keepBeating()
	first := u.follow(t, &registryv1.WatchTunnelsRequest{})
	begin := first.last.GetRevision()
	for i := range 40 {
		c.bind(newAgent("acme"), "s1", newTunnel(), fmt.Sprintf("n%d.example.com", i))
	}
	first.next(40) // who follows misses nothing
	count := func() int64 {
		resp, err := d.etcd.Get(t.Context(), "/dialback/registry/history/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return resp.Count
	}
	testkit.Eventually(t, limit, func() bool { return count() == 10 }, "the past is not forgotten")
	fresh := d.start().user("admin")
	tooLate := func(u *user, req *registryv1.WatchTunnelsRequest) error {
		stream, err := u.tunnels.WatchTunnels(u.ctx(), req)
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	for name, req := range map[string]*registryv1.WatchTunnelsRequest{
		"what is forgotten": {AfterRevision: begin},
		"another epoch":     {AfterRevision: first.last.GetRevision(), Epoch: first.last.GetEpoch() + 1},
		"the future":        {AfterRevision: first.last.GetRevision() + 1_000_000},
	} {
		if err := tooLate(fresh, req); !errors.Is(err, errCompacted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of what is kept nothing is missing, though this replica was not there.
	resumed := fresh.follow(t, &registryv1.WatchTunnelsRequest{AfterRevision: first.last.GetRevision() - 1})
	if got := resumed.next(1); got[0][:len("BOUND")] != "BOUND" {
		t.Errorf("the last one: %q", got)
	}
}

// A restore raises the epoch: who remembers the time before begins anew.
func TestARestoreEndsWhatWasBefore(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, u := r.connector("c1"), r.user("admin")
	c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	w := c.watch(nil)
	w.snapshot()
	f := u.follow(t, &registryv1.WatchTunnelsRequest{})
	done, err := u.restore.FinishRestore(u.ctx(), &registryv1.FinishRestoreRequest{})
	if err != nil || done.GetEpoch() != 1 {
		t.Fatalf("epoch %v, %v", done, err)
	}
	for err == nil {
		_, err = f.stream.Recv()
	}
	if !errors.Is(err, errUnavailable) {
		t.Errorf("the stream ends with %v", err)
	}
	stream, err := u.tunnels.WatchTunnels(u.ctx(), &registryv1.WatchTunnelsRequest{AfterRevision: f.last.GetRevision(), Epoch: done.GetEpoch() + 1})
	if err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, errCompacted) {
		t.Errorf("resumed in another epoch: %v", err)
	}
	for err = nil; err == nil; {
		_, err = w.stream.Recv()
	}
	if !errors.Is(err, errUnavailable) {
		t.Errorf("the watch ends with %v", err)
	}
	testkit.Eventually(t, limit, func() bool {
		return u.follow(t, &registryv1.WatchTunnelsRequest{}).last.GetEpoch() == 1
	}, "the new epoch does not come")
}
