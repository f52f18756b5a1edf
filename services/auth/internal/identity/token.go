package identity

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
)

// Kind is what a token is for. Its text is what records say.
type Kind string

// The kinds. Records from before there were several say nothing: AgentToken.
const (
	AgentToken Kind = ""     // an authtoken: agents present it
	APIKey     Kind = "api"  // programs call with it
	UserKey    Kind = "user" // as APIKey, made by a login for a person
)

func (k Kind) prefix() string {
	if k == AgentToken {
		return authtokenPrefix
	}
	return apiKeyPrefix
}

// Token is an authtoken or an API key as it is kept: without its secret.
type Token struct {
	ID          string
	AccountID   string
	Kind        Kind
	Role        principal.Role
	Subject     string // of a UserKey: whom the login was for
	Description string
	Grants      []string          // canonical; none: everything
	Hash        [sha256.Size]byte // of the whole text
	// Previous is the hash from before the last rotation, good until PreviousUntil;
	// zero: there is none.
	Previous      [sha256.Size]byte
	PreviousUntil time.Time
	Created       time.Time
	Expires       time.Time // zero: never
	Revoked       time.Time // zero: not revoked
	Lapsed        bool      // its expiry was announced to those who watch
	Revision      int64     // of its last change; the store's
	// LastUse is kept apart, and set by Tokens alone; zero: never.
	LastUse time.Time
}

// Actor names in the audit who calls with the token.
func (t Token) Actor() string {
	if t.Kind == UserKey {
		return "user:" + t.Subject
	}
	return "token:" + t.ID
}

// asWanted reports whether t is what somebody asked for who asks for want.
func (t Token) asWanted(want Token) bool {
	return t.AccountID == want.AccountID && t.Kind == want.Kind && t.Role == want.Role && t.Description == want.Description &&
		slices.Equal(t.Grants, want.Grants) && t.validFor() == want.validFor()
}

// validFor is how long the token was made for; 0: for ever.
func (t Token) validFor() time.Duration {
	if t.Expires.IsZero() {
		return 0
	}
	return t.Expires.Sub(t.Created)
}

// Ended reports whether those who live by the token were told to stop.
func (t Token) Ended() bool { return t.Lapsed || !t.Revoked.IsZero() }

// ExpiredAt reports whether the token's time is over.
func (t Token) ExpiredAt(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// isSecret reports whether somebody has presented the token's secret, or the one
// from before its last rotation while that is good.
func (t Token) isSecret(presented secret.String, now time.Time) bool {
	current := matches(presented, t.Hash)
	previous := matches(presented, t.Previous)
	return current || previous && now.Before(t.PreviousUntil)
}
