package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

func of(account string, role principal.Role) identity.Caller {
	return identity.Caller{Principal: principal.Principal{Account: account, Role: role, Actor: "token:" + account}}
}

func TestNobodyMakesOrChangesATokenThatMayDoMore(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	key := func(role principal.Role) identity.NewToken {
		return identity.NewToken{ID: "key-" + role.String(), AccountID: "team-a", Kind: identity.APIKey, Role: role}
	}
	for _, role := range []principal.Role{principal.ReadOnly, principal.Operator, principal.Admin} {
		if _, _, err := tokens.Create(t.Context(), admin, key(role)); err != nil {
			t.Fatal(err)
		}
	}
	operator := of("team-a", principal.Operator)
	again := key(principal.Admin)
	again.ID = "mine"
	if _, _, err := tokens.Create(t.Context(), operator, again); !errors.Is(err, principal.ErrRole) {
		t.Errorf("an operator makes an administrator's key: %v", err)
	}
	if _, err := tokens.Revoke(t.Context(), operator, "key-admin"); !errors.Is(err, principal.ErrRole) {
		t.Errorf("an operator revokes an administrator's key: %v", err)
	}
	for _, id := range []string{"key-operator", "key-read-only"} {
		if _, err := tokens.Revoke(t.Context(), operator, id); err != nil {
			t.Errorf("an operator revokes %s: %v", id, err)
		}
	}
}

func TestAnotherAccountsTokensDoNotExist(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	for _, account := range []string{"team-a", "team-b"} {
		if _, _, err := tokens.Create(t.Context(), admin, identity.NewToken{ID: "of-" + account, AccountID: account}); err != nil {
			t.Fatal(err)
		}
	}
	operator := of("team-a", principal.Operator)
	if _, err := tokens.Get(t.Context(), operator.Principal, "of-team-b"); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := tokens.Revoke(t.Context(), operator, "of-team-b"); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("revoke: %v", err)
	}
	if list, _, err := tokens.List(t.Context(), operator.Principal, identity.TokenFilter{Account: ""}, "", 0); err != nil || len(list) != 1 || list[0].ID != "of-team-a" {
		t.Errorf("an operator's list is %v, %v", list, err)
	}
	if _, _, err := tokens.List(t.Context(), operator.Principal, identity.TokenFilter{Account: "team-b"}, "", 0); !errors.Is(err, principal.ErrForeign) {
		t.Errorf("the other account's list: %v", err)
	}
	if _, _, err := tokens.Create(t.Context(), operator, identity.NewToken{AccountID: "team-b"}); !errors.Is(err, principal.ErrForeign) {
		t.Errorf("a token of the other account: %v", err)
	}
	if token, _, err := tokens.Create(t.Context(), operator, identity.NewToken{}); err != nil || token.AccountID != "team-a" {
		t.Errorf("a token of no named account is %+v, %v", token, err)
	}
	if list, _, err := tokens.List(t.Context(), admin.Principal, identity.TokenFilter{Account: ""}, "", 0); err != nil || len(list) != 3 {
		t.Errorf("an administrator's list has %d, %v", len(list), err)
	}
}

func TestARepeatedCreateIsTheSameToken(t *testing.T) {
	t.Parallel()
	tokens := identity.NewTokens(storetest.NewMemory(), time.Now)
	wanted := identity.NewToken{ID: "laptop", Description: "mine", Grants: []string{"bind:a.example.com"}, ValidFor: time.Hour}
	first, text, err := tokens.Create(t.Context(), admin, wanted)
	if err != nil || !strings.HasPrefix(text.Reveal(), "dbt_laptop_") {
		t.Fatalf("made %+v, %v", first, err)
	}
	again, text, err := tokens.Create(t.Context(), admin, wanted)
	if err != nil || text != "" || again.Hash != first.Hash || !again.Created.Equal(first.Created) {
		t.Errorf("a repeat answers %+v, a secret: %v, %v", again, text != "", err)
	}
	for name, change := range map[string]func(*identity.NewToken){
		"account":     func(n *identity.NewToken) { n.AccountID = "team-b" },
		"kind":        func(n *identity.NewToken) { n.Kind, n.Grants = identity.APIKey, nil },
		"description": func(n *identity.NewToken) { n.Description = "yours" },
		"grants":      func(n *identity.NewToken) { n.Grants = nil },
		"expiry":      func(n *identity.NewToken) { n.ValidFor = 0 },
	} {
		other := wanted
		change(&other)
		if _, _, err := tokens.Create(t.Context(), admin, other); !errors.Is(err, identity.ErrTokenExists) {
			t.Errorf("the id again with another %s: %v", name, err)
		}
	}
}

func TestAnAPIKeySaysWhoCalls(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	key, text := j.token(identity.NewToken{ID: "ci", AccountID: "team-a", Kind: identity.APIKey, Role: principal.Operator, ValidFor: time.Hour})
	if !strings.HasPrefix(text.Reveal(), "dbk_ci_") {
		t.Fatal("an API key looks otherwise")
	}
	const address = "192.0.2.1:4000"
	p, err := j.Authenticate(t.Context(), text, address)
	if want := (principal.Principal{Account: "team-a", Role: principal.Operator, Actor: "token:ci", TokenID: "ci"}); err != nil || p != want {
		t.Errorf("it is %+v, %v; want %+v", p, err, want)
	}
	_, authtoken := j.token(identity.NewToken{})
	if _, err := j.Authenticate(t.Context(), authtoken, "a"); !errors.Is(err, identity.ErrKeyMissing) {
		t.Errorf("an authtoken as API key: %v", err)
	}
	if _, err := j.Validate(t.Context(), presented(text)); !errors.Is(err, identity.ErrTokenMissing) {
		t.Errorf("an API key as authtoken: %v", err)
	}
	if _, err := j.Authenticate(t.Context(), secret.String(strings.Repeat("x", 257)), "a"); err == nil {
		t.Error("an endless key is judged")
	}
	if _, err := j.tokens.Revoke(t.Context(), admin, key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Authenticate(t.Context(), text, "b"); !errors.Is(err, identity.ErrTokenRevoked) {
		t.Errorf("a revoked key: %v", err)
	}
	_, brief := j.token(identity.NewToken{Kind: identity.APIKey, ValidFor: time.Minute})
	j.clock.advance(time.Minute)
	if _, err := j.Authenticate(t.Context(), brief, "c"); !errors.Is(err, identity.ErrTokenExpired) {
		t.Errorf("an expired key: %v", err)
	}
}

func TestGuessedKeysSlowDownTheirAddress(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, text := j.token(identity.NewToken{Kind: identity.APIKey, ID: "ci"})
	guess := secret.String(text.Reveal()[:10] + strings.Repeat("0", len(text.Reveal())-10))
	for range burst {
		if _, err := j.Authenticate(t.Context(), guess, "192.0.2.1:1"); !errors.Is(err, identity.ErrTokenInvalid) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := j.Authenticate(t.Context(), text, "192.0.2.1:2"); !errors.Is(err, identity.ErrRateLimited) {
		t.Errorf("after %d guesses: %v", burst, err)
	}
	if _, err := j.Authenticate(t.Context(), text, "192.0.2.2:1"); err != nil {
		t.Errorf("the owner, from elsewhere: %v", err)
	}
}
