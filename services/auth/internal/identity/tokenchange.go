package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

// maxOverlap is how long a rotated secret may be good at most.
const maxOverlap = 30 * 24 * time.Hour

// ErrTokenEnded refuses to change what nobody lives by any more.
var ErrTokenEnded = errs.New(errs.FailedPrecondition, errs.ReasonInvalidArgument,
	"the token was revoked or has expired; make another one")

// TokenChange is what is to become of a token; nil leaves as it is.
type TokenChange struct {
	Description *string
	Grants      *[]string
	Expires     *time.Time // zero: never
	// Revision that the token must still have; 0: any.
	Revision int64
}

// check makes the grants canonical.
func (c *TokenChange) check(now time.Time) error {
	if c.Description != nil {
		if err := checkDescription(*c.Description); err != nil {
			return err
		}
	}
	if c.Grants != nil {
		grants, err := canonicalGrants(*c.Grants)
		if err != nil {
			return err
		}
		c.Grants = &grants
	}
	if c.Expires != nil && !c.Expires.IsZero() && (!c.Expires.After(now) || c.Expires.Sub(now) > maxValidFor) {
		return invalid("expire_time", "give a time that is still to come, within 100 years, or leave it out for a token that does not expire")
	}
	return nil
}

// apply returns an event's details; nil: nothing has changed.
func (c *TokenChange) apply(t *Token) (map[string]string, error) {
	var changed []string
	set(&changed, "description", &t.Description, c.Description)
	if c.Expires != nil && !c.Expires.Equal(t.Expires) {
		t.Expires = c.Expires.UTC()
		changed = append(changed, "expire_time")
	}
	if c.Grants != nil && !slices.Equal(*c.Grants, t.Grants) {
		if t.Kind != AgentToken {
			return nil, errKeyGrants
		}
		t.Grants = *c.Grants
		changed = append(changed, "grants")
	}
	if len(changed) == 0 {
		return nil, nil //nolint:nilnil // nothing has changed, which is no error
	}
	details := t.details()
	details["changed"] = strings.Join(changed, ",")
	return details, nil
}

// Update changes a token. ErrEtag: it is not the one that was meant.
func (t *Tokens) Update(ctx context.Context, by Caller, id string, c TokenChange) (Token, error) {
	if err := c.check(t.now()); err != nil {
		return Token{}, err
	}
	return t.change(ctx, by, id, func(token *Token) (*Event, error) {
		if err := token.expect(c.Revision, t.now()); err != nil {
			return nil, err
		}
		details, err := c.apply(token)
		if err != nil || details == nil {
			return nil, err
		}
		event := by.event(t.now(), Updated, kindToken, id, token.AccountID, details)
		return &event, nil
	})
}

// Rotate gives a token a new secret, which is returned this once. The old one is
// good for overlap longer, a still older one no more.
func (t *Tokens) Rotate(ctx context.Context, by Caller, id string, overlap time.Duration, revision int64) (Token, secret.String, error) {
	if overlap < 0 || overlap > maxOverlap {
		return Token{}, "", invalid("overlap", "give at most 30 days")
	}
	var text secret.String
	token, err := t.change(ctx, by, id, func(token *Token) (*Event, error) {
		if err := token.expect(revision, t.now()); err != nil {
			return nil, err
		}
		token.Previous, token.PreviousUntil = token.Hash, t.now().UTC().Add(overlap)
		if overlap == 0 {
			token.Previous, token.PreviousUntil = [len(token.Previous)]byte{}, time.Time{}
		}
		text = newSecret(token.Kind, token.ID)
		token.Hash = Hash(text)
		event := by.event(t.now(), Updated, kindToken, id, token.AccountID, map[string]string{"changed": "secret", "overlap": overlap.String()})
		return &event, nil
	})
	if err != nil {
		return Token{}, "", err
	}
	return token, text, nil
}

// Revoke ends a token. To revoke a revoked one is no error and changes nothing.
func (t *Tokens) Revoke(ctx context.Context, by Caller, id string) (Token, error) {
	return t.change(ctx, by, id, func(token *Token) (*Event, error) {
		if !token.Revoked.IsZero() {
			return nil, nil //nolint:nilnil // nothing to write is no error
		}
		token.Revoked = t.now().UTC()
		event := by.event(t.now(), Revoked, kindToken, id, token.AccountID, nil)
		return &event, nil
	})
}

// Delete ends a token and forgets it.
func (t *Tokens) Delete(ctx context.Context, by Caller, id string, revision int64) error {
	if !isTokenID(id) {
		return invalid("id", badID)
	}
	err := t.store.DeleteToken(ctx, id, func(token Token) (Event, error) {
		if err := changeable(by.Principal, token); err != nil {
			return Event{}, err
		}
		if revision != 0 && token.Revision != revision {
			return Event{}, ErrEtag
		}
		return by.event(t.now(), Deleted, kindToken, id, token.AccountID, nil), nil
	})
	if err != nil {
		return fmt.Errorf("delete token %s: %w", id, err)
	}
	return nil
}

// change has f change a token that the caller may change.
func (t *Tokens) change(ctx context.Context, by Caller, id string, f func(*Token) (*Event, error)) (Token, error) {
	if !isTokenID(id) {
		return Token{}, invalid("id", badID)
	}
	token, err := t.store.ChangeToken(ctx, id, func(token *Token) (*Event, error) {
		if err := changeable(by.Principal, *token); err != nil {
			return nil, err
		}
		return f(token)
	})
	if err != nil {
		return Token{}, fmt.Errorf("change token %s: %w", id, err)
	}
	return token, nil
}

// changeable is nil if the caller may change a token: one that may do more than
// the caller would be a way up.
func changeable(by principal.Principal, token Token) error {
	switch {
	case !by.Sees(token.AccountID):
		return ErrTokenNotFound
	case token.Role > by.Role:
		return principal.ErrRole.WithMessage("with the role %s you cannot change a token of role %s", by.Role, token.Role)
	}
	return nil
}

// expect is nil if the token is alive and the one that a caller has read.
func (t *Token) expect(revision int64, now time.Time) error {
	switch {
	case revision != 0 && t.Revision != revision:
		return ErrEtag
	case t.Ended() || t.ExpiredAt(now):
		return ErrTokenEnded
	}
	return nil
}

// lapse marks a token whose time is over.
func lapse(now time.Time) func(*Token) (*Event, error) {
	return func(t *Token) (*Event, error) {
		if t.Ended() || !t.ExpiredAt(now) {
			return nil, nil //nolint:nilnil // nothing to write is no error
		}
		t.Lapsed = true
		event := self.event(now, Expired, kindToken, t.ID, t.AccountID, nil)
		return &event, nil
	}
}
