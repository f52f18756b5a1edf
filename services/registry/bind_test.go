package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

func TestBindLookupRelease(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c, f := r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	a := newAgent("acme")
	b := c.bind(a, "s1", newTunnel(), "App.Example.COM.")
	if b.resp.GetHostname() != "app.example.com" || b.resp.GetGeneration() == 0 {
		t.Fatalf("bound %v", b.resp)
	}
	found, err := f.lookup("app.example.com")
	if err != nil || len(found.GetAttachments()) != 1 || found.GetClaim().GetAgentId() != a.id || found.GetPosition().GetRevision() == 0 {
		t.Fatalf("lookup: %v, %v", found, err)
	}
	for range 2 { // a repeat is no error
		if err := c.release(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.lookup("app.example.com"); !errors.Is(err, errNotFound) {
		t.Errorf("lookup behind the release: %v", err)
	}
}

// Two replicas, and everybody asks at once: a name has one owner, and the
// generations that it is given rise.
func TestOneOwnerWhoeverRaces(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	replicas := []*instance{d.start(), d.start()}
	connectors := []*node{replicas[0].connector("c1"), replicas[1].connector("c2")}
	const names, rivals = 5, 12
	var (
		mu     sync.Mutex
		owners = map[string][]string{}
		all    sync.WaitGroup
	)
	for i := range rivals {
		for n := range names {
			host := fmt.Sprintf("n%d.example.com", n)
			c, a := connectors[i%2], newAgent(fmt.Sprintf("account%d", i))
			all.Go(func() {
				_, err := c.tryBind(a, "s"+a.id, newTunnel(), host)
				switch {
				case err == nil:
					mu.Lock()
					owners[host] = append(owners[host], a.id)
					mu.Unlock()
				case !errors.Is(err, errTaken) && !errors.Is(err, sentinel(errs.Unavailable, errs.ReasonUnavailable)):
					t.Errorf("bind %s: %v", host, err)
				case errors.Is(err, errTaken) && !strings.Contains(err.Error(), host):
					t.Errorf("the refusal does not name %s: %v", host, err)
				}
			})
		}
	}
	all.Wait()
	for n := range names {
		if host := fmt.Sprintf("n%d.example.com", n); len(owners[host]) != 1 {
			t.Errorf("%s has the owners %v", host, owners[host])
		}
	}
}

func TestTheSameAgent(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(), d.start()
	c1, c2, f := one.connector("c1"), two.connector("c2"), one.node(tlsconf.RoleFrontdoor, "f1")
	a, tunnel := newAgent("acme"), newTunnel()
	first := c1.bind(a, "s1", tunnel, "app.example.com")
	second := c2.bind(a, "s2", tunnel, "app.example.com")
	if first.resp.GetGeneration() != second.resp.GetGeneration() {
		t.Errorf("a second attachment has another generation: %v, %v", first.resp, second.resp)
	}
	wantAttachments(t, f, "app.example.com", first.attachment(c1), second.attachment(c2))
	watch := f.watch(nil)
	watch.snapshot()

	restarted := a.restarted()
	again := c2.bind(restarted, "s3", tunnel, "app.example.com")
	if again.resp.GetGeneration() <= first.resp.GetGeneration() {
		t.Errorf("the generation of a take-over is %d behind %d", again.resp.GetGeneration(), first.resp.GetGeneration())
	}
	wantAttachments(t, f, "app.example.com", again.attachment(c2))
	for range 2 {
		ended := watch.until(func(ch *registryv1.Change) bool { return ch.GetAttachmentEnded() != nil }).GetAttachmentEnded()
		if ended.GetReason() != agentv1.CloseReason_CLOSE_REASON_TAKEN_OVER || ended.GetAttachment().GetGeneration() != first.resp.GetGeneration() {
			t.Errorf("a take-over ends %v", ended)
		}
	}

	// The older instance's connector does not know yet.
	if got := c1.reattach(false, first.attachment(c1)); len(got) != 1 {
		t.Errorf("a superseded attachment was written again")
	}
	// Nor where the new instance has a session through the same connector.
	third := c1.bind(restarted, "s4", tunnel, "app.example.com")
	if got := c1.reattach(false, first.attachment(c1)); len(got) != 1 {
		t.Errorf("a superseded generation was written again")
	}
	if err := c1.release(first); err != nil {
		t.Error(err)
	}
	if err := c1.endSession("s1"); err != nil {
		t.Error(err)
	}
	wantAttachments(t, f, "app.example.com", again.attachment(c2), third.attachment(c1))
}

func wantAttachments(t *testing.T, f *node, host string, want ...*registryv1.Attachment) {
	t.Helper()
	found, err := f.lookup(host)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, a := range found.GetAttachments() {
		got[a.String()] = true
	}
	for _, a := range want {
		if !got[a.String()] {
			t.Errorf("%s has no attachment %v", host, a)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has the attachments %v, want %v", host, got, want)
	}
}

func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	owner := newAgent("acme")
	c.bind(owner, "s1", newTunnel(), "app.example.com")

	_, err := c.tryBind(newAgent("rival"), "s2", newTunnel(), "app.example.com")
	if !errors.Is(err, errTaken) || !strings.Contains(err.Error(), "app.example.com") {
		t.Errorf("another account: %v", err)
	}
	_, err = c.tryBind(newAgent("acme"), "s3", newTunnel(), "app.example.com")
	if e, ok := errs.From(err); !ok || !errors.Is(err, errInUse) || e.RetryAfter() <= 0 {
		t.Errorf("another agent of the account: %v", err)
	}
	_, err = c.tryBind(owner, "s1", newTunnel(), "app.example.com")
	if !errors.Is(err, errInUse) {
		t.Errorf("another tunnel of the agent: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	var (
		forbidden = sentinel(errs.PermissionDenied, errs.ReasonNameForbidden)
		invalid   = sentinel(errs.InvalidArgument, errs.ReasonNameInvalid)
		denied    = sentinel(errs.PermissionDenied, errs.ReasonNotGranted)
		malformed = sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)
	)
	for _, test := range []struct {
		host, subdomain string
		grants          []string
		want            error
	}{
		{host: "example.com", want: forbidden},
		{host: "EXAMPLE.com.", want: forbidden},
		{host: "api.example.com", want: forbidden},
		{host: "x.api.example.com", want: forbidden},
		{host: "control.example.com", want: forbidden},
		{host: "c1-abcd.control.example.com", want: forbidden},
		{host: "proxy.example.com", want: forbidden},
		{host: "f1-abcd.proxy.example.com", grants: []string{"bind:*.example.com"}, want: forbidden},
		{host: "api.example.com", grants: []string{"bind:api.example.com"}, want: forbidden},
		{subdomain: "api", want: forbidden},
		{subdomain: "Control", want: forbidden},
		{host: "apis.example.com"},
		{host: "api.x.example.com"},
		{host: "other.org", want: forbidden},
		{host: "example.com.evil.org", want: forbidden},
		{host: "notexample.com", want: forbidden},
		{host: "other.org", grants: []string{"bind:other.org"}},
		{host: "app.example.com", grants: []string{"bind:*.dev.example.com"}, want: denied},
		{host: "app.dev.example.com", grants: []string{"bind:*.dev.example.com"}},
		{host: "port.example.com", grants: []string{"bind:tcp:20000"}, want: denied},
		{grants: []string{"bind:*.dev.example.com"}, want: denied}, // a random name
		{subdomain: "a.b", want: invalid},
		{subdomain: "-a", want: invalid},
		{subdomain: "*", want: invalid},
		{host: "*.example.com", want: forbidden},
		{host: "*.com", want: forbidden},
		{host: "*.org", grants: []string{"bind:*.org"}, want: forbidden},
		{host: "*.api.example.com", want: forbidden},
		{host: "*.team.example.com"},
		{host: "*.other.org", want: forbidden},
		{host: "*.dev.example.com", grants: []string{"bind:dev.example.com"}, want: denied},
		{host: "*.dev.example.com", grants: []string{"bind:*.dev.example.com"}},
		{host: "*.*.example.com", want: invalid},
		{host: "a.*.example.com", want: invalid},
		{host: "*", want: invalid},
		{host: "tcp:20017", want: invalid},
		{host: strings.Repeat("a.", 40) + "example.com", want: invalid},
		{host: "a..example.com", want: invalid},
		{host: "a/b.example.com", want: invalid},
		{host: "10.0.0.1", want: invalid},
		{host: "[::1]", want: invalid},
		{host: "a_b.example.com", want: invalid},
		{host: "app.example.com:443", want: invalid},
		{host: "a\x00.example.com", want: invalid},
		{host: strings.Repeat("a.", 150) + "example.com", want: invalid},
		{host: strings.Repeat("a", 2000), want: malformed},
	} {
		a := newAgent("acme")
		a.grants = test.grants
		req := c.request(a, "s"+a.id, newTunnel(), test.host)
		if test.subdomain != "" {
			req.Name = &registryv1.BindRequest_Subdomain{Subdomain: test.subdomain}
		}
		_, err := c.directory.Bind(c.ctx(), req)
		if !errors.Is(err, test.want) {
			t.Errorf("host %q, subdomain %q, grants %v: %v, want %v", test.host, test.subdomain, test.grants, err, test.want)
		}
	}
}

func TestMalformedBinds(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	c := r.connector("c1")
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint(i)] = ""
	}
	for name, change := range map[string]func(*registryv1.BindRequest){
		"tunnel id":         func(r *registryv1.BindRequest) { r.TunnelId = "x" },
		"tunnel id in caps": func(r *registryv1.BindRequest) { r.TunnelId = strings.Repeat("A", 32) },
		"tunnel id, slash":  func(r *registryv1.BindRequest) { r.TunnelId = strings.Repeat("a/", 16) },
		"session id":        func(r *registryv1.BindRequest) { r.SessionId = "a/b" },
		"no session id":     func(r *registryv1.BindRequest) { r.SessionId = "" },
		"options":           func(r *registryv1.BindRequest) { r.Options = make([]byte, 8<<10+1) },
		"critical":          func(r *registryv1.BindRequest) { r.Critical = make([]string, 17) },
		"metadata count":    func(r *registryv1.BindRequest) { r.Metadata = many },
		"metadata bytes":    func(r *registryv1.BindRequest) { r.Metadata = map[string]string{"k": strings.Repeat("v", 1024)} },
		"client address":    func(r *registryv1.BindRequest) { r.ClientAddress = strings.Repeat("1", 300) },
		"empty hostname":    func(r *registryv1.BindRequest) { r.Name = &registryv1.BindRequest_Hostname{} },
	} {
		req := c.request(newAgent("acme"), "s1", newTunnel(), "app.example.com")
		change(req)
		_, err := c.directory.Bind(c.ctx(), req)
		if e, ok := errs.From(err); !ok || e.Reason() != errs.ReasonInvalidArgument || len(e.Fields()) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	req := c.request(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	req.Protocol = proxyv1.Protocol_PROTOCOL_TCP
	if _, err := c.directory.Bind(c.ctx(), req); !errors.Is(err, sentinel(errs.FailedPrecondition, errs.ReasonOptionUnsupported)) {
		t.Errorf("tcp: %v", err)
	}
}
