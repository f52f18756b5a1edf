package identity_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
	"github.com/dialback/dialback/services/auth/internal/storetest"
)

const (
	burst    = 3
	interval = 10 * time.Second
)

// judge is a judge of credentials with a store and a clock of its own.
type judge struct {
	*identity.Credentials
	t      *testing.T
	store  *storetest.Memory
	tokens *identity.Tokens
	uses   *identity.Uses
	clock  *clock
}

func newJudge(t *testing.T) *judge {
	j := &judge{t: t, store: storetest.NewMemory(), clock: newClock()}
	j.tokens = identity.NewTokens(j.store, j.clock.now)
	throttle := func() *identity.Throttle { return identity.NewThrottle(burst, interval, 100, j.clock.now) }
	j.uses = identity.NewUses(j.store, j.clock.now, slog.New(slog.DiscardHandler))
	j.Credentials = identity.NewCredentials(identity.Limits{AssertionValidity: 15 * time.Minute, MaxTunnels: 9},
		identity.CredentialDeps{Store: j.store, Addresses: throttle(), IDs: throttle(), Uses: j.uses, Now: j.clock.now})
	return j
}

func (j *judge) token(n identity.NewToken) (identity.Token, secret.String) {
	j.t.Helper()
	token, text, err := j.tokens.Create(j.t.Context(), admin, n)
	if err != nil {
		j.t.Fatal(err)
	}
	return token, text
}

func presented(authtoken secret.String) identity.Presented {
	return identity.Presented{
		Authtoken: authtoken, Instance: []byte("0123456789abcdef"), ClientAddress: "192.0.2.1:4000", Connector: "c1",
	}
}

func (j *judge) must(p identity.Presented) identity.Verdict {
	j.t.Helper()
	v, err := j.Validate(j.t.Context(), p)
	if err != nil {
		j.t.Fatal(err)
	}
	return v
}

// wrongSecret keeps the id and changes the secret.
func wrongSecret(authtoken secret.String) secret.String {
	s := authtoken.Reveal()
	return secret.String(s[:21] + strings.Repeat("0", len(s)-21))
}

func unknownID(authtoken secret.String) secret.String {
	return secret.String("dbt_" + strings.Repeat("0", 16) + authtoken.Reveal()[20:])
}

func TestARefusalTellsOnlyWhoHasTheSecret(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, active := j.token(identity.NewToken{})
	revoked, revokedText := j.token(identity.NewToken{})
	_, expiredText := j.token(identity.NewToken{ValidFor: time.Minute})
	if _, err := j.tokens.Revoke(t.Context(), admin, revoked.ID); err != nil {
		t.Fatal(err)
	}
	j.clock.advance(time.Minute)

	public := map[string]bool{}
	for i, p := range []identity.Presented{
		presented(unknownID(active)), presented(wrongSecret(active)), presented(wrongSecret(revokedText)), presented(wrongSecret(expiredText)),
	} {
		p.ClientAddress = strings.Repeat("x", i+1)
		_, err := j.Validate(t.Context(), p)
		if !errors.Is(err, identity.ErrTokenInvalid) {
			t.Errorf("got %v, want TOKEN_INVALID", err)
			continue
		}
		e, _ := errs.From(err)
		public[e.Message()] = true
	}
	if len(public) != 1 {
		t.Errorf("the answers differ, and tell which ids exist: %v", public)
	}
	if _, err := j.Validate(t.Context(), presented(revokedText)); !errors.Is(err, identity.ErrTokenRevoked) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := j.Validate(t.Context(), presented(expiredText)); !errors.Is(err, identity.ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := j.Validate(t.Context(), presented("")); !errors.Is(err, identity.ErrTokenMissing) {
		t.Errorf("missing: %v", err)
	}
}

func TestAnAgentIsWhoHasItsResumeToken(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, team := j.token(identity.NewToken{AccountID: "team-a"})
	_, mate := j.token(identity.NewToken{AccountID: "team-a"})
	_, stranger := j.token(identity.NewToken{AccountID: "team-b"})
	first := j.must(presented(team))
	if len(first.Assertion.AgentID) != 32 || !strings.HasPrefix(first.ResumeToken.Reveal(), "dbr_") {
		t.Fatalf("first contact answers %+v", first)
	}
	back := func(authtoken secret.String) identity.Presented {
		p := presented(authtoken)
		p.AgentID, p.ResumeToken = first.Assertion.AgentID, first.ResumeToken
		return p
	}
	for range 3 { // as often as one likes
		again := j.must(back(team))
		if again.Assertion.AgentID != first.Assertion.AgentID || again.ResumeToken != "" {
			t.Errorf("the same agent again is %q, with a new resume token: %v", again.Assertion.AgentID, again.ResumeToken != "")
		}
	}
	if n := j.store.CountAgents(); n != 1 {
		t.Errorf("%d agents are stored, want 1", n)
	}
	if v := j.must(back(mate)); v.Assertion.AgentID != first.Assertion.AgentID {
		t.Error("another token of the account has lost the agent its id")
	}

	wrong := back(team)
	wrong.ResumeToken = "dbr_" + secret.String(strings.Repeat("0", 64))
	empty := back(team)
	empty.ResumeToken = ""
	unknown := back(team)
	unknown.AgentID = strings.Repeat("0", 32)
	malformed := back(team)
	malformed.AgentID = "../keys"
	ids := map[string]bool{first.Assertion.AgentID: true}
	for name, p := range map[string]identity.Presented{
		"a wrong resume token": wrong, "no resume token": empty, "an unknown id": unknown, "a malformed id": malformed, "another account": back(stranger),
	} {
		v := j.must(p)
		if ids[v.Assertion.AgentID] || v.ResumeToken == "" {
			t.Errorf("%s: id %q is not new, or has no resume token", name, v.Assertion.AgentID)
		}
		ids[v.Assertion.AgentID] = true
	}
	if v := j.must(back(team)); v.Assertion.AgentID != first.Assertion.AgentID {
		t.Error("others' attempts have cost the agent its id")
	}
}

func TestAnAssertionEndsWithItsToken(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, forever := j.token(identity.NewToken{})
	token, brief := j.token(identity.NewToken{ValidFor: 20 * time.Minute})
	if v := j.must(presented(forever)); v.ValidFor != 15*time.Minute || !v.Assertion.Expires.Equal(j.clock.at.Add(15*time.Minute)) {
		t.Errorf("valid for %v until %v", v.ValidFor, v.Assertion.Expires)
	}
	j.clock.advance(19 * time.Minute)
	if v := j.must(presented(brief)); v.ValidFor != time.Minute || !v.Assertion.Expires.Equal(token.Expires) {
		t.Errorf("valid for %v until %v, the token until %v", v.ValidFor, v.Assertion.Expires, token.Expires)
	}
}

func TestEveryFieldIsBounded(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, text := j.token(identity.NewToken{})
	long := strings.Repeat("x", 257)
	for field, change := range map[string]func(*identity.Presented){
		"authtoken":      func(p *identity.Presented) { p.Authtoken = secret.String(long) },
		"agent_id":       func(p *identity.Presented) { p.AgentID = long },
		"resume_token":   func(p *identity.Presented) { p.ResumeToken = secret.String(long) },
		"client_address": func(p *identity.Presented) { p.ClientAddress = long },
		"instance":       func(p *identity.Presented) { p.Instance = p.Instance[1:] },
	} {
		p := presented(text)
		change(&p)
		_, err := j.Validate(t.Context(), p)
		wantField(t, err, field)
	}
}

func TestGuessingSlowsDownItsAddressAlone(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, text := j.token(identity.NewToken{})
	for range burst {
		if _, err := j.Validate(t.Context(), presented(wrongSecret(text))); !errors.Is(err, identity.ErrTokenInvalid) {
			t.Fatalf("got %v", err)
		}
	}
	_, err := j.Validate(t.Context(), presented(wrongSecret(text)))
	e, _ := errs.From(err)
	if !errors.Is(err, identity.ErrRateLimited) || e.RetryAfter() <= 0 || e.RetryAfter() > interval {
		t.Fatalf("got %v", err)
	}
	elsewhere := presented(text)
	elsewhere.ClientAddress = "192.0.2.2:4000"
	j.must(elsewhere)
	j.clock.advance(e.RetryAfter())
	j.must(presented(text))
}

func TestARevokedTokenIsNoGuess(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	token, text := j.token(identity.NewToken{})
	_, neighbour := j.token(identity.NewToken{})
	if _, err := j.tokens.Revoke(t.Context(), admin, token.ID); err != nil {
		t.Fatal(err)
	}
	for range 10 * burst {
		if _, err := j.Validate(t.Context(), presented(text)); !errors.Is(err, identity.ErrTokenRevoked) {
			t.Fatalf("got %v", err)
		}
	}
	j.must(presented(neighbour))
}

func TestAStoreThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	_, text := j.token(identity.NewToken{})
	j.store.Fail(identity.ErrUnavailable)
	for range 2 * burst {
		if _, err := j.Validate(t.Context(), presented(text)); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	j.store.Fail(nil)
	j.must(presented(text))
}
