package identity_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

var discard = slog.New(slog.DiscardHandler)

func TestATokenIsChangedAsItWasRead(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	token, text := j.token(identity.NewToken{ID: "laptop", Description: "mine", Grants: []string{"bind:a.example.com", "bind:b.example.com"}, ValidFor: time.Hour})
	description, tighter, never := "yours", []string{"bind:A.example.com"}, time.Time{}
	changed, err := j.tokens.Update(t.Context(), admin, "laptop", identity.TokenChange{
		Description: &description, Grants: &tighter, Expires: &never, Revision: token.Revision,
	})
	if err != nil || changed.Description != "yours" || !slices.Equal(changed.Grants, []string{"bind:a.example.com"}) || !changed.Expires.IsZero() {
		t.Errorf("changed to %+v, %v", changed, err)
	}
	if v := j.must(presented(text)); !slices.Equal(v.Assertion.Grants, []string{"bind:a.example.com"}) {
		t.Errorf("its grants are %v", v.Assertion.Grants)
	}
	if _, err := j.tokens.Update(t.Context(), admin, "laptop", identity.TokenChange{Description: &description, Revision: token.Revision}); !errors.Is(err, identity.ErrEtag) {
		t.Errorf("changed as it is no more: %v", err)
	}
	past, bad := j.clock.at, []string{"serve:all"}
	_, err = j.tokens.Update(t.Context(), admin, "laptop", identity.TokenChange{Expires: &past})
	wantField(t, err, "expire_time")
	_, err = j.tokens.Update(t.Context(), admin, "laptop", identity.TokenChange{Grants: &bad})
	wantField(t, err, "grants[0]")
	if _, err := j.tokens.Revoke(t.Context(), admin, "laptop"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.tokens.Update(t.Context(), admin, "laptop", identity.TokenChange{Description: &description}); !errors.Is(err, identity.ErrTokenEnded) {
		t.Errorf("a revoked token was changed: %v", err)
	}
	j.token(identity.NewToken{ID: "ci", Kind: identity.APIKey})
	_, err = j.tokens.Update(t.Context(), admin, "ci", identity.TokenChange{Grants: &tighter})
	wantField(t, err, "grants")
}

func TestARotatedSecretIsGoodForAWhile(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, first := j.token(identity.NewToken{ID: "laptop"})
	_, second, err := j.tokens.Rotate(t.Context(), admin, "laptop", time.Hour, 0)
	if err != nil || second == first {
		t.Fatal(err)
	}
	j.must(presented(first))
	j.must(presented(second))
	j.clock.advance(time.Hour)
	if _, err := j.Validate(t.Context(), presented(first)); !errors.Is(err, identity.ErrTokenInvalid) {
		t.Errorf("the old secret, when its time is over: %v", err)
	}
	j.must(presented(second))
	_, third, err := j.tokens.Rotate(t.Context(), admin, "laptop", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Validate(t.Context(), presented(second)); !errors.Is(err, identity.ErrTokenInvalid) {
		t.Errorf("the old secret, without overlap: %v", err)
	}
	j.must(presented(third))
	for _, overlap := range []time.Duration{-1, 31 * 24 * time.Hour} {
		_, _, err = j.tokens.Rotate(t.Context(), admin, "laptop", overlap, 0)
		wantField(t, err, "overlap")
	}
	if _, _, err := j.tokens.Rotate(t.Context(), of("default", principal.Operator), "missing", 0, 0); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

// A new secret of a higher key would be a way up.
func TestNobodyGetsTheSecretOfAHigherKey(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	j.token(identity.NewToken{ID: "root", AccountID: "team-a", Kind: identity.APIKey, Role: principal.Admin})
	operator, description := of("team-a", principal.Operator), "x"
	if _, _, err := j.tokens.Rotate(t.Context(), operator, "root", 0, 0); !errors.Is(err, principal.ErrRole) {
		t.Errorf("rotated: %v", err)
	}
	if _, err := j.tokens.Update(t.Context(), operator, "root", identity.TokenChange{Description: &description}); !errors.Is(err, principal.ErrRole) {
		t.Errorf("changed: %v", err)
	}
	if err := j.tokens.Delete(t.Context(), operator, "root", 0); !errors.Is(err, principal.ErrRole) {
		t.Errorf("deleted: %v", err)
	}
	if err := j.tokens.Delete(t.Context(), of("team-b", principal.Operator), "root", 0); !errors.Is(err, identity.ErrTokenNotFound) {
		t.Errorf("deleted by a stranger: %v", err)
	}
	if err := j.tokens.Delete(t.Context(), admin, "root", 99); !errors.Is(err, identity.ErrEtag) {
		t.Errorf("deleted as it is no more: %v", err)
	}
	if err := j.tokens.Delete(t.Context(), admin, "root", 0); err != nil {
		t.Error(err)
	}
}

// Guesses from many places at one token: the guesser is slowed down, whether the
// token exists or not, and its owner is not.
func TestGuessingOneTokenFromManyPlacesIsSlowedDown(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, text := j.token(identity.NewToken{})
	for name, guess := range map[string]identity.Presented{"a token": presented(wrongSecret(text)), "no token": presented(unknownID(text))} {
		for n := range 2 * burst {
			guess.ClientAddress = fmt.Sprintf("192.0.%d.%d:1", len(name), n)
			_, err := j.Validate(t.Context(), guess)
			if want := map[bool]error{true: identity.ErrTokenInvalid, false: identity.ErrRateLimited}[n < burst]; !errors.Is(err, want) {
				t.Errorf("%s, guess %d: %v, want %v", name, n, err, want)
			}
		}
	}
	owner := presented(text)
	owner.ClientAddress = "198.51.100.1:1"
	j.must(owner)
}

func TestAUseIsWrittenOnceAMinuteAndLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		tokens := identity.NewTokens(store, time.Now)
		if _, _, err := tokens.Create(t.Context(), admin, identity.NewToken{ID: "ci"}); err != nil {
			t.Fatal(err)
		}
		uses := identity.NewUses(store, time.Now, discard)
		go func() { _ = uses.Run(t.Context()) }()
		last := func() time.Time {
			synctest.Wait()
			token, err := tokens.Get(t.Context(), admin.Principal, "ci")
			if err != nil {
				t.Fatal(err)
			}
			return token.LastUse
		}
		first := time.Now()
		uses.Note("ci")
		if !last().IsZero() {
			t.Error("a use was written in the way of a call")
		}
		time.Sleep(6 * time.Second) //nolint:forbidigo // moves synctest's clock
		if !last().Equal(first) {
			t.Errorf("the last use is %v, want %v", last(), first)
		}
		uses.Note("ci")
		time.Sleep(6 * time.Second) //nolint:forbidigo // moves synctest's clock
		if !last().Equal(first) {
			t.Error("a use was written twice in a minute")
		}
		time.Sleep(time.Minute) //nolint:forbidigo // moves synctest's clock
		uses.Note("ci")
		time.Sleep(6 * time.Second) //nolint:forbidigo // moves synctest's clock
		if !last().After(first.Add(time.Minute)) {
			t.Errorf("a use was not written a minute later: %v", last())
		}
	})
}

// still is a pulse that never beats.
type still struct{}

func (still) Changed() <-chan struct{} { return nil }
func (still) Stopping() bool           { return false }

func TestEveryChangeIsInTheHistoryWithWhoDidIt(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.account(identity.Account{ID: "team-a"})
	token, text := o.token(identity.NewToken{ID: "laptop", AccountID: "team-a", Grants: []string{"bind:a.example.com"}, Description: "hush"})
	operator := of("team-a", principal.Operator)
	operator.Address = "192.0.2.7:1"
	grants, disabled := []string{"bind:b.example.com"}, true
	_, err1 := o.tokens.Update(t.Context(), operator, "laptop", identity.TokenChange{Grants: &grants})
	_, rotated, err2 := o.tokens.Rotate(t.Context(), operator, "laptop", time.Hour, 0)
	_, err3 := o.tokens.Revoke(t.Context(), operator, "laptop")
	_, err4 := o.tokens.Revoke(t.Context(), operator, "laptop")
	err5 := o.tokens.Delete(t.Context(), operator, "laptop", 0)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	o.update("team-a", identity.AccountChange{Disabled: &disabled})
	if err := o.accounts.Delete(t.Context(), admin, "team-a", false, 0); err != nil {
		t.Fatal(err)
	}

	watch, err := identity.NewAudit(o.store, still{}).Watch(t.Context(), admin.Principal, -1, identity.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	events, revision, err := watch.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		told = append(told, fmt.Sprintf("%s %s %s %s", e.Actor, e.Action, e.Kind, e.Name))
		if e.Account != "team-a" || e.Time.IsZero() || e.Revision <= 0 || e.Revision > revision || e.Address == "" {
			t.Errorf("it does not say whose or when: %+v", e)
		}
	}
	want := []string{
		"admin:ops created account team-a", "admin:ops created token laptop", "token:team-a updated token laptop",
		"token:team-a updated token laptop", "token:team-a revoked token laptop", "token:team-a deleted token laptop",
		"admin:ops updated account team-a", "admin:ops updated account team-a", "admin:ops deleted account team-a",
	}
	if !slices.Equal(told, want) {
		t.Errorf("the history is\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	all := fmt.Sprintf("%+v", events)
	for _, hidden := range []string{text.Reveal()[11:], rotated.Reveal()[11:], "hush", fmt.Sprintf("%x", token.Hash)} {
		if strings.Contains(all, hidden) {
			t.Errorf("%q is in the history", hidden)
		}
	}
}

func TestTheHistoryIsFilteredAndResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		audit := identity.NewAudit(b.store, b)
		create := func(account, id string) {
			if _, _, err := b.tokens.Create(t.Context(), admin, identity.NewToken{ID: id, AccountID: account}); err != nil {
				t.Fatal(err)
			}
		}
		create("team-a", "a1")
		mine := of("team-a", principal.ReadOnly).Principal
		if _, err := audit.Watch(t.Context(), mine, 0, identity.AuditFilter{Account: "team-b"}); !errors.Is(err, principal.ErrForeign) {
			t.Errorf("another account's: %v", err)
		}
		watch, err := audit.Watch(t.Context(), mine, 0, identity.AuditFilter{Kind: "token"})
		if err != nil {
			t.Fatal(err)
		}
		first, revision, err := watch.Next(t.Context())
		if err != nil || len(first) != 0 || revision == 0 {
			t.Errorf("from now on: %v, %d, %v", first, revision, err)
		}
		create("team-b", "b1")
		create("team-a", "a2")
		events, _, err := watch.Next(t.Context())
		if err != nil || len(events) != 1 || events[0].Name != "a2" {
			t.Errorf("what happened is %v, %v", events, err)
		}
		again, err := audit.Watch(t.Context(), admin.Principal, revision, identity.AuditFilter{Kind: "token"})
		if err != nil {
			t.Fatal(err)
		}
		if events, _, err := again.Next(t.Context()); err != nil || len(events) != 2 {
			t.Errorf("behind revision %d there is %v, %v", revision, events, err)
		}
		b.Stop()
		if _, _, err := watch.Next(t.Context()); !errors.Is(err, identity.ErrStopping) {
			t.Errorf("a replica that stops: %v", err)
		}
	})
}

func TestAChangedTokenIsAnnouncedAndSoIsASuspendedAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, storetest.NewMemory())
		accounts := identity.NewAccounts(b.store, time.Now)
		id := b.token(0)
		synctest.Wait()
		w := b.watch(0)
		if first := next(t, w); len(first.ChangedTokens)+len(first.ChangedAccounts) != 0 {
			t.Errorf("the first step is %+v", first)
		}
		grants, disabled, enabled := []string{"bind:a.example.com"}, true, false
		if _, err := b.tokens.Update(t.Context(), admin, id, identity.TokenChange{Grants: &grants}); err != nil {
			t.Fatal(err)
		}
		if step := next(t, w); !slices.Equal(step.ChangedTokens, []string{id}) {
			t.Errorf("a tightened grant: %+v", step)
		}
		for _, test := range []struct {
			disabled *bool
			got      func(identity.Step) []string
		}{
			{&disabled, func(s identity.Step) []string { return s.EndedAccounts }},
			{&enabled, func(s identity.Step) []string { return s.ChangedAccounts }},
		} {
			if _, err := accounts.Update(t.Context(), admin, "default", identity.AccountChange{Disabled: test.disabled}); err != nil {
				t.Fatal(err)
			}
			if step := next(t, w); !slices.Equal(test.got(step), []string{"default"}) {
				t.Errorf("disabled %v: %+v", *test.disabled, step)
			}
		}
	})
}
