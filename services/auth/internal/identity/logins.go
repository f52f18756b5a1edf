package identity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

// The refusals of a login.
var (
	ErrNoLogin = errs.New(errs.FailedPrecondition, errs.ReasonInvalidArgument,
		"this server has no OpenID provider; ask its administrator for an API key")
	ErrLoginRefused = errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid,
		"the OpenID provider's token is not one for this server, or its time is over; log in again")
	ErrNoRole = errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied,
		"you are known, but nothing says what you may do here; ask the server's administrator")
)

// Claims are what a provider says of a person, when it has been verified.
type Claims struct {
	Subject string
	// Values of the claim that roles are given by.
	Values []string
}

// Verifier checks what a provider has signed: signature, issuer, audience, time.
// What does not hold is ErrLoginRefused.
type Verifier interface {
	Verify(ctx context.Context, idToken secret.String) (Claims, error)
}

// RoleRule gives who has a value of the claim a role in an account.
type RoleRule struct {
	Value   string
	Role    principal.Role
	Account string
}

// Logins gives people API keys.
type Logins struct {
	verifier  Verifier // nil: there are no logins
	rules     []RoleRule
	validFor  time.Duration
	tokens    *Tokens
	addresses *Throttle
}

// LoginConfig says who gets what.
type LoginConfig struct {
	Rules    []RoleRule
	ValidFor time.Duration
}

// NewLogins returns logins by what a verifier holds for true; nil: there are none.
func NewLogins(c LoginConfig, verifier Verifier, tokens *Tokens, addresses *Throttle) *Logins {
	return &Logins{verifier: verifier, rules: c.Rules, validFor: c.ValidFor, tokens: tokens, addresses: addresses}
}

// Login gives the person whom an ID token is about an API key, which is returned
// this once. Of several rules that hold the highest role counts.
func (l *Logins) Login(ctx context.Context, idToken secret.String, address string) (Token, secret.String, error) {
	if l.verifier == nil {
		return Token{}, "", ErrNoLogin
	}
	if wait := l.addresses.Wait(address); wait > 0 {
		return Token{}, "", ErrRateLimited.WithRetry(wait)
	}
	claims, err := l.verifier.Verify(ctx, idToken)
	if err == nil && (claims.Subject == "" || checkText("subject", claims.Subject, maxSubject) != nil) {
		err = ErrLoginRefused
	}
	if err != nil {
		if e, ok := errs.From(err); ok && e.Kind() == errs.Unauthenticated {
			l.addresses.Fail(address)
		}
		return Token{}, "", fmt.Errorf("login from %q: %w", address, err)
	}
	rule, ok := l.rule(claims)
	if !ok {
		return Token{}, "", fmt.Errorf("login of %q from %q: %w", claims.Subject, address, ErrNoRole)
	}
	by := Caller{Principal: principal.Principal{Account: rule.Account, Role: rule.Role, Actor: "user:" + claims.Subject}, Address: address}
	token := Token{AccountID: rule.Account, Kind: UserKey, Role: rule.Role, Subject: claims.Subject}
	return l.tokens.create(ctx, by, token, NewToken{ValidFor: l.validFor}, LoggedIn)
}

// maxSubject is how many characters the name of a person has at most.
const maxSubject = 255

func (l *Logins) rule(claims Claims) (best RoleRule, ok bool) {
	for _, rule := range l.rules {
		if slices.Contains(claims.Values, rule.Value) && rule.Role > best.Role {
			best, ok = rule, true
		}
	}
	return best, ok
}
