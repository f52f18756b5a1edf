package directory_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

// join makes an agent's tunnel a member of a pool.
func (f *fixture) join(p directory.Principal, session, tunnel string) (*directory.Claim, error) {
	req := f.request(p, session, tunnel, host)
	req.Pooling = true
	return f.Bind(f.t.Context(), req)
}

func (f *fixture) mustJoin(p directory.Principal, session, tunnel string) *directory.Claim {
	f.t.Helper()
	claim, err := f.join(p, session, tunnel)
	if err != nil {
		f.t.Fatal(err)
	}
	return claim
}

func (f *fixture) members() string {
	f.t.Helper()
	members, err := f.store.Members(f.t.Context(), host)
	if err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(members.Names)
	return strings.ReplaceAll(strings.Join(members.Names, " "), "."+host, "")
}

func (f *fixture) leave(p directory.Principal, tunnel string) {
	f.t.Helper()
	if err := f.Release(f.t.Context(), p, tunnel, directory.Closed, directory.Source{}); err != nil {
		f.t.Fatal(err)
	}
}

func TestAgentsServeANameTogether(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b := f.mustJoin(agentOf("a"), "s1", "t1"), f.mustJoin(agentOf("b"), "s2", "t2")
	if f.members() != "@a+t1 @b+t2" {
		t.Errorf("members %s", f.members())
	}
	if directory.PoolOf(a.Hostname) != host || sessions(f.endpoint(a.Hostname)) != "s1" || sessions(f.endpoint(b.Hostname)) != "s2" {
		t.Errorf("%+v, %+v", a, b)
	}
	again := f.mustJoin(agentOf("a"), "s3", "t1")
	if again.Generation != a.Generation || sessions(f.endpoint(a.Hostname)) != "s1 s3" {
		t.Errorf("a second attachment: %+v by %s", again, sessions(f.endpoint(a.Hostname)))
	}

	f.leave(agentOf("a"), "t1")
	if pool := f.endpoint(host); f.members() != "@b+t2" || !pool.Claim.Pooled {
		t.Errorf("one has left: %s, %+v", f.members(), pool.Claim)
	}
	f.leave(agentOf("b"), "t2")
	if got := strings.Join(f.keys("state/claim"), " ") + strings.Join(f.keys("index/"), " "); got != "" {
		t.Errorf("all have left, and there is %s", got)
	}
}

// Each member is fenced by itself: the restart of one ends nothing of another's.
func TestAMembersTakeOverIsItsOwn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	before, other := f.mustJoin(agentOf("a"), "s1", "t1"), f.mustJoin(agentOf("b"), "s2", "t2")
	restarted := agentOf("a")
	restarted.Instance = "the next"
	after := f.mustJoin(restarted, "s3", "t1")
	if after.Generation <= before.Generation || sessions(f.endpoint(after.Hostname)) != "s3" {
		t.Errorf("%+v by %s", after, sessions(f.endpoint(after.Hostname)))
	}
	stale := directory.Attachment{Hostname: before.Hostname, Generation: before.Generation, Connector: "c1-abcd", Session: "s1"}
	lost, err := f.store.Reattach(t.Context(), "c1-abcd", f.lease, []directory.Attachment{stale})
	if err != nil || len(lost) != 1 {
		t.Errorf("the old instance attaches again: %v, %v", lost, err)
	}
	f.leave(agentOf("a"), "t1") // late, by the old instance
	if got := f.endpoint(other.Hostname); f.members() != "@a+t1 @b+t2" || got.Claim.Generation != other.Generation || sessions(got) != "s2" {
		t.Errorf("members %s; the other one: %+v by %s", f.members(), got.Claim, sessions(got))
	}
}

func TestAllWhoServeANameMustWantTo(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	refused := func(what string, err, want error, hint string) {
		t.Helper()
		e, ok := errs.From(err)
		if !ok || !errors.Is(err, want) || !strings.Contains(e.Message(), hint) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.bind(agentOf("a"), "s1", "t1", host)
	_, err := f.join(agentOf("b"), "s2", "t2")
	refused("beside one that does not pool", err, directory.ErrNameInUse, "start both with --pooling")
	f.leave(agentOf("a"), "t1")

	f.mustJoin(agentOf("b"), "s2", "t2")
	_, err = f.Bind(t.Context(), f.request(agentOf("a"), "s1", "t1", host))
	refused("alone beside a pool", err, directory.ErrNameInUse, "--pooling")
	stranger := agentOf("c")
	stranger.Account = "other"
	_, err = f.join(stranger, "s3", "t3")
	refused("a stranger", err, directory.ErrNameTaken, "another account")
	req := f.request(agentOf("a"), "s1", "t1", "")
	req.Pooling = true
	_, err = f.Bind(t.Context(), req)
	refused("without a name", err, directory.ErrInvalid, "hostname")
	if f.members() != "@b+t2" {
		t.Errorf("members %s", f.members())
	}
}

// An agent that served alone is started anew, to pool.
func TestATunnelBecomesAMember(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	alone := f.bind(agentOf("a"), "s1", "t1", host)
	restarted := agentOf("a")
	restarted.Instance = "the next"
	f.mustJoin(restarted, "s2", "t1")
	if pool := f.endpoint(host); !pool.Claim.Pooled || len(pool.Attachments) > 0 || pool.Claim.Generation <= alone.Generation {
		t.Errorf("the name: %+v by %s", pool.Claim, sessions(pool))
	}
	f.mustJoin(agentOf("b"), "s3", "t2")
	if f.members() != "@a+t1 @b+t2" {
		t.Errorf("members %s", f.members())
	}
}

// A member joins in the moment in which the last one leaves, or leaves beside the
// other last one: there is a pool if and only if somebody serves it.
func TestAPoolLivesWithItsMembers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustJoin(agentOf("a"), "s1", "t1")
	f.store.meanwhile = func() { f.mustJoin(agentOf("b"), "s2", "t2") }
	f.leave(agentOf("a"), "t1")
	if pool := f.endpoint(host); f.members() != "@b+t2" || pool.Claim == nil {
		t.Errorf("joined meanwhile: members %q, the name %+v", f.members(), pool.Claim)
	}
	f.store.meanwhile = func() { f.leave(agentOf("b"), "t2") }
	f.mustJoin(agentOf("a"), "s1", "t1")
	if pool := f.endpoint(host); f.members() != "@a+t1" || pool.Claim == nil {
		t.Errorf("left meanwhile: members %q, the name %+v", f.members(), pool.Claim)
	}
	var tasks sync.WaitGroup
	for _, id := range []string{"c", "d", "e", "f"} {
		tasks.Go(func() {
			for range 5 {
				if _, err := f.join(agentOf(id), "s-"+id, "t-"+id); err != nil {
					t.Error(err)
				}
				if err := f.Release(t.Context(), agentOf(id), "t-"+id, directory.Closed, directory.Source{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	tasks.Wait()
	if pool := f.endpoint(host); f.members() != "@a+t1" || pool.Claim == nil || !pool.Claim.Pooled {
		t.Errorf("behind a race: members %q, the name %+v", f.members(), pool.Claim)
	}
}

func TestAnOperatorClosesAPoolOrAMember(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.mustJoin(agentOf("a"), "s1", "t1")
	f.mustJoin(agentOf("b"), "s2", "t2")
	f.mustJoin(agentOf("c"), "s3", "t3")
	if err := f.Close(t.Context(), caller("acme", principal.Operator), a.Hostname); err != nil {
		t.Fatal(err)
	}
	if f.members() != "@b+t2 @c+t3" {
		t.Errorf("a member was closed: %s", f.members())
	}
	if err := f.Close(t.Context(), caller("acme", principal.Operator), host); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.keys("state/claim"), " ") + strings.Join(f.keys("state/attach"), " "); got != "" {
		t.Errorf("the pool was closed, and there is %s", got)
	}
}

func TestOnlyMembersHaveMembersNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		directory.MemberName(host, directory.TunnelKey{Agent: "agent-1", Tunnel: "0123456789abcdef0123456789abcdef"}): true,
		host: true, "@a." + host: false, "@a+t": false, "@a+t.": false, "@+t." + host: false, "@a/b+t." + host: false, "@a+t.*." + host: false,
	} {
		if _, err := directory.ParseKnown(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := directory.ParseName(name); strings.HasPrefix(name, "@") && err == nil {
			t.Errorf("%q can be asked for", name)
		}
	}
}
