package identity_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

// office manages accounts and tokens in one store.
type office struct {
	*judge
	accounts *identity.Accounts
}

func newOffice(t *testing.T) office {
	j := newJudge(t)
	return office{j, identity.NewAccounts(j.store, j.clock.now)}
}

func (o office) account(a identity.Account) identity.Account {
	o.t.Helper()
	made, err := o.accounts.Create(o.t.Context(), admin, a)
	if err != nil {
		o.t.Fatal(err)
	}
	return made
}

func (o office) update(id string, c identity.AccountChange) identity.Account {
	o.t.Helper()
	a, err := o.accounts.Update(o.t.Context(), admin, id, c)
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

func TestAnAccountIsMadeOnceAndChangedAsItWasRead(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	wanted := identity.Account{ID: "team-a", DisplayName: "Team A", Quotas: identity.Quotas{MaxAgents: 3}}
	first := o.account(wanted)
	if again := o.account(wanted); again != first {
		t.Errorf("a repeat makes %+v of %+v", again, first)
	}
	wanted.DisplayName = "Team B"
	if _, err := o.accounts.Create(t.Context(), admin, wanted); !errors.Is(err, identity.ErrAccountExists) {
		t.Errorf("the id with other content: %v", err)
	}
	name, five := "Team Ä", uint32(5)
	changed := o.update("team-a", identity.AccountChange{DisplayName: &name, MaxEndpoints: &five, Revision: first.Revision})
	if changed.DisplayName != name || changed.Quotas != (identity.Quotas{MaxAgents: 3, MaxEndpoints: 5}) || changed.Revision == first.Revision {
		t.Errorf("changed to %+v", changed)
	}
	_, err := o.accounts.Update(t.Context(), admin, "team-a", identity.AccountChange{DisplayName: &name, Revision: first.Revision})
	if e, _ := errs.From(err); !errors.Is(err, identity.ErrEtag) || e.Kind() != errs.Aborted {
		t.Errorf("changed as it is no more: %v", err)
	}
	if same := o.update("team-a", identity.AccountChange{DisplayName: &name}); same.Revision != changed.Revision {
		t.Error("what changes nothing was written")
	}
	bad := "\x1b[2J"
	_, err = o.accounts.Update(t.Context(), admin, "team-a", identity.AccountChange{DisplayName: &bad})
	wantField(t, err, "display_name")
	_, err = o.accounts.Create(t.Context(), admin, identity.Account{ID: "a/b"})
	wantField(t, err, "id")
}

func TestOthersAccountsDoNotExist(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.account(identity.Account{ID: "team-a"})
	o.account(identity.Account{ID: "team-b"})
	mine := of("team-a", principal.ReadOnly).Principal
	if _, err := o.accounts.Get(t.Context(), mine, "team-b"); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("the other one: %v", err)
	}
	if list, _, err := o.accounts.List(t.Context(), mine, identity.AccountFilter{}, "", 0); err != nil || len(list) != 1 || list[0].ID != "team-a" {
		t.Errorf("the list is %v, %v", list, err)
	}
	if list, next, err := o.accounts.List(t.Context(), admin.Principal, identity.AccountFilter{}, "", 1); err != nil || len(list) != 1 || next != "team-a" {
		t.Errorf("an administrator's first page is %v, %q, %v", list, next, err)
	}
}

func TestASuspendedAccountIsRefusedUntilItIsNotAnyMore(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	_, authtoken := o.token(identity.NewToken{AccountID: "team-a"})
	_, key := o.token(identity.NewToken{AccountID: "team-a", Kind: identity.APIKey})
	yes, no := true, false
	for _, step := range []struct {
		disabled *bool
		want     error
	}{{&yes, identity.ErrAccountDisabled}, {&no, nil}} {
		o.update("team-a", identity.AccountChange{Disabled: step.disabled})
		if _, err := o.Validate(t.Context(), presented(authtoken)); !errors.Is(err, step.want) {
			t.Errorf("disabled %v, an agent: %v", *step.disabled, err)
		}
		if _, err := o.Authenticate(t.Context(), key, "a"); !errors.Is(err, step.want) {
			t.Errorf("disabled %v, a user: %v", *step.disabled, err)
		}
	}
}

func TestAnAccountInUseIsDeletedOnlyByForce(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	_, authtoken := o.token(identity.NewToken{AccountID: "team-a"})
	if err := o.accounts.Delete(t.Context(), admin, "team-a", false, 0); !errors.Is(err, identity.ErrAccountInUse) {
		t.Fatalf("with a good token: %v", err)
	}
	o.must(presented(authtoken))
	if err := o.accounts.Delete(t.Context(), admin, "team-a", true, 99); !errors.Is(err, identity.ErrEtag) {
		t.Errorf("as it is no more: %v", err)
	}
	if err := o.accounts.Delete(t.Context(), admin, principal.DefaultAccount, true, 0); err == nil {
		t.Error("the default account was deleted")
	}
	if err := o.accounts.Delete(t.Context(), admin, "team-a", true, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Validate(t.Context(), presented(authtoken)); !errors.Is(err, identity.ErrTokenInvalid) {
		t.Errorf("a token of the deleted account: %v", err)
	}
	if list, _, err := o.tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: "team-a"}, "", 0); err != nil || len(list) != 0 {
		t.Errorf("its tokens are %v, %v", list, err)
	}
	if _, _, err := o.tokens.Create(t.Context(), of("team-a", principal.Operator), identity.NewToken{}); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("its operator makes a token: %v", err)
	}
	if err := o.accounts.Delete(t.Context(), admin, "team-a", true, 0); !errors.Is(err, identity.ErrAccountNotFound) {
		t.Errorf("deleted again: %v", err)
	}
}

func TestAnAccountWithoutGoodTokensIsDeleted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	revoked, _ := o.token(identity.NewToken{AccountID: "team-a"})
	o.token(identity.NewToken{AccountID: "team-a", ValidFor: time.Minute})
	if _, err := o.tokens.Revoke(t.Context(), admin, revoked.ID); err != nil {
		t.Fatal(err)
	}
	o.clock.advance(time.Minute)
	if err := o.accounts.Delete(t.Context(), admin, "team-a", false, 0); err != nil {
		t.Error(err)
	}
}

// agentOf validates with an authtoken as an agent of its own.
func (o office) agentOf(p identity.Presented) (identity.Presented, error) {
	v, err := o.Validate(o.t.Context(), p)
	if err == nil && v.ResumeToken != "" {
		p.AgentID, p.ResumeToken = v.Assertion.AgentID, v.ResumeToken
	}
	return p, err
}

// Sessions of one agent, half-open or doubled, are one agent.
func TestAQuotaCountsAgentsNotSessions(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.account(identity.Account{ID: "team-a", Quotas: identity.Quotas{MaxAgents: 2}})
	_, authtoken := o.token(identity.NewToken{AccountID: "team-a"})
	first, err := o.agentOf(presented(authtoken))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		again := first
		again.Connector, again.Instance = fmt.Sprint("c", n), []byte(strings.Repeat(fmt.Sprint(n), 16))
		if _, err := o.Validate(t.Context(), again); err != nil {
			t.Fatalf("session %d of one agent: %v", n, err)
		}
	}
	o.clock.advance(time.Second)
	second, err := o.agentOf(presented(authtoken))
	if err != nil {
		t.Fatalf("the second agent: %v", err)
	}
	o.clock.advance(time.Second)
	if _, err := o.agentOf(presented(authtoken)); !errors.Is(err, identity.ErrAgentQuota) {
		t.Fatalf("one too many: %v", err)
	}
	if n := o.store.CountAgents(); n != 2 {
		t.Errorf("%d agents are stored: a refused one left something behind", n)
	}

	// The first one's session with one connector ends: it still has others.
	end := func(p identity.Presented) {
		if err := o.EndAgent(t.Context(), "team-a", p.AgentID, p.Connector); err != nil {
			t.Fatal(err)
		}
	}
	end(first)
	if _, err := o.agentOf(presented(authtoken)); !errors.Is(err, identity.ErrAgentQuota) {
		t.Errorf("an agent with a session elsewhere does not count: %v", err)
	}
	end(second)
	if _, err := o.agentOf(presented(authtoken)); err != nil {
		t.Errorf("a place that was given up is not free: %v", err)
	}
	if _, err := o.Validate(t.Context(), second); !errors.Is(err, identity.ErrAgentQuota) {
		t.Errorf("who has left and comes back when it is full: %v", err)
	}
	// All connectors are lost without a word.
	o.clock.advance(2 * time.Minute)
	if _, err := o.Validate(t.Context(), second); err != nil {
		t.Errorf("places of the lost are not free: %v", err)
	}
}

func TestALoweredQuotaEndsTheLatest(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.account(identity.Account{ID: "team-a", Quotas: identity.Quotas{MaxAgents: 3}})
	_, authtoken := o.token(identity.NewToken{AccountID: "team-a"})
	var agents []identity.Presented
	for range 3 {
		p, err := o.agentOf(presented(authtoken))
		if err != nil {
			t.Fatal(err)
		}
		agents = append(agents, p)
		o.clock.advance(time.Second)
	}
	one := uint32(1)
	o.update("team-a", identity.AccountChange{MaxAgents: &one})
	var stayed []int
	for _, i := range []int{2, 1, 0} {
		if _, err := o.Validate(t.Context(), agents[i]); err == nil {
			stayed = append(stayed, i)
		}
	}
	if !slices.Equal(stayed, []int{0}) {
		t.Errorf("those stay: %v", stayed)
	}
}

func TestWhereAgentsAreCountedAuthsWordIsShort(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.account(identity.Account{ID: "team-a", Quotas: identity.Quotas{MaxAgents: 1, MaxEndpoints: 7, MaxConnections: 9}})
	_, authtoken := o.token(identity.NewToken{AccountID: "team-a"})
	v := o.must(presented(authtoken))
	if v.ValidFor != 2*time.Minute || v.Assertion.Quotas != (identity.Quotas{MaxAgents: 1, MaxEndpoints: 7, MaxConnections: 9}) {
		t.Errorf("valid for %v with %+v", v.ValidFor, v.Assertion.Quotas)
	}
}

func TestAgentsThatNobodySeesAreForgotten(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	sweeper := identity.NewSweeper(o.store, o.clock.now, discard)
	_, authtoken := o.token(identity.NewToken{})
	gone, _ := o.agentOf(presented(authtoken))
	kept, err := o.agentOf(presented(authtoken))
	if err != nil {
		t.Fatal(err)
	}
	// As a release before this one has kept it.
	old := identity.Agent{ID: strings.Repeat("0", 32), AccountID: "default", Created: o.clock.at.Add(-1000 * time.Hour)}
	if _, err := o.store.CreateAgent(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for range 60 {
		o.clock.advance(day)
		if v := o.must(kept); v.Assertion.AgentID != kept.AgentID {
			t.Fatal("the agent has another id")
		}
		if o.clock.at.Sub(newClock().at) == day {
			if n, err := sweeper.Sweep(t.Context()); n != 0 || err != nil {
				t.Errorf("after a day %d are forgotten, %v", n, err)
			}
		}
	}
	if n, err := sweeper.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("after 60 days %d are forgotten, %v; want 1", n, err)
	}
	if _, found, err := o.store.Agent(t.Context(), gone.AgentID); found || err != nil {
		t.Errorf("who was not seen is there: %v, %v", found, err)
	}
	if v := o.must(kept); v.Assertion.AgentID != kept.AgentID {
		t.Error("who was seen has another id")
	}
	o.clock.advance(day)
	if n, err := sweeper.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("60 days after the first look at it the old one is forgotten: %d, %v", n, err)
	}
}

var _ identity.Store = (*storetest.Memory)(nil)
